"""What an application was told."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeAlias

from headwater.errors import DataError, InvalidOperation
from headwater.kafka.configuration import Connection, ConnectionConfig

__all__ = ["ApplicationConfig", "ErrorDecision", "OnError"]

ErrorDecision: TypeAlias = Literal["stop", "skip", "dead-letter"]
"""What happens to a record that cannot be processed."""

OnError: TypeAlias = ErrorDecision | Callable[[DataError], ErrorDecision | bool]
"""A decision, or a function that takes it."""


OffsetReset: TypeAlias = Literal["earliest", "latest", "error"] | int | str | datetime
"""Where the first run begins: an end, nowhere, or a moment."""

Guarantee: TypeAlias = Literal["at-least-once", "exactly-once"]
GroupProtocol: TypeAlias = Literal["classic", "consumer"]


@dataclass(frozen=True)
class ApplicationConfig:
    """What an application was told; it cannot be changed."""

    name: str
    directory: Path
    auto_offset_reset: Literal["earliest", "latest", "error"] | int
    commit_interval: float | None
    commit_every: int
    workers: int | None
    on_error: OnError
    idle_timeout: float | None
    max_out_of_orderness_ms: int
    max_future_ms: int
    state_memory_max: int
    auto_create_topics: bool
    loglevel: str | int | None
    broker: ConnectionConfig | None = None
    processing_guarantee: Guarantee = "exactly-once"
    group_protocol: GroupProtocol = "classic"
    group_instance_id: str | None = None
    client_settings: dict[str, str] = field(default_factory=dict, repr=False)
    broker_availability_timeout: float | None = None
    metrics_port: int | None = None
    state_dir: Path | None = None

    @property
    def consumer_group(self) -> str:
        """The name, as Kafka calls it."""
        return self.name

    @property
    def connection(self) -> Connection | None:
        """The cluster and how to behave there; None is the embedded log."""
        if self.broker is None:
            return None
        settings = self.broker.as_librdkafka_dict()
        brokers = settings.pop("bootstrap.servers")
        return Connection(
            brokers=brokers,
            settings=settings | self.client_settings,
            oauth_cb=self.broker.oauth_cb,
            is_exactly_once=self.processing_guarantee == "exactly-once",
            is_consumer_protocol=self.group_protocol == "consumer",
            group_instance_id=self.group_instance_id,
            directory=self.directory,
            commit_interval=self.commit_interval,
        )

    @property
    def state_directory(self) -> Path:
        """Where state that does not fit into memory is kept."""
        return self.state_dir or self.directory / "state"

    @property
    def auto_create_partitions(self) -> int | None:
        """How many partitions a topic gets that is made because it is missing."""
        return 1 if self.auto_create_topics else None


def default_directory() -> Path:
    """Give the directory of the embedded log."""
    return Path(os.environ.get("HEADWATER_DIR") or ".headwater")


def default_broker() -> str | None:
    """Give the address of the brokers that the environment names."""
    return os.environ.get("HEADWATER_BROKER") or None


def checked_port(port: int | None) -> int | None:
    """Check the port for health and metrics; by default it is that of the environment."""
    if port is None:
        text = os.environ.get("HEADWATER_METRICS_PORT")
        if not text:
            return None
        if not re.fullmatch(r"[0-9]{1,5}", text):
            msg = f"HEADWATER_METRICS_PORT must be a port number, not {text!r}"
            raise InvalidOperation(msg)
        port = int(text)
    if isinstance(port, bool) or not isinstance(port, int):
        msg = f"metrics_port must be an int, not {port!r}"
        raise TypeError(msg)
    if not 0 <= port <= 65_535:
        msg = f"metrics_port must be from 0 to 65535, not {port}"
        raise ValueError(msg)
    return port


def default_name() -> str:
    """Name an application after its script, so that two scripts are two applications."""
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    stem = Path(script).stem if script else "headwater"
    name = re.sub(r"-{2,}", "-", re.sub(r"[^A-Za-z0-9._-]", "-", stem)).strip("-")
    return name if name and name != "__main__" else "headwater"


def checked_name(name: str) -> str:
    """Check the name of an application."""
    # The first `--` of an internal topic's name ends that of its application.
    is_name = isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9._-]*[A-Za-z0-9._]", name)
    if not is_name or "--" in name:
        msg = (
            "the name of an application has letters, digits, `.`, `_` and single `-` only, and "
            f"does not end with `-`, not {name!r}"
        )
        raise InvalidOperation(msg)
    return name

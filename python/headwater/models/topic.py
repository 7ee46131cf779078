"""A topic, how it is kept and how its records are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple, TypeAlias

from headwater import _native
from headwater.errors import SerializationError, TopicConfigurationError

Headers: TypeAlias = "list[tuple[str, bytes | None]] | dict[str, bytes | None] | None"
"""The headers of a record: pairs, because names may repeat, or a dict."""

FORMATS = ("json", "str", "string", "bytes", "int", "integer", "double")


class TimestampType(IntEnum):
    """Whose clock stamped a record."""

    TIMESTAMP_NOT_AVAILABLE = 0
    TIMESTAMP_CREATE_TIME = 1
    TIMESTAMP_LOG_APPEND_TIME = 2


TimestampExtractor: TypeAlias = Callable[[Any, Any, int, TimestampType], int]
"""Takes value, headers, timestamp and its type; returns milliseconds."""


@dataclass(frozen=True)
class TopicConfig:
    """How a topic is made.

    Parameters
    ----------
    num_partitions
        The number of partitions, from 1; it cannot be changed later.
    replication_factor
        The number of copies on a cluster, by default what its brokers are set to; the
        embedded log has one.
    extra_config
        Settings by their Kafka names: ``retention.ms`` and ``retention.bytes``, of which
        ``"-1"`` is for ever. What is not given is, on a cluster, as its brokers are set;
        on the embedded log seven days and 4 GiB a partition.

    Examples
    --------
    >>> TopicConfig(num_partitions=4, extra_config={"retention.ms": "3600000"}).retention_ms
    3600000
    """

    num_partitions: int = 1
    replication_factor: int | None = None
    extra_config: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.num_partitions < 1:
            msg = f"a topic has at least 1 partition, not {self.num_partitions}"
            raise TopicConfigurationError(msg)
        unknown = sorted(set(self.extra_config) - {"retention.ms", "retention.bytes"})
        if unknown:
            msg = (
                f"a topic is made with retention.ms and retention.bytes, not with {unknown[0]!r}; "
                "make it with your cluster's own tools first"
            )
            raise TopicConfigurationError(msg)
        for name, value in self.extra_config.items():
            if not str(value).removeprefix("-").isdecimal():
                msg = f"{name} is a whole number, or -1 for ever, not {value!r}"
                raise TopicConfigurationError(msg)
        if self.replication_factor is not None and self.replication_factor < 1:
            msg = f"a topic has at least 1 copy, not {self.replication_factor}"
            raise TopicConfigurationError(msg)

    @property
    def retention_ms(self) -> int | None:
        """How long records are kept at least, in milliseconds; -1 is for ever."""
        return self._number("retention.ms")

    @property
    def retention_bytes(self) -> int | None:
        """How many bytes of a partition are kept at least; -1 is all."""
        return self._number("retention.bytes")

    def _number(self, name: str) -> int | None:
        value = self.extra_config.get(name)
        return None if value is None else int(value)


class Record(NamedTuple):
    """A record as bytes, ready to be produced."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: int | None


class TopicFormats(NamedTuple):
    """A topic as the plan names it."""

    name: str
    value_format: str
    key_format: str


@dataclass(frozen=True)
class Topic:
    """A named set of partitions, and the formats of its keys and values.

    Made by `Application.topic`; nothing is contacted before the run.

    Parameters
    ----------
    name
        Letters, digits, ``.``, ``_`` and ``-``.
    value_deserializer, key_deserializer
        How records are read: ``"json"``, ``"str"``, ``"bytes"``, ``"int"`` (four
        bytes, big-endian) or ``"double"`` (eight).
    value_serializer, key_serializer
        How records are written.
    config
        How the topic is made if it is missing.
    timestamp_extractor
        Takes the event time from the record: a function of value, headers,
        timestamp and its type.

    Examples
    --------
    >>> Topic("orders").serialize(key="o-1", value={"total": 9.5})
    Record(key=b'o-1', value=b'{"total":9.5}', headers=None, timestamp=None)
    """

    name: str
    value_deserializer: str = "json"
    key_deserializer: str = "bytes"
    value_serializer: str = "json"
    key_serializer: str = "bytes"
    config: TopicConfig | None = None
    timestamp_extractor: TimestampExtractor | None = None

    def __post_init__(self) -> None:
        for name in (
            "value_deserializer",
            "key_deserializer",
            "value_serializer",
            "key_serializer",
        ):
            format_ = getattr(self, name)
            if format_ not in FORMATS:
                shown = format_ if isinstance(format_, str) else type(format_).__name__
                msg = f'{name} must be "json", "str", "bytes", "int" or "double", not {shown!r}'
                raise TypeError(msg)

    @property
    def create_config(self) -> TopicConfig | None:
        """How the topic is made if it is missing."""
        return self.config

    @property
    def _reading(self) -> TopicFormats:
        return TopicFormats(self.name, self.value_deserializer, self.key_deserializer)

    @property
    def _writing(self) -> TopicFormats:
        return TopicFormats(self.name, self.value_serializer, self.key_serializer)

    def serialize(
        self,
        key: Any = None,
        value: Any = None,
        headers: Headers = None,
        timestamp_ms: int | None = None,
    ) -> Record:
        """Write a key and a value as bytes, by the topic's serializers.

        None stays None: as a value it is a tombstone.

        Examples
        --------
        >>> Topic("t", value_serializer="str").serialize(value="hello").value
        b'hello'
        """
        return Record(
            _written(self.key_serializer, key, "key"),
            _written(self.value_serializer, value, "value"),
            headers,
            timestamp_ms,
        )

    def deserialize(self, record: Record) -> tuple[Any, Any]:
        """Read the key and the value of a record by the topic's deserializers.

        Examples
        --------
        >>> topic = Topic("t", key_deserializer="str")
        >>> topic.deserialize(topic.serialize(key="k", value=[1]))
        ('k', [1])
        """
        try:
            return (
                _native.deserialize(self.key_deserializer, record.key),
                _native.deserialize(self.value_deserializer, record.value),
            )
        except ValueError as error:
            msg = f"a record of topic {self.name!r} cannot be read: {error}"
            raise SerializationError(msg) from error


def _written(format_: str, value: Any, what: str) -> bytes | None:
    try:
        return _native.serialize(format_, value)
    except (TypeError, ValueError) as error:
        msg = f"the {what} cannot be written as {format_}: {error}"
        raise SerializationError(msg) from error

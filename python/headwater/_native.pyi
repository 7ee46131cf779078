"""The engine, as the facade uses it. Written by hand; checked by stubtest."""

from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from datetime import timedelta
from os import PathLike
from typing import Any, Protocol, final

from headwater.kafka.configuration import Connection

__all__ = [
    "Aggregate",
    "Expr",
    "Frame",
    "Function",
    "Log",
    "Metrics",
    "Producer",
    "Row",
    "SourceQueue",
    "State",
    "Stopper",
    "TopicReader",
    "Window",
    "clear_state",
    "cli_main",
    "deserialize",
    "explain",
    "message_context",
    "run",
    "serialize",
]

class _Formats(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def value_format(self) -> str: ...
    @property
    def key_format(self) -> str: ...

class _TopicConfig(Protocol):
    @property
    def num_partitions(self) -> int: ...
    @property
    def retention_ms(self) -> int | None: ...
    @property
    def retention_bytes(self) -> int | None: ...

class _Settings(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def auto_offset_reset(self) -> str: ...
    @property
    def commit_interval(self) -> float | None: ...
    @property
    def commit_every(self) -> int: ...
    @property
    def workers(self) -> int | None: ...
    @property
    def on_error(self) -> Any: ...
    @property
    def idle_timeout(self) -> float | None: ...
    @property
    def max_out_of_orderness_ms(self) -> int: ...
    @property
    def max_future_ms(self) -> int: ...
    @property
    def state_memory_max(self) -> int: ...
    @property
    def auto_create_partitions(self) -> int | None: ...
    @property
    def metrics_port(self) -> int | None: ...

class _Options(Protocol):
    @property
    def count(self) -> int | None: ...
    @property
    def timeout(self) -> float | None: ...
    @property
    def from_earliest(self) -> bool: ...
    @property
    def commit(self) -> bool: ...
    @property
    def collect(self) -> bool: ...
    @property
    def metadata(self) -> bool: ...
    @property
    def confirm_lost_state(self) -> bool: ...

class _Parts(Protocol):
    @property
    def frames(self) -> list[Frame]: ...
    @property
    def topics(self) -> Any: ...
    @property
    def sources(self) -> Any: ...
    @property
    def sinks(self) -> Any: ...

@final
class Expr:
    @staticmethod
    def field(path: list[str | int]) -> Expr: ...
    @staticmethod
    def literal(value: object) -> Expr: ...
    @staticmethod
    def timestamp() -> Expr: ...
    @staticmethod
    def has_fields(names: list[str]) -> Expr: ...
    @staticmethod
    def choose(condition: Expr, then: Expr, otherwise: Expr) -> Expr: ...
    def step(self, key: str | int) -> Expr | None: ...
    def unary(self, op: str) -> Expr: ...
    def binary(self, op: str, right: Expr) -> Expr: ...
    def is_in(self, values: list[Any]) -> Expr: ...
    def cast(self, to: str, coerce: bool) -> Expr: ...
    def coalesce(self, fallback: Expr) -> Expr: ...
    def scalar(self, name: str, *arguments: object) -> Expr: ...
    def call(self, function: Function) -> Expr: ...

@final
class Function:
    def __new__(
        cls,
        callable: object,  # noqa: A002
        *,
        name: str,
        line: str | None = None,
        reads: list[str] | None = None,
        expand: bool = False,
        metadata: bool = False,
        stateful: bool = False,
        key_format: str = "bytes",
        wraps: object | None = None,
    ) -> Function: ...
    @property
    def reads(self) -> list[str] | None: ...
    @property
    def name(self) -> str: ...
    @property
    def line(self) -> str | None: ...

@final
class Aggregate:
    @staticmethod
    def builtin(name: str, input: Expr | None = None) -> Aggregate: ...  # noqa: A002
    @staticmethod
    def reduce(initialise: Function, reduce: Function) -> Aggregate: ...
    @staticmethod
    def user(object: Function, is_collector: bool, input: Expr | None = None) -> Aggregate: ...  # noqa: A002

@final
class Window:
    def __new__(
        cls,
        *,
        size_ms: int,
        advance_ms: int | None = None,
        grace_ms: int = 0,
        name: str | None = None,
        current: bool = False,
        by_partition: bool = False,
        key_timeout_ms: int | None = None,
        key_retention_ms: int | None = None,
        aggregates: list[tuple[str, Aggregate]],
        on_late: Function | None = None,
        before_update: Function | None = None,
        after_update: Function | None = None,
    ) -> Window: ...

@final
class Frame:
    @staticmethod
    def input(topic: _Formats, timestamp: Function | None = None) -> Frame: ...
    @property
    def parent(self) -> Frame | None: ...
    @property
    def applied(self) -> Function | None: ...
    def filter(self, predicate: Expr, line: str | None = None) -> Frame: ...
    def assign(self, fields: list[tuple[str, Expr]], line: str | None = None) -> Frame: ...
    def project(self, names: list[str], line: str | None = None) -> Frame: ...
    def drop(self, names: list[str], ignore_missing: bool, line: str | None = None) -> Frame: ...
    def apply(self, function: Function, line: str | None = None) -> Frame: ...
    def update(self, function: Function, line: str | None = None) -> Frame: ...
    def filter_by(self, function: Function, line: str | None = None) -> Frame: ...
    def apply_batch(
        self, function: Function, columns: list[str], form: str, line: str | None = None
    ) -> Frame: ...
    def set_timestamp(self, timestamp: Expr, line: str | None = None) -> Frame: ...
    def set_timestamp_by(self, function: Function, line: str | None = None) -> Frame: ...
    def set_headers(self, function: Function, line: str | None = None) -> Frame: ...
    def window(self, window: Window, line: str | None = None) -> Frame: ...
    def to_topic(
        self,
        topic: _Formats | None = None,
        choose: Function | None = None,
        key: Function | None = None,
        key_expr: Expr | None = None,
        line: str | None = None,
    ) -> Frame: ...
    def group_by(
        self,
        name: str,
        formats: _Formats,
        key: Function | None = None,
        key_expr: Expr | None = None,
        line: str | None = None,
    ) -> Frame: ...
    def sink(self, name: str, line: str | None = None) -> Frame: ...
    def print(self, pretty: bool, metadata: bool, line: str | None = None) -> Frame: ...
    def print_table(
        self,
        size: int,
        title: str | None,
        metadata: bool,
        columns: list[str] | None,
        live: bool,
        timeout: float,
        column_widths: list[tuple[str, int]],
        line: str | None = None,
    ) -> Frame: ...

@final
class Row:
    def __getitem__(self, key: Any, /) -> Any: ...
    def get(self, key: Any, default: Any = None, /) -> Any: ...
    def __contains__(self, key: Any, /) -> bool: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[str]: ...
    def keys(self) -> KeysView[str]: ...
    def values(self) -> ValuesView[Any]: ...
    def items(self) -> ItemsView[str, Any]: ...
    def copy(self) -> dict[str, Any]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __reduce__(self) -> Any: ...

@final
class State:
    """What a stateful function remembers of the current key.

    Values are anything that has a JSON form. They are kept with the record that
    they came from: a record that fails leaves none behind.

    Examples
    --------
    >>> def total(row: dict, state: State) -> dict:
    ...     so_far = state.get("total", default=0) + row["amount"]
    ...     state.set("total", so_far)
    ...     return {"total": so_far}
    """

    def get(self, key: Any, default: Any = None) -> Any:
        """Give the value stored under `key`, or the default."""
    def set(self, key: Any, value: Any, ttl: timedelta | None = None) -> None:
        """Store a value, for ever or for `ttl` of event time."""
    def get_bytes(self, key: Any, default: bytes | None = None) -> bytes | None:
        """Give the bytes stored under `key`, or the default."""
    def set_bytes(self, key: Any, value: bytes, ttl: timedelta | None = None) -> None:
        """Store bytes, for ever or for `ttl` of event time."""
    def delete(self, key: Any) -> None:
        """Remove a value, if there is one."""
    def exists(self, key: Any) -> bool:
        """Say whether a value is stored."""

@final
class Log:
    @staticmethod
    def open(directory: str | PathLike[str]) -> Log: ...
    @staticmethod
    def connect(connection: Connection) -> Log: ...
    def describe(self) -> str: ...
    def topics(self) -> list[tuple[str, int]]: ...
    def create_topic(self, name: str, config: _TopicConfig) -> bool: ...
    def producer(self, config: _TopicConfig) -> Producer: ...
    def read(
        self, topic: str, value_format: str, key_format: str, limit: int | None = None
    ) -> TopicReader: ...

@final
class TopicReader:
    def next_rows(self, metadata: bool) -> list[dict[str, Any]]: ...
    def count(self) -> int: ...

@final
class Producer:
    def produce(
        self,
        topic: str,
        value: bytes | str | dict[str, Any] | list[Any] | tuple[Any, ...] | None = None,
        key: bytes | str | None = None,
        headers: list[tuple[str, bytes | None]] | dict[str, bytes | None] | None = None,
        partition: int | None = None,
        timestamp: int | None = None,
    ) -> None:
        """Append a record.

        Parameters
        ----------
        topic
            The topic's name; a missing topic is made.
        value
            Bytes or text as they are, a dict or a list as JSON; None is a
            tombstone.
        key
            Bytes or text. Records of one key go to one partition.
        headers
            Pairs of a name and bytes, or a dict.
        partition
            The partition, instead of the key's.
        timestamp
            The event time in milliseconds; otherwise now.
        """
    def flush(self) -> None: ...
    def close(self) -> None: ...

@final
class SourceQueue:
    def put(
        self,
        key: bytes | None,
        value: bytes | None,
        timestamp: int | None = None,
        headers: list[tuple[str, bytes | None]] | None = None,
    ) -> bool: ...
    def drain(self, timeout: float) -> bool: ...
    def finish(self, failure: BaseException | None = None) -> None: ...
    @property
    def is_open(self) -> bool: ...

@final
class Metrics:
    def __new__(cls) -> Metrics: ...
    def snapshot(self, log: Log | None) -> dict[str, Any]: ...

@final
class Stopper:
    def __new__(cls) -> Stopper: ...
    def stop(self) -> bool: ...

def run(
    log: Log,
    settings: _Settings,
    parts: _Parts,
    options: _Options,
    stopper: Stopper,
    metrics: Metrics,
) -> tuple[list[dict[str, Any]], dict[str, Any]]: ...
def clear_state(log: Log, settings: _Settings) -> None: ...
def explain(frames: list[Frame]) -> str: ...
def message_context() -> tuple[str, int, int | None] | None: ...
def serialize(format: str, value: object) -> bytes | None: ...  # noqa: A002
def deserialize(format: str, bytes: bytes | None) -> Any: ...  # noqa: A002
def cli_main(arguments: list[str]) -> int: ...

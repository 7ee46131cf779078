"""The application: the user's program as a whole."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from headwater import _functions, _native
from headwater._durations import milliseconds, moment_ms, seconds
from headwater._interactive import is_interactive
from headwater._signals import StopOnSignal
from headwater.app_config import (
    ApplicationConfig,
    checked_name,
    checked_port,
    default_broker,
    default_directory,
    default_name,
)
from headwater.consumer import Consumer
from headwater.dataframe.dataframe import StreamingDataFrame
from headwater.dataframe.registry import FrameRegistry
from headwater.errors import InvalidOperation, StreamingDataFrameDuplicate
from headwater.kafka.configuration import ConnectionConfig, connection_of
from headwater.models import TimestampType, Topic, TopicConfig
from headwater.producer import Producer
from headwater.topic_data import TopicData

if TYPE_CHECKING:
    from datetime import timedelta

    from headwater.app_config import GroupProtocol, Guarantee, OffsetReset, OnError
    from headwater.models.topic import TimestampExtractor, TopicFormats
    from headwater.sources import Source

__all__ = ["Application", "RunReport"]

_LOGGER = logging.getLogger("headwater")

Place: TypeAlias = int | str | datetime | Mapping[str, Mapping[int, int]]
"""A place in topics: a moment, or offsets by topic and partition."""

# What programs written for Quix Streams may still pass, and what to do instead.
_OURS = "the engine sets it"
_QUIX_ONLY = {
    "request_timeout": _OURS,
    "topic_create_timeout": _OURS,
    "consumer_poll_timeout": _OURS,
    "producer_poll_timeout": _OURS,
    "max_partition_buffer_size": _OURS,
    "topic_manager": "give topics a TopicConfig",
    "on_consumer_error": "use on_error=",
    "on_processing_error": "use on_error=, a function of the error that decides",
    "on_producer_error": "use on_error=",
    "rocksdb_options": "use state_memory_max= and state_dir=",
    "use_changelog_topics": "state always has a changelog",
    "on_message_processed": "use sdf.update(f)",
    "quix_sdk_token": "Headwater knows no vendor's cloud",
    "quix_portal_api": "Headwater knows no vendor's cloud",
    "quix_config_builder": "Headwater knows no vendor's cloud",
    "auto_recover_from_source_offset_out_of_range": "a position that is gone is an error",
    "state_recovery_offset_reset": "state is restored to the committed end of its changelog",
}


@dataclass(frozen=True)
class RunReport:
    """How a run ended, and what it did."""

    ended: str
    records_in: int
    rows_out: int
    records_out: int
    late: int
    skipped: int
    dead_lettered: int


@dataclass(frozen=True)
class _Places:
    """Places in the partitions of topics: an end of them, a moment, or offsets."""

    edge: Literal["earliest", "latest"] | None = None
    time_ms: int | None = None
    offsets: list[tuple[str, int, int]] = field(default_factory=list)

    @staticmethod
    def of(value: Place, name: str, edge: Literal["earliest", "latest"]) -> _Places:
        if value == edge:
            return _Places(edge=edge)
        if isinstance(value, Mapping):
            return _Places(
                offsets=[
                    (topic, _count(partition, name, 0), _count(offset, name, 0))
                    for topic, of_topic in value.items()
                    for partition, offset in of_topic.items()
                ]
            )
        return _Places(time_ms=moment_ms(value, name))


@dataclass(frozen=True)
class _RunOptions:
    count: int | None
    timeout: float | None
    start: _Places | None
    until: _Places | None
    commit: bool
    writes_topics: bool
    collect: bool
    metadata: bool
    confirm_lost_state: bool


class _Parts(NamedTuple):
    frames: list[_native.Frame]
    topics: list[tuple[TopicFormats, TopicConfig | None]]
    sources: list[tuple[str, Any, TopicFormats]]
    sinks: list[tuple[str, Any]]


class Application:
    """A stream processing program: its topics, data frames, sources and sinks.

    Nothing is opened or contacted before `run`, `clear_state`, `get_producer`,
    `get_consumer` or `read_topic`.

    Parameters
    ----------
    broker_address
        The brokers of a Kafka cluster, ``"host:port"``, ``"kafka://host:port"`` or a
        `ConnectionConfig`; by default ``HEADWATER_BROKER``. Without it records live
        in the embedded log, a directory that any number of processes on this host
        share.
    name, consumer_group
        The application's name, one or the other: it owns positions and state. By
        default the name of the script.
    directory
        Where the embedded log lives; by default ``HEADWATER_DIR`` or
        ``./.headwater``.
    auto_offset_reset
        Where a topic is read from at first: ``"earliest"``, ``"latest"``, ``"error"``,
        or the first record of a time or later, in milliseconds, as a datetime or as its
        text. It is about the first run alone.
    commit_interval
        The longest that outputs, state and positions wait to be committed, in
        seconds or as a timedelta; by default 50 ms while records wait, on Kafka 100 ms
        where exactly once and 1 s where at least once.
    commit_every
        Commit after this many records too; 0 is never.
    on_error
        What happens to a record that cannot be processed: ``"stop"`` ends the run
        there, after three more tries; ``"skip"`` leaves it out; ``"dead-letter"``
        writes it to ``<topic>.dead-letter``; a function of the `DataError` returns
        one of these.
    workers
        The number of threads; by default one for each core, but one where a
        function of yours is called for each record.
    idle_timeout
        How long a topic must be quiet before time goes on without it and windows
        close, in seconds or as a timedelta; None is never.
    max_out_of_orderness
        How far records may be out of order, in milliseconds or as a timedelta.
    max_future
        How far ahead of its arrival a record's time may be, in milliseconds or as
        a timedelta; beyond it is a data error.
    state_memory_max
        The memory that all state may take together, in bytes; what does not fit
        is kept on disk.
    state_dir
        Where state that does not fit into memory is kept, for each application in a
        folder of its own; by default ``state`` in `directory`. It is a copy: what is
        lost there is restored from changelog topics.
    auto_create_topics
        Whether missing topics are made that are not declared with a config.
    loglevel
        The level of messages on the error output, or None to leave logging alone.
    processing_guarantee
        On Kafka: ``"exactly-once"``, or ``"at-least-once"``, which is cheaper and
        after a crash repeats what was in flight. The embedded log is always exactly
        once.
    group_protocol
        How processes share partitions out: ``"classic"``, or ``"consumer"`` on Kafka
        4.0 and newer.
    group_instance_id
        A name that makes this process a static member of its group: back within the
        session timeout, it keeps its partitions.
    consumer_extra_config, producer_extra_config
        More settings of the client, by librdkafka's names.
    broker_availability_timeout
        How many seconds to wait for brokers that are gone before `run` raises; 0
        waits for ever, but half a minute before anything was committed. A request
        that is on its way is given 10 seconds.
    metrics_port
        While `run` runs, answer ``/livez``, ``/readyz`` and ``/metrics`` on this port
        of the loopback interface; 0 takes a free one. By default
        ``HEADWATER_METRICS_PORT``, else none is opened.

    Examples
    --------
    >>> app = Application(name="alerts", directory=tmp_path, commit_interval=0.1, workers=1)
    >>> sdf = app.dataframe(app.topic("telemetry"))
    >>> sdf = sdf[sdf["speed"] > 100].to_topic(app.topic("alerts"))
    >>> app.run(timeout=0.1)
    []

    With every record that fails kept for later:

    >>> app = Application(name="careful", directory=tmp_path, on_error="dead-letter",
    ...     auto_offset_reset="latest", commit_every=1000, idle_timeout=None,
    ...     max_out_of_orderness=500, max_future=60_000, state_memory_max=64 << 20,
    ...     state_dir=tmp_path / "state", loglevel=None)
    """

    def __init__(
        self,
        broker_address: str | ConnectionConfig | None = None,
        *,
        consumer_group: str | None = None,
        name: str | None = None,
        directory: str | Path | None = None,
        auto_offset_reset: OffsetReset = "earliest",
        commit_interval: float | timedelta | None = None,
        commit_every: int = 0,
        on_error: OnError = "stop",
        workers: int | None = None,
        idle_timeout: float | timedelta | None = 10.0,
        max_out_of_orderness: int | timedelta = 0,
        max_future: int | timedelta = 86_400_000,
        state_memory_max: int = 512 << 20,
        state_dir: str | Path | None = None,
        auto_create_topics: bool = True,
        loglevel: str | int | None = "INFO",
        processing_guarantee: Guarantee | None = None,
        group_protocol: GroupProtocol = "classic",
        group_instance_id: str | None = None,
        consumer_extra_config: dict[str, Any] | None = None,
        producer_extra_config: dict[str, Any] | None = None,
        broker_availability_timeout: float | timedelta = 0,
        metrics_port: int | None = None,
        **unsupported: Any,
    ) -> None:
        for option in unsupported:
            reason = _QUIX_ONLY.get(option)
            msg = f"Application() got an unexpected keyword argument {option!r}"
            raise TypeError(f"{msg}: {reason}" if reason else msg)
        if name is not None and consumer_group is not None and name != consumer_group:
            msg = "name and consumer_group are the same thing; give one of them"
            raise InvalidOperation(msg)
        address = broker_address if broker_address is not None else default_broker()
        self._config = ApplicationConfig(
            name=checked_name(name or consumer_group or default_name()),
            directory=Path(directory) if directory is not None else default_directory(),
            auto_offset_reset=_offset_reset(auto_offset_reset),
            commit_interval=_seconds(commit_interval, "commit_interval"),
            commit_every=_count(commit_every, "commit_every", 0),
            workers=None if workers is None else _count(workers, "workers", 1),
            on_error=_policy(on_error),
            idle_timeout=_seconds(idle_timeout, "idle_timeout"),
            max_out_of_orderness_ms=milliseconds(max_out_of_orderness, "max_out_of_orderness"),
            max_future_ms=milliseconds(max_future, "max_future"),
            state_memory_max=_count(state_memory_max, "state_memory_max", 0),
            state_dir=None if state_dir is None else Path(state_dir),
            auto_create_topics=auto_create_topics,
            loglevel=loglevel,
            broker=None if address is None else connection_of(address),
            processing_guarantee=_guarantee(processing_guarantee, is_embedded=address is None),
            group_protocol=_choice(group_protocol, "group_protocol", ("classic", "consumer")),
            group_instance_id=group_instance_id,
            client_settings=_client_settings(consumer_extra_config, producer_extra_config),
            broker_availability_timeout=_seconds(
                broker_availability_timeout or None, "broker_availability_timeout"
            ),
            metrics_port=checked_port(metrics_port),
        )
        self._opened: _native.Log | None = None
        self._stopper = _native.Stopper()
        self._metrics = _native.Metrics()
        self._topics: dict[str, Topic] = {}
        self._sources: dict[str, tuple[Source, Topic]] = {}
        self._roots: dict[str, _native.Frame] = {}
        self._frames = FrameRegistry()
        self._last_run: RunReport | None = None
        _set_up_logging(loglevel)

    # -- definition ---------------------------------------------------------

    @property
    def config(self) -> ApplicationConfig:
        """What the application was told.

        Examples
        --------
        >>> app.config.auto_offset_reset
        'earliest'
        """
        return self._config

    @property
    def last_run(self) -> RunReport | None:
        """How the last run ended and what it did; None before the first.

        Examples
        --------
        >>> app.last_run is None
        True
        """
        return self._last_run

    def topic(
        self,
        name: str,
        value_deserializer: str = "json",
        key_deserializer: str = "bytes",
        value_serializer: str = "json",
        key_serializer: str = "bytes",
        config: TopicConfig | None = None,
        timestamp_extractor: TimestampExtractor | None = None,
    ) -> Topic:
        r"""Name a topic and its formats; nothing is contacted.

        Parameters
        ----------
        name
            Letters, digits, ``.``, ``_`` and ``-``; or, beginning with ``^``, a regular
            expression: a data frame on it reads all topics that match.
        value_deserializer, key_deserializer
            How records are read: ``"json"``, ``"str"``, ``"bytes"``, ``"int"`` or
            ``"double"``.
        value_serializer, key_serializer
            How records are written.
        config
            How the topic is made if it is missing.
        timestamp_extractor
            Takes the event time from the record: a function of value, headers,
            timestamp and its type.

        Examples
        --------
        >>> telemetry = app.topic("telemetry", key_deserializer="str",
        ...     timestamp_extractor=lambda value, headers, timestamp, kind: value["time"])
        >>> alerts = app.topic("alerts", config=TopicConfig(num_partitions=4))
        >>> cars = app.topic(r"^cars\..*")
        >>> plain = app.topic("plain", value_deserializer="str", value_serializer="str",
        ...     key_serializer="str")
        """
        return self._remember(
            Topic(
                name,
                value_deserializer,
                key_deserializer,
                value_serializer,
                key_serializer,
                config,
                timestamp_extractor,
            )
        )

    def _remember(self, topic: Topic) -> Topic:
        self._topics[topic.name] = topic
        return topic

    def _topic_of(self, topic: Topic | str) -> Topic:
        """Give a topic of the application by itself or by its name."""
        if isinstance(topic, str):
            return self._topics.get(topic) or self._remember(Topic(topic))
        if not isinstance(topic, Topic):
            msg = f"expected a topic or its name, not {type(topic).__name__}"
            raise TypeError(msg)
        return self._remember(topic)

    def dataframe(
        self, topic: Topic | str | None = None, source: Source | None = None
    ) -> StreamingDataFrame:
        """Begin a data frame on a topic, or on what a source produces.

        In a notebook, calling it again for the same topic replaces the former
        frame with everything made from it; in a script it is an error.

        Parameters
        ----------
        topic
            The topic that is read, or that the source fills; a name stands for
            ``app.topic(name)``.
        source
            Where records come from.

        Examples
        --------
        >>> orders = app.dataframe(app.topic("orders"))
        >>> from headwater.sources import CSVSource
        >>> laps = app.dataframe(source=CSVSource("laps.csv"))
        """
        if isinstance(topic, str):
            topic = self.topic(topic)
        if source is not None:
            topic = self.add_source(source, topic)
        if topic is None:
            msg = 'a data frame needs a topic or a source: app.dataframe(app.topic("name"))'
            raise InvalidOperation(msg)
        if not isinstance(topic, Topic):
            msg = f"dataframe() takes a topic or its name, not {type(topic).__name__}"
            raise TypeError(msg)
        self._remember(topic)
        former = self._roots.get(topic.name)
        if former is not None:
            if not is_interactive():
                msg = (
                    f"topic {topic.name!r} has a data frame already; keep the first one and make "
                    "branches of it: a = sdf[...]; b = sdf.apply(...)"
                )
                raise StreamingDataFrameDuplicate(msg)
            self._frames.forget(former)
        frame = _native.Frame.input(topic._reading, _extractor(topic))
        self._roots[topic.name] = frame
        return StreamingDataFrame(self, topic, self._frames.add(frame))

    def add_source(self, source: Source, topic: Topic | str | None = None) -> Topic:
        """Add a source that fills a topic, without a data frame.

        Parameters
        ----------
        source
            The source.
        topic
            The topic that it fills; by default ``source__<name>``.

        Returns
        -------
        Topic
            The topic.

        Examples
        --------
        >>> from headwater.sources import CSVSource
        >>> laps = app.add_source(CSVSource("laps.csv"), app.topic("laps"))
        """
        known = self._sources.get(source.name)
        if known is not None and known[0] is not source and not is_interactive():
            msg = f"two sources are named {source.name!r}; give one of them another name"
            raise InvalidOperation(msg)
        topic = self._topic_of(topic or source.default_topic())
        source._topic = topic
        self._sources[source.name] = (source, topic)
        return topic

    # -- running ------------------------------------------------------------

    def run(
        self,
        dataframe: StreamingDataFrame | None = None,
        timeout: float | timedelta | None = None,
        count: int | None = None,
        collect: bool = True,
        metadata: bool = False,
        *,
        start: Place | None = None,
        until: Place | None = None,
        commit: bool | None = None,
        outputs: bool = False,
        confirm_lost_state: bool = False,
    ) -> list[dict[str, Any]]:
        """Run until stopped, or until `count` or `timeout` is reached.

        Ctrl-C and SIGTERM finish the epoch and return; a second one raises
        `KeyboardInterrupt`. In a notebook Ctrl-C raises it after the epoch.

        Parameters
        ----------
        dataframe
            Accepted for old programs: all data frames run.
        timeout
            End after this many seconds without a new record.
        count
            End after this many rows have reached the end of a data frame.
        collect
            With `count`, `timeout` or `until`: return those rows.
        metadata
            Add ``_key``, ``_timestamp``, ``_headers``, ``_topic``, ``_partition``
            and ``_offset`` to them.
        start
            Read from there and not from where the last run ended: ``"earliest"``, the
            first record of a time or later (milliseconds, a datetime, or its text;
            UTC unless it says otherwise), or offsets, ``{"topic": {partition: offset}}``.
            Only without commit.
        until
            End before that place: ``"latest"``, which is the end as it stands now, a
            time or offsets. What reaches it closes all windows. Partitions that offsets
            do not name are left out. Without `start` it begins with the first record.
        commit
            ``False`` leaves everything as it is: no positions, no outputs, no
            state; state begins empty. The default with `until`.
        outputs
            Write to topics although nothing is committed.
        confirm_lost_state
            Go on although the last run kept state that this program lacks.

        Returns
        -------
        list
            The rows as dicts; what is no dict stands under ``_value``.

        Examples
        --------
        >>> with app.get_producer() as producer:
        ...     producer.produce("telemetry", value={"speed": 12.5}, timestamp=1000)
        >>> app.run(count=1, start="earliest", commit=False)
        [{'speed': 12.5}]
        >>> app.run(count=1, timeout=5, metadata=True)[0]["_timestamp"]
        1000

        A part of the past, once more:

        >>> app.run(start=1000, until="1970-01-02", collect=True)
        [{'speed': 12.5}]
        >>> app.run(start={"telemetry": {0: 0}}, until={"telemetry": {0: 1}}, outputs=True)
        [{'speed': 12.5}]
        """
        del dataframe
        if until is not None and start is None:
            start = "earliest"
        limit = None if not count else _count(count, "count", 1)
        wait = None if not timeout else seconds(timeout, "timeout")
        options = _RunOptions(
            count=limit,
            timeout=wait,
            start=None if start is None else _Places.of(start, "start", "earliest"),
            until=None if until is None else _Places.of(until, "until", "latest"),
            commit=until is None if commit is None else commit,
            writes_topics=outputs,
            collect=collect and (limit is not None or wait is not None or until is not None),
            metadata=metadata,
            confirm_lost_state=confirm_lost_state,
        )
        parts = self._parts()
        if not parts.frames and not parts.sources:
            msg = 'there is nothing to run; begin with sdf = app.dataframe(app.topic("name"))'
            raise InvalidOperation(msg)
        self._stopper.begin()
        try:
            with StopOnSignal(self.stop):
                rows, counts = _native.run(
                    self._log, self._config, parts, options, self._stopper, self._metrics
                )
        finally:
            self._stopper.end()
        self._last_run = RunReport(**counts)
        return rows

    def _parts(self) -> _Parts:
        return _Parts(
            frames=self._frames.steps(),
            topics=[(topic._writing, topic.config) for topic in self._topics.values()],
            sources=[
                (name, source, topic._writing) for name, (source, topic) in self._sources.items()
            ],
            sinks=self._frames.sinks(),
        )

    def stop(self) -> None:
        """Ask the run to end after its epoch; from a function or another thread.

        Examples
        --------
        >>> app.stop()
        """
        self._stopper.stop()

    def metrics(self) -> dict[str, Any]:
        """Say what the application has done and where it stands, over all its runs.

        It may be called from any thread, while the application runs too. Counts are
        those of committed epochs. For every operator

        ``rows_in + expanded + emitted
        == rows_out + filtered + absorbed + late + failed``

        Returns
        -------
        dict
            ``phase`` (``"running"`` ...), ``address`` of the metrics port, ``restarts``,
            ``records_out``, ``rows_out``, the rates ``records_in_rate`` and
            ``records_out_rate`` in records a second, ``checkpoints``, and lists of dicts:
            ``operators``, ``partitions`` with their ``lag``, ``watermark`` and ``offset``,
            and ``restores``.

        Examples
        --------
        >>> app.metrics()["phase"]
        'stopped'
        """
        return self._metrics.snapshot(self._opened)

    def clear_state(self) -> None:
        """Forget the application's state and positions: the next run starts anew.

        Topics and their records stay.

        Examples
        --------
        >>> app.clear_state()
        """
        _native.clear_state(self._log, self._config)

    def explain(self) -> str:
        """Say what runs, step by step, and whether Rust or Python runs it.

        Examples
        --------
        >>> print(app.explain())  # doctest: +SKIP
        """
        return _native.explain(self._frames.steps())

    # -- the log ------------------------------------------------------------

    @property
    def _log(self) -> _native.Log:
        if self._opened is None:
            connection = self._config.connection
            self._opened = (
                _native.Log.open(self._config.directory)
                if connection is None
                else _native.Log.connect(connection)
            )
        return self._opened

    def get_producer(self) -> Producer:
        """Make a producer, to be used in a ``with`` block.

        Examples
        --------
        >>> with app.get_producer() as producer:
        ...     producer.produce("telemetry", value={"speed": 12.5}, key="car-1")
        """
        topics = list(self._topics.values())
        return Producer(self._log, topics, makes_topics=self._config.auto_create_topics)

    def get_consumer(self, auto_commit_enable: bool = True) -> Consumer:
        """Make a consumer of records, to be used in a ``with`` block.

        Its group is the application's name: a program either runs data frames or
        reads by consumers.

        Parameters
        ----------
        auto_commit_enable
            Commit what was handed out every five seconds and when it is closed;
            otherwise only `Consumer.commit` does.

        Examples
        --------
        >>> with app.get_producer() as producer:
        ...     producer.produce("telemetry", value={"speed": 12.5}, key="car-1")
        >>> with app.get_consumer(auto_commit_enable=False) as consumer:
        ...     consumer.subscribe(["telemetry"])
        ...     message = consumer.poll(5.0)
        ...     consumer.commit(message)
        >>> message.value()
        b'{"speed":12.5}'
        """
        consumer = self._log.consumer(self._config.name, self._config.auto_offset_reset)
        return Consumer(consumer, auto_commit_enable=auto_commit_enable)

    def read_topic(
        self,
        topic: str | Topic,
        *,
        metadata: bool = False,
        limit: int | None = None,
    ) -> TopicData:
        """Read what a topic holds now, without touching the application's position.

        Parameters
        ----------
        topic
            A topic, or its name.
        metadata
            Add ``_key``, ``_timestamp``, ``_headers``, ``_topic``, ``_partition``
            and ``_offset``.
        limit
            The most records to read.

        Examples
        --------
        >>> with app.get_producer() as producer:
        ...     producer.produce("laps", value={"lap": 1}, timestamp=1000)
        >>> list(app.read_topic("laps"))
        [{'lap': 1}]
        >>> [row["_timestamp"] for row in app.read_topic("laps", metadata=True, limit=1)]
        [1000]
        """
        if isinstance(topic, str):
            topic = self._topics.get(topic) or Topic(topic)
        return TopicData(self._log, topic, metadata=metadata, limit=limit)

    def __repr__(self) -> str:
        return f"Application(name={self._config.name!r}, directory={str(self._config.directory)!r})"


def _offset_reset(asked: OffsetReset) -> Literal["earliest", "latest", "error"] | int:
    names: tuple[Literal["earliest", "latest", "error"], ...] = ("earliest", "latest", "error")
    for name in names:
        if asked == name:
            return name
    if isinstance(asked, str) and not asked[:1].isdigit():
        _choice(asked, "auto_offset_reset", (*names, "2026-11-27T12:00"))
    return moment_ms(asked, "auto_offset_reset")


def _guarantee(asked: Guarantee | None, *, is_embedded: bool) -> Guarantee:
    if asked is None:
        return "exactly-once" if is_embedded else "at-least-once"
    _choice(asked, "processing_guarantee", ("at-least-once", "exactly-once"))
    # The embedded log cannot do less.
    return "exactly-once" if is_embedded else asked


def _policy(on_error: OnError) -> OnError:
    choices = ("stop", "skip", "dead-letter")
    return on_error if callable(on_error) else _choice(on_error, "on_error", choices)


def _client_settings(*extra: dict[str, Any] | None) -> dict[str, str]:
    """Join the settings for consumers and producers: one client's own are no other's."""

    def text(value: object) -> str:
        return str(value).lower() if isinstance(value, bool) else str(value)

    joined: dict[str, str] = {}
    for part in extra:
        for name, value in (part or {}).items():
            if joined.setdefault(name, text(value)) != text(value):
                msg = (
                    f"{name!r} differs in consumer_extra_config and producer_extra_config: "
                    "there is one client"
                )
                raise InvalidOperation(msg)
    return joined


def _extractor(topic: Topic) -> _native.Function | None:
    """Make the engine's handle on a topic's timestamp extractor."""
    extract = topic.timestamp_extractor
    if extract is None:
        return None

    def call(value: Any, _key: Any, timestamp: int, headers: Any) -> int:
        return extract(value, headers, timestamp, TimestampType.TIMESTAMP_CREATE_TIME)

    return _functions.native(call, metadata=True, wraps=extract, takes_row=False)


def _seconds(value: float | timedelta | None, name: str) -> float | None:
    return None if value is None else seconds(value, name)


def _count(value: int, name: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        msg = f"{name} must be an int, not {value!r}"
        raise TypeError(msg)
    if value < least:
        msg = f"{name} must be at least {least}, not {value}"
        raise ValueError(msg)
    return value


def _choice(value: Any, name: str, choices: tuple[str, ...]) -> Any:
    if value not in choices:
        listed = ", ".join(f'"{choice}"' for choice in choices)
        msg = f"{name} must be one of {listed}, not {value!r}"
        raise ValueError(msg)
    return value


def _set_up_logging(level: str | int | None) -> None:
    """Show messages on the error output, unless the program logs by itself."""
    if level is None:
        return
    _LOGGER.setLevel(level)
    if not _LOGGER.handlers and not logging.getLogger().handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        _LOGGER.addHandler(handler)

"""Reading records from outside a pipeline."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

from headwater.errors import InvalidOperation
from headwater.models import TimestampType

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from headwater import _native

__all__ = ["Consumer", "Message", "TopicPartition"]

# How often positions are committed, where the consumer does it by itself.
_COMMIT_INTERVAL_S = 5.0


class TopicPartition(NamedTuple):
    """A partition of a topic, and perhaps an offset in it.

    Examples
    --------
    >>> TopicPartition("telemetry", 0, offset=5).offset
    5
    """

    topic: str
    partition: int = 0
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A record as it stands in the log; what it has is asked for by methods.

    Examples
    --------
    >>> message = Message("telemetry", 0, 7, b"car-1", b"{}", [], 1000)
    >>> message.topic(), message.offset(), message.value(), message.timestamp()[1]
    ('telemetry', 7, b'{}', 1000)
    """

    _topic: str
    _partition: int
    _offset: int
    _key: bytes | None
    _value: bytes | None
    _headers: list[tuple[str, bytes | None]]
    _timestamp: int

    def topic(self) -> str:
        """Give the topic's name."""
        return self._topic

    def partition(self) -> int:
        """Give the number of the partition."""
        return self._partition

    def offset(self) -> int:
        """Give the offset in the partition."""
        return self._offset

    def key(self) -> bytes | None:
        """Give the key's bytes."""
        return self._key

    def value(self) -> bytes | None:
        """Give the value's bytes; None is a tombstone."""
        return self._value

    def headers(self) -> list[tuple[str, bytes | None]]:
        """Give the headers, as pairs of a name and bytes."""
        return self._headers

    def timestamp(self) -> tuple[TimestampType, int]:
        """Give the event time in milliseconds, after what kind of time it is."""
        return TimestampType.TIMESTAMP_CREATE_TIME, self._timestamp

    def error(self) -> None:
        """Give None: what fails is raised by `Consumer.poll`."""
        return

    def __len__(self) -> int:
        return len(self._value or b"")


def _with_offset(place: TopicPartition) -> tuple[str, int, int]:
    at = TopicPartition(*place)
    if at.offset is None:
        msg = f"name the offset: TopicPartition({at.topic!r}, {at.partition}, offset=...)"
        raise InvalidOperation(msg)
    return at.topic, at.partition, at.offset


class Consumer:
    """Reads records of topics, as bytes. Made by `Application.get_consumer`.

    Subscribed consumers of one application share the partitions, on Kafka; each
    record is then one consumer's. On the embedded log one consumer reads all.

    Examples
    --------
    >>> with app.get_producer() as producer:
    ...     producer.produce("telemetry", value={"speed": 12.5}, key="car-1")
    >>> with app.get_consumer() as consumer:
    ...     consumer.subscribe(["telemetry"])
    ...     message = consumer.poll(5.0)
    >>> message.key(), message.value()
    (b'car-1', b'{"speed":12.5}')

    The next consumer goes on behind it:

    >>> with app.get_consumer(auto_commit_enable=False) as consumer:
    ...     consumer.subscribe(["telemetry"])
    ...     print(consumer.poll(0.1))
    None
    """

    def __init__(self, consumer: _native.Consumer, *, auto_commit_enable: bool) -> None:
        self._native: _native.Consumer | None = consumer
        self._commits = auto_commit_enable
        self._is_subscribed = False
        self._committed_at = time.monotonic()
        # The offset after the last record that was handed out, by partition.
        self._next: dict[tuple[str, int], int] = {}

    @property
    def _open(self) -> _native.Consumer:
        if self._native is None:
            msg = "the consumer is closed"
            raise InvalidOperation(msg)
        return self._native

    def subscribe(self, topics: Iterable[str]) -> None:
        """Share the partitions of topics with the other consumers of the group."""
        if isinstance(topics, str):
            topics = [topics]
        self._next.clear()
        self._open.subscribe(list(topics))
        self._is_subscribed = True

    def unsubscribe(self) -> None:
        """Leave the group, after a commit if the consumer does that by itself."""
        self._commit_by_itself()
        self._open.unassign()
        self._is_subscribed = False
        self._next.clear()

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """Read these partitions beside any group; nothing is committed.

        Without an offset a partition is read from where the group has committed.

        Examples
        --------
        >>> with app.get_producer() as producer:
        ...     producer.produce("telemetry", value="a")
        ...     producer.produce("telemetry", value="b")
        >>> with app.get_consumer() as consumer:
        ...     consumer.assign([TopicPartition("telemetry", 0, offset=1)])
        ...     consumer.poll(5.0).value()
        b'b'
        """
        self._next.clear()
        places = [TopicPartition(*at) for at in partitions]
        self._open.assign([(at.topic, at.partition, at.offset) for at in places])
        self._is_subscribed = False

    def assignment(self) -> list[TopicPartition]:
        """Give the partitions that it reads."""
        return [TopicPartition(*at)._replace(offset=None) for at in self._open.assignment()]

    def position(self, partitions: Iterable[TopicPartition]) -> list[TopicPartition]:
        """Give the offsets of the records that come next."""
        at = {(topic, number): offset for topic, number, offset in self._open.assignment()}
        at |= self._next
        return [
            TopicPartition(place[0], place[1], at.get((place[0], place[1]))) for place in partitions
        ]

    def poll(self, timeout: float | None = None) -> Message | None:
        """Give the next record, or None if none comes within so many seconds."""
        native = self._open
        if self._commits and time.monotonic() >= self._committed_at + _COMMIT_INTERVAL_S:
            self._commit_by_itself()
        record = native.poll(float("inf") if timeout is None else timeout)
        if native.took_over():
            # What was not committed is read again, by whoever has it now.
            self._next.clear()
        if record is None:
            return None
        message = Message(*record)
        self._next[message.topic(), message.partition()] = message.offset() + 1
        return message

    def consume(self, num_messages: int = 1, timeout: float | None = None) -> list[Message]:
        """Give up to so many records, those that come within so many seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        messages: list[Message] = []
        while len(messages) < num_messages:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            message = self.poll(left)
            if message is None:
                break
            messages.append(message)
        return messages

    def seek(self, partition: TopicPartition) -> None:
        """Go on at an offset of a partition that it reads."""
        at = _with_offset(partition)
        self._open.seek(at)
        self._next.pop(at[:2], None)

    def commit(
        self,
        message: Message | None = None,
        offsets: Iterable[TopicPartition] | None = None,
        asynchronous: bool = False,
    ) -> None:
        """Commit what was handed out, up to a record, or these offsets; it waits.

        Parameters
        ----------
        message
            Commit the position after this record alone.
        offsets
            Commit these positions: the offsets of the records to read next.
        asynchronous
            Accepted for old programs; the commit has happened when the call returns.
        """
        del asynchronous
        if message is not None:
            places = [(message.topic(), message.partition(), message.offset() + 1)]
        elif offsets is not None:
            places = [_with_offset(at) for at in offsets]
        else:
            places = [(topic, number, at) for (topic, number), at in self._next.items()]
        if places:
            self._open.commit(places)

    def committed(self, partitions: Iterable[TopicPartition]) -> list[TopicPartition]:
        """Give what the group has committed of partitions; None where nothing."""
        at = {(topic, number): offset for topic, number, offset in self._open.committed()}
        return [TopicPartition(*place[:2], at.get((place[0], place[1]))) for place in partitions]

    def close(self) -> None:
        """Commit if the consumer does that by itself, and leave the group."""
        if self._native is not None:
            try:
                self._commit_by_itself()
            finally:
                self._native.unassign()
                self._native = None

    def _commit_by_itself(self) -> None:
        self._committed_at = time.monotonic()
        if self._commits and self._is_subscribed:
            self.commit()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return "Consumer()"

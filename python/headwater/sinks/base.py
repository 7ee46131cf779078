"""Sinks written in Python."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

from headwater.errors import HeadwaterError

__all__ = ["BaseSink", "BatchingSink", "SinkBackpressureError", "SinkBatch", "SinkItem"]

HeaderPairs: TypeAlias = "list[tuple[str, bytes | None]] | None"


class SinkBackpressureError(HeadwaterError):
    """Raised by a sink that cannot take rows now: the epoch is tried again.

    Parameters
    ----------
    retry_after
        Seconds after which it makes sense to try again.
    """

    def __init__(self, retry_after: float = 1.0) -> None:
        super().__init__(f"the sink cannot take rows now; try again in {retry_after} seconds")
        self.retry_after = retry_after


class BaseSink(ABC):
    """A sink of your own: derive, and write `add` and `flush`.

    At the end of an epoch the engine adds the epoch's rows, flushes, and commits.

    Examples
    --------
    >>> class Total(BaseSink):
    ...     total = 0
    ...     def add(self, value, key, timestamp, headers, topic, partition, offset):
    ...         self.total += value["speed"]
    ...     def flush(self):
    ...         print(self.total)
    >>> sdf.sink(Total())
    """

    def setup(self) -> None:
        """Prepare: connect, check; called once before the first row of a run."""

    def start(self) -> None:
        """Call `setup`; a class may do more."""
        self.setup()

    @abstractmethod
    def add(
        self,
        value: Any,
        key: Any,
        timestamp: int,
        headers: HeaderPairs,
        topic: str,
        partition: int,
        offset: int,
    ) -> None:
        """Take a row, with where its record stands."""

    @abstractmethod
    def flush(self) -> None:
        """Make all rows taken durable."""

    def on_paused(self) -> None:
        """Forget rows that were added and not flushed: they come again."""

    def cleanup(self) -> None:
        """Tidy up; called when a run ends."""

    # -- called by the engine -----------------------------------------------

    def _sink_name(self) -> str:
        return type(self).__name__

    def _open(self) -> None:
        self.on_paused()
        self.start()

    def _close(self) -> None:
        self.cleanup()


class SinkItem(NamedTuple):
    """A row in a `SinkBatch`."""

    value: Any
    key: Any
    timestamp: int
    headers: HeaderPairs
    offset: int


class SinkBatch:
    """The rows of one epoch that come from one partition.

    Examples
    --------
    >>> batch = SinkBatch("telemetry", 0)
    >>> batch.append({"speed": 1.5}, b"car-1", 1000, None, 7)
    >>> batch.size, batch.start_offset, [item.value for item in batch]
    (1, 7, [{'speed': 1.5}])
    """

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self._items: list[SinkItem] = []

    @property
    def size(self) -> int:
        """The number of rows."""
        return len(self._items)

    @property
    def start_offset(self) -> int:
        """The offset of the first row's record."""
        return self._items[0].offset

    def empty(self) -> bool:
        """Whether there are no rows."""
        return not self._items

    def append(
        self, value: Any, key: Any, timestamp: int, headers: HeaderPairs, offset: int
    ) -> None:
        """Add a row."""
        self._items.append(SinkItem(value, key, timestamp, headers, offset))

    def clear(self) -> None:
        """Remove all rows."""
        self._items.clear()

    def iter_chunks(self, n: int) -> Iterator[tuple[SinkItem, ...]]:
        """Give the rows in chunks of at most `n`.

        Examples
        --------
        >>> batch = SinkBatch("telemetry", 0)
        >>> for offset in range(3):
        ...     batch.append(offset, None, 0, None, offset)
        >>> [len(chunk) for chunk in batch.iter_chunks(2)]
        [2, 1]
        """
        items = iter(self._items)
        while chunk := tuple(islice(items, n)):
            yield chunk

    def __iter__(self) -> Iterator[SinkItem]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)


class BatchingSink(BaseSink):
    """A sink of your own that writes the rows of an epoch at once.

    Examples
    --------
    >>> class Printed(BatchingSink):
    ...     def write(self, batch):
    ...         print(batch.topic, batch.size)
    >>> sdf.sink(Printed())
    """

    _batches: dict[tuple[str, int], SinkBatch] | None = None

    @abstractmethod
    def write(self, batch: SinkBatch) -> None:
        """Write the rows of one partition."""

    def add(
        self,
        value: Any,
        key: Any,
        timestamp: int,
        headers: HeaderPairs,
        topic: str,
        partition: int,
        offset: int,
    ) -> None:
        """Take a row."""
        batch = self._known().get((topic, partition))
        if batch is None:
            batch = self._known()[(topic, partition)] = SinkBatch(topic, partition)
        batch.append(value, key, timestamp, headers, offset)

    def flush(self) -> None:
        """Write all rows taken, batch by batch."""
        for batch in self._known().values():
            if not batch.empty():
                self.write(batch)
        self._known().clear()

    def on_paused(self) -> None:
        """Forget rows that were added and not written."""
        self._known().clear()

    def _known(self) -> dict[tuple[str, int], SinkBatch]:
        # Not made by a constructor, which a class may forget to call.
        if self._batches is None:
            self._batches = {}
        return self._batches

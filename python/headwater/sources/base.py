"""Sources written in Python."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from headwater.errors import InvalidOperation
from headwater.models import Record, Topic

if TYPE_CHECKING:
    from collections.abc import Callable

    from headwater import _native
    from headwater.models.topic import Headers

__all__ = ["Source"]


class Source(ABC):
    """A source of your own: derive, and write `run`.

    `run` is called on a thread of its own when the application runs. It produces
    records while `running` is true, and waits by itself where the pipeline is
    slower. When it returns, the source has ended.

    Parameters
    ----------
    name
        A name, unique in the application.
    shutdown_timeout
        How many seconds `run` may take to return once the application stops.

    Examples
    --------
    >>> class Numbers(Source):
    ...     def run(self):
    ...         for number in range(3):
    ...             if not self.running:
    ...                 return
    ...             record = self.serialize(key="n", value={"number": number}, timestamp_ms=number)
    ...             self.produce(record.key, record.value, timestamp=record.timestamp)
    >>> numbers = app.dataframe(source=Numbers("numbers"))
    """

    def __init__(self, name: str, shutdown_timeout: float = 10) -> None:
        self.name = name
        self.shutdown_timeout = shutdown_timeout
        self._topic: Topic | None = None
        self._queue: _native.SourceQueue | None = None
        self._thread: threading.Thread | None = None

    @abstractmethod
    def run(self) -> None:
        """Produce records while `running` is true."""

    def setup(self) -> None:
        """Prepare; called before `run`, on its thread."""

    def cleanup(self, failed: bool) -> None:
        """Tidy up; called after `run`, on its thread.

        Parameters
        ----------
        failed
            Whether `run` raised.
        """

    @property
    def running(self) -> bool:
        """Whether the application wants more records."""
        return self._queue is not None and self._queue.is_open

    def stop(self) -> None:
        """Tell that the application stops; `running` is false from now on."""

    def default_topic(self) -> Topic:
        """Give the topic that the source fills if none is named."""
        return Topic(f"source__{self.name}")

    @property
    def producer_topic(self) -> Topic:
        """The topic that the source fills."""
        return self._topic or self.default_topic()

    def serialize(
        self,
        key: Any = None,
        value: Any = None,
        headers: Headers = None,
        timestamp_ms: int | None = None,
    ) -> Record:
        """Write a key and a value as bytes, by the topic's serializers."""
        return self.producer_topic.serialize(key, value, headers, timestamp_ms)

    def produce(
        self,
        key: bytes | str | None = None,
        value: bytes | str | None = None,
        headers: Headers = None,
        timestamp: int | None = None,
    ) -> None:
        """Add a record; waits while the pipeline is far behind.

        Parameters
        ----------
        timestamp
            The event time in milliseconds; otherwise now.
        """
        if self._queue is None:
            msg = "produce() works while the application runs the source"
            raise InvalidOperation(msg)
        pairs = list(headers.items()) if isinstance(headers, dict) else headers
        self._queue.put(_bytes(key), _bytes(value), timestamp, pairs)

    def flush(self, timeout: float | None = None) -> None:
        """Wait until the application has taken everything.

        Parameters
        ----------
        timeout
            The longest to wait, in seconds; otherwise `shutdown_timeout`.
        """
        if self._queue is not None:
            self._queue.drain(self.shutdown_timeout if timeout is None else timeout)

    # -- called by the engine -----------------------------------------------

    def _start(self, queue: _native.SourceQueue) -> None:
        self._queue = queue
        self._thread = threading.Thread(
            target=self._run, args=(queue,), name=f"source-{self.name}", daemon=True
        )
        self._thread.start()

    def _run(self, queue: _native.SourceQueue) -> None:
        failure: BaseException | None = None
        for step in self._steps():
            try:
                step()
            except BaseException as raised:
                failure = raised
                break
        try:
            self.cleanup(failure is not None)
        except BaseException as raised:
            failure = failure or raised
        queue.finish(failure)

    def _steps(self) -> tuple[Callable[[], None], ...]:
        return (self.setup, self.run)

    def _stop(self) -> None:
        self.stop()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(self.shutdown_timeout)


def _bytes(value: bytes | str | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value

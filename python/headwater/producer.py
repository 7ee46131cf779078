"""Writing records from outside a pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from headwater.models import Topic, TopicConfig

if TYPE_CHECKING:
    from types import TracebackType

    from headwater._native import Log

__all__ = ["Producer"]


class Producer:
    """Appends records to topics. Made by `Application.get_producer`.

    A record is copied and the call returns; records become durable in batches,
    within some milliseconds. Leaving the ``with`` block, or `flush`, waits for it.

    Examples
    --------
    >>> topic = app.topic("telemetry")
    >>> with app.get_producer() as producer:
    ...     producer.produce("telemetry", value={"speed": 12.5}, key="car-1")
    ...     record = topic.serialize(key="car-2", value={"speed": 13.5}, timestamp_ms=1000)
    ...     producer.produce(topic.name, **record._asdict())
    """

    __slots__ = ("_native", "produce")

    def __init__(self, log: Log, topics: list[Topic], *, makes_topics: bool) -> None:
        for topic in topics:
            if topic.config is not None:
                log.create_topic(topic.name, topic.config)
        self._native = log.producer(TopicConfig() if makes_topics else None)
        # The engine's own method: a layer of Python would cost half the speed.
        self.produce = self._native.produce

    def flush(self) -> int:
        """Wait until everything produced is durable; returns 0, the number left."""
        self._native.flush()
        return 0

    def close(self) -> None:
        """Flush, and release what the producer holds."""
        self._native.close()

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
        return "Producer()"

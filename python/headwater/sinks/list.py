"""Rows in a list, for tests and for looking."""

from __future__ import annotations

from typing import Any

from headwater.sinks.base import BaseSink, HeaderPairs

__all__ = ["ListSink"]


class ListSink(BaseSink, list[Any]):
    """A list that rows are appended to.

    Parameters
    ----------
    metadata
        Whether rows get ``_key``, ``_timestamp``, ``_headers``, ``_topic``,
        ``_partition`` and ``_offset``.

    Examples
    --------
    >>> rows = ListSink()
    >>> sdf.sink(rows)
    >>> with_keys = ListSink(metadata=True)
    """

    def __init__(self, metadata: bool = False) -> None:
        list.__init__(self)
        self._metadata = metadata

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
        """Append a row."""
        row = value if isinstance(value, dict) else {"_value": value}
        if self._metadata:
            row = row | {
                "_key": key,
                "_timestamp": timestamp,
                "_headers": headers,
                "_topic": topic,
                "_partition": partition,
                "_offset": offset,
            }
        self.append(row)

    def flush(self) -> None:
        """Do nothing: a list needs none."""

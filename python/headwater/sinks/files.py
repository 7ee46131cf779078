"""Files as sinks. They are written in Rust, exactly once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from headwater.sinks.base import BaseSink, HeaderPairs

__all__ = ["CSVSink", "JSONLinesSink"]

Existing: TypeAlias = Literal["refuse", "append"]


class _FileSink(BaseSink):
    def __init__(self, path: str | Path, existing: Existing) -> None:
        if existing not in ("refuse", "append"):
            msg = f'existing must be "refuse" or "append", not {existing!r}'
            raise ValueError(msg)
        self.path = Path(path)
        self.existing = existing

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
        """Not called: the engine writes the file."""
        raise NotImplementedError

    def flush(self) -> None:
        """Not called: the engine writes the file."""
        raise NotImplementedError

    def _sink_name(self) -> str:
        return f"{type(self).__name__}-{self.path.name}"


class CSVSink(_FileSink):
    """A CSV file with a header.

    Parameters
    ----------
    path
        The file.
    columns
        The columns to write; otherwise those of the first row, and a later row
        with others is an error.
    key_column, timestamp_column
        Names of further columns for the record's key and time.
    delimiter
        What separates cells.
    existing
        What to do about a file that is there and that this application has not
        written: ``"refuse"`` or ``"append"``.

    Examples
    --------
    >>> sdf.sink(CSVSink("fast.csv", columns=["driver", "speed"]))
    >>> sdf.sink(CSVSink("all.csv", key_column="car", timestamp_column="time", delimiter=";",
    ...     existing="append"))
    """

    def __init__(
        self,
        path: str | Path,
        columns: Sequence[str] | None = None,
        *,
        key_column: str | None = None,
        timestamp_column: str | None = None,
        delimiter: str = ",",
        existing: Existing = "refuse",
    ) -> None:
        super().__init__(path, existing)
        self.columns = None if columns is None else list(columns)
        self.key_column = key_column
        self.timestamp_column = timestamp_column
        self.delimiter = delimiter

    def _native(self) -> tuple[str, dict[str, Any]]:
        return "csv", {
            "path": str(self.path),
            "columns": self.columns,
            "key_column": self.key_column,
            "timestamp_column": self.timestamp_column,
            "delimiter": self.delimiter,
            "existing": self.existing,
        }


class JSONLinesSink(_FileSink):
    """A file of JSON documents, one a line.

    Parameters
    ----------
    path
        The file.
    metadata
        Whether rows get ``_key``, ``_timestamp``, ``_headers``, ``_topic``,
        ``_partition`` and ``_offset``.
    existing
        As of `CSVSink`.

    Examples
    --------
    >>> sdf.sink(JSONLinesSink("fast.jsonl"))
    >>> sdf.sink(JSONLinesSink("all.jsonl", metadata=True, existing="append"))
    """

    def __init__(
        self, path: str | Path, metadata: bool = False, *, existing: Existing = "refuse"
    ) -> None:
        super().__init__(path, existing)
        self.metadata = metadata

    def _native(self) -> tuple[str, dict[str, Any]]:
        options = {"path": str(self.path), "metadata": self.metadata, "existing": self.existing}
        return "json_lines", options

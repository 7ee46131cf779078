"""Files as sources. They are read in Rust, and remember where they were."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeAlias

from headwater.models import Topic
from headwater.sources.base import Source

__all__ = ["CSVSource", "JSONLinesSource"]

TimestampFormat: TypeAlias = Literal["iso8601", "s", "ms", "us", "ns"]


class _FileSource(Source):
    """A source that the engine reads itself."""

    def __init__(
        self,
        path: str | Path,
        name: str | None,
        key_extractor: str | Callable[[dict[str, Any]], Any] | None,
        timestamp_extractor: str | Callable[[dict[str, Any]], int] | None,
        timestamp_format: TimestampFormat,
    ) -> None:
        super().__init__(name or Path(path).stem)
        self.path = Path(path)
        self.key_extractor = key_extractor
        self.timestamp_extractor = timestamp_extractor
        self.timestamp_format = timestamp_format

    def run(self) -> None:
        """Do nothing: the engine reads the file."""

    def default_topic(self) -> Topic:
        """Give the topic that the file fills if none is named."""
        return Topic(f"source__{self.name}", key_deserializer="str", key_serializer="str")

    def _options(self) -> dict[str, Any]:
        by_name = {
            "key_column": self.key_extractor,
            "timestamp_column": self.timestamp_extractor,
        }
        options: dict[str, Any] = {
            name: value for name, value in by_name.items() if isinstance(value, str)
        }
        options["path"] = str(self.path)
        options["timestamp_format"] = self.timestamp_format
        options["key_function"] = self.key_extractor if callable(self.key_extractor) else None
        options["timestamp_function"] = (
            self.timestamp_extractor if callable(self.timestamp_extractor) else None
        )
        return options


class CSVSource(_FileSource):
    """A CSV file whose first line names the columns.

    After a stop or a crash it goes on at the next row. Its end closes all windows
    and, if everything the application reads has ended, the run.

    Parameters
    ----------
    path
        The file.
    name
        A name, unique in the application; otherwise the file's own.
    key_extractor
        The column that is the record's key, or a function of the row.
    timestamp_extractor
        The column that is the event time, or a function of the row that returns
        milliseconds. Without it a row is stamped when it is read.
    delay
        Seconds from one row to the next, to play a file like a live stream.
    delimiter
        What separates cells.
    timestamp_format
        How the column of times is written: ``"iso8601"``, or seconds (``"s"``),
        milliseconds (``"ms"``), ``"us"`` or ``"ns"`` since 1970.
    types
        ``"infer"`` makes numbers of cells that are written as such, ``"text"``
        leaves all cells text.

    Examples
    --------
    >>> laps = app.dataframe(source=CSVSource("laps.csv", key_extractor="driver",
    ...     timestamp_extractor="time"))

    With functions, and times in seconds:

    >>> other = app.dataframe(source=CSVSource("other.csv", name="other", delay=0.01,
    ...     key_extractor=lambda row: row["driver"].lower(), delimiter=";", types="text",
    ...     timestamp_extractor="time", timestamp_format="s"))
    """

    def __init__(
        self,
        path: str | Path,
        name: str | None = None,
        key_extractor: str | Callable[[dict[str, Any]], Any] | None = None,
        timestamp_extractor: str | Callable[[dict[str, Any]], int] | None = None,
        delay: float = 0,
        *,
        delimiter: str = ",",
        timestamp_format: TimestampFormat = "iso8601",
        types: Literal["infer", "text"] = "infer",
    ) -> None:
        super().__init__(path, name, key_extractor, timestamp_extractor, timestamp_format)
        if len(delimiter) != 1 or not delimiter.isascii():
            msg = f"delimiter must be one ASCII character, not {delimiter!r}"
            raise ValueError(msg)
        self.delay = delay
        self.delimiter = delimiter
        self.types = types

    def _native(self) -> tuple[str, dict[str, Any]]:
        options = self._options()
        options |= {"delay": self.delay, "delimiter": self.delimiter, "types": self.types}
        return "csv", options


class JSONLinesSource(_FileSource):
    """A file of JSON documents, one a line.

    Parameters
    ----------
    path
        The file.
    name
        A name, unique in the application; otherwise the file's own.
    key_extractor
        The field that is the record's key, or a function of the row.
    timestamp_extractor
        The field that is the event time, or a function of the row that returns
        milliseconds. Without it a row is stamped when it is read.
    timestamp_format
        As of `CSVSource`.
    follow
        Whether to wait for more lines at the end of the file.

    Examples
    --------
    >>> telemetry = app.dataframe(source=JSONLinesSource("telemetry.jsonl", key_extractor="car",
    ...     timestamp_extractor="time", timestamp_format="ms"))
    >>> growing = app.dataframe(source=JSONLinesSource("app.log", name="log", follow=True))
    """

    def __init__(
        self,
        path: str | Path,
        name: str | None = None,
        key_extractor: str | Callable[[dict[str, Any]], Any] | None = None,
        timestamp_extractor: str | Callable[[dict[str, Any]], int] | None = None,
        *,
        timestamp_format: TimestampFormat = "iso8601",
        follow: bool = False,
    ) -> None:
        super().__init__(path, name, key_extractor, timestamp_extractor, timestamp_format)
        self.follow = follow

    def _native(self) -> tuple[str, dict[str, Any]]:
        return "json_lines", self._options() | {"follow": self.follow}

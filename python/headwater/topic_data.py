"""What a topic holds, for a person: as rows, as pandas, as Arrow."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    import pyarrow as pa

    from headwater import _native
    from headwater.models import Topic

__all__ = ["TopicData"]


class TopicData:
    """The records that a topic holds now. Made by `Application.read_topic`.

    Reading takes no lock and commits nothing. Iterating it, and each conversion,
    reads from the beginning to the end that the topic has then.

    Examples
    --------
    >>> with app.get_producer() as producer:
    ...     producer.produce("laps", value={"lap": 1}, key="car-1", timestamp=1000)
    >>> laps = app.read_topic("laps")
    >>> len(laps)
    1
    >>> list(laps)
    [{'lap': 1}]
    """

    def __init__(
        self, log: _native.Log, topic: Topic, *, metadata: bool, limit: int | None
    ) -> None:
        self._log = log
        self._topic = topic
        self._metadata = metadata
        self._limit = limit
        self._reader()

    def _reader(self) -> _native.TopicReader:
        topic = self._topic
        return self._log.read(
            topic.name, topic.value_deserializer, topic.key_deserializer, self._limit
        )

    def __iter__(self) -> Iterator[dict[str, Any]]:
        reader = self._reader()
        while rows := reader.next_rows(self._metadata):
            yield from rows

    def __len__(self) -> int:
        return self._reader().count()

    def to_pandas(self) -> pd.DataFrame:
        """Give a `pandas.DataFrame`, one row a record.

        Examples
        --------
        >>> with app.get_producer() as producer:
        ...     producer.produce("laps", value={"lap": 1})
        >>> app.read_topic("laps").to_pandas()
           lap
        0    1
        """
        try:
            import pandas as pd
        except ImportError as error:
            msg = "to_pandas() needs pandas: pip install headwater[pandas]"
            raise ImportError(msg) from error
        return pd.DataFrame(list(self))

    def to_arrow(self) -> pa.Table:
        """Give a `pyarrow.Table`, one row a record.

        A column whose values have no common type comes as JSON text.

        Examples
        --------
        >>> with app.get_producer() as producer:
        ...     producer.produce("laps", value={"lap": 1})
        >>> app.read_topic("laps").to_arrow().to_pylist()
        [{'lap': 1}]
        """
        try:
            import pyarrow as pa
        except ImportError as error:
            msg = "to_arrow() needs pyarrow: pip install headwater[arrow]"
            raise ImportError(msg) from error
        rows = list(self)
        names = list(dict.fromkeys(name for row in rows for name in row))
        columns = {}
        for name in names:
            values = [row.get(name) for row in rows]
            try:
                columns[name] = pa.array(values)
            except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
                texts = [None if value is None else json.dumps(value) for value in values]
                columns[name] = pa.array(texts, pa.string())
        return pa.table(columns)

    def __repr__(self) -> str:
        return f"TopicData({self._topic.name!r}, {len(self)} records)"

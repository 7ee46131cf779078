"""Sources and sinks, built in and of one's own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

import headwater as hw
from headwater.errors import InvalidOperation, SourceException
from headwater.sinks import (
    BaseSink,
    BatchingSink,
    CSVSink,
    JSONLinesSink,
    ListSink,
    SinkBackpressureError,
    SinkBatch,
)
from headwater.sources import CSVSource, JSONLinesSource, Source


class Numbers(Source):
    def __init__(self, name: str = "numbers", count: int = 3) -> None:
        super().__init__(name)
        self.count = count
        self.calls: list[str] = []

    def setup(self) -> None:
        self.calls.append("setup")

    def run(self) -> None:
        for number in range(self.count):
            record = self.serialize(key="k", value={"n": number}, timestamp_ms=number * 1000)
            self.produce(record.key, record.value, record.headers, record.timestamp)

    def cleanup(self, failed: bool) -> None:
        self.calls.append(f"cleanup {failed}")


def test_a_source_of_ones_own_runs_in_the_application(app: hw.Application) -> None:
    source = Numbers()
    app.dataframe(source=source)
    assert app.run(count=3) == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert source.calls == ["setup", "cleanup False"]
    assert len(app.read_topic("source__numbers")) == 3


def test_the_end_of_a_source_ends_the_run_and_closes_windows(app: hw.Application) -> None:
    rows = ListSink()
    window = app.dataframe(source=Numbers()).tumbling_window(10_000)
    window.agg(n=hw.Count()).final().sink(rows)
    app.run()
    assert rows == [{"start": 0, "end": 10_000, "n": 3}]
    assert app.last_run is not None
    assert app.last_run.ended == "end of input"


def test_a_source_that_never_ends_stops_with_the_run(app: hw.Application) -> None:
    class Endless(Source):
        stopped = False

        def run(self) -> None:
            while self.running:
                self.produce(b"k", b'{"n": 1}')
                time.sleep(0.001)
            self.stopped = True

    source = Endless("endless")
    app.dataframe(source=source)
    assert len(app.run(count=5)) == 5
    assert source.stopped


def test_a_source_waits_for_the_pipeline(app: hw.Application) -> None:
    source = Numbers(count=50_000)
    app.dataframe(source=source).update(lambda row: row["n"])
    app.run()
    assert app.last_run is not None
    assert app.last_run.records_in >= 50_000


def test_a_source_that_raises_ends_the_run_with_its_exception(app: hw.Application) -> None:
    class Broken(Source):
        def run(self) -> None:
            self.produce(value='{"n": 1}')
            raise OSError("unplugged")

    app.dataframe(source=Broken("broken"))
    with pytest.raises(SourceException, match="unplugged") as raised:
        app.run(timeout=5)
    assert isinstance(raised.value.__cause__, OSError)


def test_two_sources_of_one_name_are_refused(app: hw.Application) -> None:
    app.add_source(Numbers())
    with pytest.raises(InvalidOperation, match="two sources"):
        app.add_source(Numbers())


def test_a_source_can_fill_a_topic_without_a_frame(app: hw.Application) -> None:
    app.add_source(Numbers(), app.topic("numbers", value_serializer="json"))
    app.run(timeout=0.5)
    assert list(app.read_topic("numbers")) == [{"n": 0}, {"n": 1}, {"n": 2}]


CSV = """\
car,time,speed
a,2024-01-01T00:00:00Z,1.50
b,2024-01-01T00:00:01Z,2
a,2024-01-01T00:00:02Z,
"""


@pytest.mark.parametrize("extract", ["columns", "functions"])
def test_a_csv_file_is_a_source(app: hw.Application, tmp_path: Path, extract: str) -> None:
    from datetime import datetime

    path = tmp_path / "laps.csv"
    path.write_text(CSV)
    by_function: dict[str, Any] = {
        "key_extractor": lambda row: row["car"],
        "timestamp_extractor": lambda row: int(
            datetime.fromisoformat(row["time"]).timestamp() * 1000
        ),
    }
    by_column = {"key_extractor": "car", "timestamp_extractor": "time"}
    options = by_column if extract == "columns" else by_function
    sdf = app.dataframe(source=CSVSource(path, **options))
    sdf[["speed"]]
    rows = app.run(timeout=5, metadata=True)
    assert [row["speed"] for row in rows] == [1.5, 2, None]
    assert [row["_key"] for row in rows] == ["a", "b", "a"]
    assert [row["_timestamp"] - rows[0]["_timestamp"] for row in rows] == [0, 1000, 2000]


def test_a_row_that_an_extractor_raises_for_is_a_dead_letter(tmp_path: Path) -> None:
    path = tmp_path / "laps.csv"
    path.write_text("car,n\na,1\nb,\nc,3\n,4\n")
    app = hw.Application(
        name="test", directory=tmp_path / "log", on_error="dead-letter", loglevel=None
    )

    def when(row: dict[str, Any]) -> int:
        return row["n"] * 1000  # type: ignore[no-any-return]

    source = CSVSource(path, key_extractor=lambda row: row["car"][0], timestamp_extractor=when)
    app.dataframe(app.topic("laps"), source=source)
    rows = app.run(timeout=5, metadata=True)
    assert [(row["_key"], row["n"], row["_timestamp"]) for row in rows] == [
        (b"a", 1, 1000),
        (b"c", 3, 3000),
    ]
    assert app.last_run is not None
    assert app.last_run.dead_lettered == 2
    letters = list(app.read_topic("laps.dead-letter", metadata=True))
    assert [(letter["car"], letter["n"]) for letter in letters] == [("b", None), (None, 4)]
    errors = [str(dict(letter["_headers"])) for letter in letters]
    assert "`when` raised TypeError" in errors[0]
    assert f"test_sources_sinks.py:{when.__code__.co_firstlineno + 1}" in errors[0]
    assert "`<lambda>` raised TypeError" in errors[1]


def test_a_finished_file_adds_nothing_to_the_next_run(app: hw.Application, tmp_path: Path) -> None:
    path = tmp_path / "laps.csv"
    path.write_text(CSV)
    app.dataframe(source=CSVSource(path))
    assert len(app.run(timeout=5)) == 3
    assert app.run(timeout=0.3) == []


def test_a_file_of_json_lines_is_a_source(app: hw.Application, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1, "k": "x", "t": 5}\n{"a": 2.50, "k": "y", "t": 6}\n')
    source = JSONLinesSource(
        path, key_extractor="k", timestamp_extractor="t", timestamp_format="ms"
    )
    app.dataframe(source=source)
    rows = app.run(timeout=5, metadata=True)
    assert [(row["a"], row["_key"], row["_timestamp"]) for row in rows] == [
        (1, "x", 5),
        (2.5, "y", 6),
    ]


def test_a_list_is_a_sink(app: hw.Application, produce: Any) -> None:
    produce([{"a": 1}, [2]])
    plain, full = ListSink(), ListSink(metadata=True)
    sdf = app.dataframe("in")
    sdf.sink(plain)
    sdf.sink(full)
    app.run(timeout=0.2)
    assert plain == [{"a": 1}, {"_value": [2]}]
    assert [(row["_key"], row["_offset"]) for row in full] == [(b"k", 0), (b"k", 1)]


def test_files_are_sinks(app: hw.Application, produce: Any, tmp_path: Path) -> None:
    produce([{"a": 1, "b": "x,y"}, {"a": 2.5, "b": None}])
    sdf = app.dataframe("in")
    sdf.sink(CSVSink(tmp_path / "out.csv", key_column="key"))
    sdf.sink(JSONLinesSink(tmp_path / "out.jsonl"))
    app.run(timeout=0.2)
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines == ["key,a,b", 'k,1,"x,y"', "k,2.5,"]
    assert (tmp_path / "out.jsonl").read_text().splitlines() == [
        '{"a":1,"b":"x,y"}',
        '{"a":2.5,"b":null}',
    ]


def test_a_batching_sink_writes_an_epoch_at_once(app: hw.Application, produce: Any) -> None:
    written: list[tuple[str, int, int, list[Any]]] = []

    class Written(BatchingSink):
        def write(self, batch: SinkBatch) -> None:
            rows = [item.value for item in batch]
            written.append((batch.topic, batch.partition, batch.start_offset, rows))

    produce([{"a": 1}, {"a": 2}])
    app.dataframe("in").sink(Written())
    app.run(timeout=0.2)
    assert written == [("in", 0, 0, [{"a": 1}, {"a": 2}])]


def test_a_sink_that_cannot_take_rows_gets_them_again(app: hw.Application, produce: Any) -> None:
    class Busy(BatchingSink):
        calls = 0
        rows: list[Any] = []  # noqa: RUF012

        def write(self, batch: SinkBatch) -> None:
            self.calls += 1
            if self.calls == 1:
                raise SinkBackpressureError(retry_after=0.01)
            self.rows.extend(item.value for item in batch)

    produce([{"a": 1}, {"a": 2}])
    sink = Busy()
    app.dataframe("in").sink(sink)
    app.run(timeout=0.5)
    assert sink.rows == [{"a": 1}, {"a": 2}]
    assert sink.calls == 2


def test_a_sink_that_fails_ends_the_run_as_itself(app: hw.Application, produce: Any) -> None:
    class Broken(BaseSink):
        def add(self, *arguments: Any, **named: Any) -> None:
            pass

        def flush(self) -> None:
            raise OSError("disk gone")

    produce([{"a": 1}])
    app.dataframe("in").sink(Broken())
    with pytest.raises(OSError, match="disk gone"):
        app.run(timeout=0.2)


def test_paths_of_quix_streams_work() -> None:
    from headwater.dataframe.windows import aggregations as agg
    from headwater.models import TopicConfig
    from headwater.sinks.core.csv import CSVSink as Sink
    from headwater.sinks.core.list import ListSink as List
    from headwater.sources.core.csv import CSVSource as From

    assert (Sink, List, From) == (CSVSink, ListSink, CSVSource)
    assert agg.Sum is hw.Sum
    assert TopicConfig is hw.TopicConfig

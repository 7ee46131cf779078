"""Windows from Python: aggregators, emission, callbacks."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import headwater as hw
from headwater.errors import InvalidOperation
from headwater.windows import Collect, Count, First, Max, Mean, Min, Reduce, Std, Sum


def values(*pairs: tuple[int, Any], key: str = "k") -> list[tuple[int, str, Any]]:
    return [(timestamp, key, value) for timestamp, value in pairs]


@pytest.fixture
def fill(app: hw.Application) -> Any:
    def write(records: list[tuple[int, str, Any]]) -> None:
        with app.get_producer() as producer:
            for timestamp, key, value in records:
                producer.produce("in", {"v": value}, key, timestamp=timestamp)

    return write


def test_every_aggregator(app: hw.Application, fill: Any) -> None:
    fill(values((1, 4), (2, None), (3, 1), (2, 7), (10, 0)))
    app.dataframe("in").tumbling_window(10).agg(
        rows=Count(),
        n=Count("v"),
        sum=Sum("v"),
        mean=Mean("v"),
        min=Min("v"),
        max=Max("v"),
        first=First("v"),
        last=hw.Last("v"),
        earliest=hw.Earliest("v"),
        latest=hw.Latest("v"),
        std=Std("v"),
        variance=hw.Variance("v"),
        all=Collect("v"),
    ).final()
    (row,) = app.run(timeout=0.2)
    assert row == {
        "start": 0,
        "end": 10,
        "rows": 4,
        "n": 3,
        "sum": 12,
        "mean": 4.0,
        "min": 1,
        "max": 7,
        "first": 4,
        "last": 7,
        "earliest": 4,
        "latest": 1,
        "std": 3.0,
        "variance": 9.0,
        "all": [4, None, 7, 1],
    }


def test_a_hopping_window_overlaps(app: hw.Application, fill: Any) -> None:
    fill(values((100, 1), (107, 2), (112, 3), (140, 0)))
    window = app.dataframe("in").hopping_window(timedelta(milliseconds=10), 5)
    window.agg(total=Sum("v")).final()
    rows = [(row["start"], row["total"]) for row in app.run(timeout=0.2)]
    assert rows == [(95, 1), (100, 3), (105, 5), (110, 3)]


def test_current_emits_every_update(app: hw.Application, fill: Any) -> None:
    fill(values((0, 1), (1, 2), (2, 3)))
    app.dataframe("in").tumbling_window(10).sum().current()
    # Without a column a window sums whole values; take them out first.
    app._frames.forget(app._roots.pop("in"))
    app.dataframe("in").apply(lambda row: row["v"]).tumbling_window(10).sum().current()
    assert [row["value"] for row in app.run(timeout=0.2)] == [1, 3, 6]


def test_the_older_forms_give_value(app: hw.Application, fill: Any) -> None:
    fill(values((0, 1), (1, 2), (10, 0)))
    numbers = app.dataframe("in").apply(lambda row: row["v"])
    for index, form in enumerate(("count", "sum", "mean", "min", "max", "collect")):
        getattr(numbers.tumbling_window(10, name=str(index)), form)().final()
    numbers.tumbling_window(10, name="reduce").reduce(
        lambda so_far, value: [*so_far, value], lambda value: [value]
    ).final()
    rows = app.run(timeout=0.2)
    assert [row["value"] for row in rows] == [2, 3, 1.5, 1, 2, [1, 2], [1, 2]]
    assert {(row["start"], row["end"]) for row in rows} == {(0, 10)}


def test_a_record_of_a_window_has_its_start_as_its_time(app: hw.Application, fill: Any) -> None:
    fill(values((13, 1), (27, 2)))
    app.dataframe("in").tumbling_window(10).agg(n=Count()).final()
    (row,) = app.run(timeout=0.2, metadata=True)
    assert (row["_timestamp"], row["_key"], row["start"]) == (10, b"k", 10)


def test_aggregators_and_collectors_of_ones_own(app: hw.Application, fill: Any) -> None:
    class Range(hw.Aggregator):
        def initialize(self) -> Any:
            return None

        def agg(self, old: Any, new: Any, timestamp: int) -> Any:
            return [new, new] if old is None else [min(old[0], new), max(old[1], new)]

        def result(self, state: Any) -> Any:
            return {"low": state[0], "high": state[1]}

    class Median(hw.Collector):
        def result(self, items: list[Any]) -> Any:
            return sorted(items)[len(items) // 2]

    fill(values((0, 5), (1, 9), (2, 6), (10, 0)))
    app.dataframe("in").tumbling_window(10).agg(
        range=Range("v"),
        median=Median("v"),
        folded=Reduce(lambda so_far, row: so_far + row["v"], lambda row: row["v"]),
    ).final()
    assert app.run(timeout=0.2) == [
        {"start": 0, "end": 10, "range": {"low": 5, "high": 9}, "median": 6, "folded": 20}
    ]


def test_on_late_is_told_of_each_missed_window(
    app: hw.Application, fill: Any, caplog: pytest.LogCaptureFixture
) -> None:
    fill(values((0, 1), (100, 2), (5, 3)))
    told: list[Any] = []

    def on_late(*arguments: Any) -> bool:
        told.append(arguments)
        return True

    sdf = app.dataframe(app.topic("in", key_deserializer="str"))
    sdf.tumbling_window(10, on_late=on_late).agg(n=Count()).final()
    app.run(timeout=0.2)
    (late,) = told
    value, key, timestamp, late_by, start, end, _name, topic, partition, offset = late
    assert (value, key, timestamp, start, end) == ({"v": 3}, "k", 5, 0, 10)
    assert late_by > 0
    assert (topic, partition, offset) == ("in", 0, 2)
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert ["too late for its window" in record.getMessage() for record in warnings] == [True]
    assert app.last_run is not None
    assert app.last_run.late == 1


def test_a_late_record_is_warned_of_once_though_its_step_runs_again(
    directory: Path, fill: Any, caplog: pytest.LogCaptureFixture
) -> None:
    fill(values((0, 1), (100, 2), (5, 3), (101, "no number"), (102, 4)))
    app = hw.Application(name="test", directory=directory, on_error="skip", loglevel=None)
    sdf = app.dataframe("in")
    sdf.tumbling_window(10, on_late=lambda *_: True).agg(sum=Sum("v")).final()
    app.run(timeout=0.2)
    texts = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len([text for text in texts if "too late for its window" in text]) == 1
    assert app.last_run is not None
    assert (app.last_run.late, app.last_run.skipped) == (1, 1)


def test_a_trigger_emits_a_window_and_starts_it_anew(app: hw.Application, fill: Any) -> None:
    fill(values((0, 1), (1, 2), (2, 3), (3, 4)))

    def enough(outputs: Any, value: Any, key: Any, timestamp: int, headers: Any) -> bool:
        return outputs["n"] >= 2  # type: ignore[no-any-return]

    window = app.dataframe("in").tumbling_window(100, after_update=enough)
    window.agg(n=Count(), sum=Sum("v")).final()
    rows = [(row["n"], row["sum"]) for row in app.run(timeout=0.2)]
    assert rows == [(2, 3), (2, 7)]


def test_a_backlog_of_one_key_is_not_late_by_the_clock_of_another(
    app: hw.Application, fill: Any
) -> None:
    fill([(100_000, "ahead", 1), (5, "behind", 2), (15, "behind", 3)])
    app.dataframe("in").tumbling_window(10, key_timeout=timedelta(hours=1)).agg(
        total=Sum("v")
    ).final()
    assert app.run(timeout=0.2) == [{"start": 0, "end": 10, "total": 2}]


def test_closing_by_partition_drops_more(app: hw.Application, fill: Any) -> None:
    fill([(100_000, "ahead", 1), (5, "behind", 2), (15, "behind", 3)])
    app.dataframe("in").tumbling_window(10).agg(n=Count()).final(closing_strategy="partition")
    app.run(timeout=0.2)
    assert app.last_run is not None
    assert app.last_run.late == 2


def test_mistakes_are_told_at_the_definition(app: hw.Application) -> None:
    sdf = app.dataframe("in")
    with pytest.raises(ValueError, match="at least 1 ms"):
        sdf.tumbling_window(0)
    with pytest.raises(TypeError, match="int of milliseconds or a timedelta"):
        sdf.tumbling_window(1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="below duration_ms"):
        sdf.hopping_window(10, 20)
    with pytest.raises(InvalidOperation, match="the window's own"):
        sdf.tumbling_window(10).agg(start=Count())
    with pytest.raises(ValueError, match="closing_strategy"):
        sdf.tumbling_window(10).agg(n=Count()).final("stream")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="name of a column"):
        Sum(sdf["x"])  # type: ignore[arg-type]


def test_two_windows_that_would_share_a_store_ask_for_a_name(
    app: hw.Application, produce: Any
) -> None:
    produce([{"v": 1}])
    sdf = app.dataframe("in")
    sdf.tumbling_window(10).agg(n=Count()).final()
    sdf.tumbling_window(10).agg(m=Sum("v")).final()
    with pytest.raises(InvalidOperation, match="name="):
        app.run(timeout=0.1)

"""In place or returned, and branches: what Quix Streams' section 1.3 says."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import headwater as hw
from headwater import _interactive
from headwater.errors import InvalidOperation, StreamingDataFrameDuplicate


def test_methods_in_place_return_the_frame_itself(app: hw.Application) -> None:
    sdf = app.dataframe("in")
    out = app.topic("out")
    assert sdf.update(print) is sdf
    assert sdf.print() is sdf
    assert sdf.print_table() is sdf
    assert sdf.drop("a") is sdf
    assert sdf.fill("a") is sdf
    assert sdf.to_topic(out) is sdf
    assert sdf.sink(hw_list()) is None  # type: ignore[func-returns-value]


def hw_list() -> Any:
    from headwater.sinks import ListSink

    return ListSink()


@pytest.mark.parametrize(
    "make",
    [
        lambda sdf: sdf.apply(len),
        lambda sdf: sdf.filter(len),
        lambda sdf: sdf[["a"]],
        lambda sdf: sdf[sdf["a"] > 1],
        lambda sdf: sdf.set_timestamp(sdf["a"]),
        lambda sdf: sdf.set_headers(lambda *_: []),
        lambda sdf: sdf.tumbling_window(10).count().final(),
        lambda sdf: sdf.apply_batch(lambda columns: columns, ["a"]),
    ],
)
def test_other_methods_return_a_new_frame(app: hw.Application, make: Any) -> None:
    sdf = app.dataframe("in")
    before = sdf._frame
    made = make(sdf)
    assert isinstance(made, hw.StreamingDataFrame)
    assert made is not sdf
    assert sdf._frame is before


def test_a_branch_that_nobody_keeps_still_runs(results: Any) -> None:
    seen: list[int] = []
    rows = results([{"a": 1}, {"a": 2}], lambda sdf: sdf.apply(lambda row: seen.append(row["a"])))
    assert seen == [1, 2]
    assert rows == [{"_value": None}, {"_value": None}]


def test_what_is_in_place_after_a_branch_is_a_further_branch(results: Any) -> None:
    def build(sdf: Any) -> None:
        sdf.apply(lambda row: {"double": row["a"] * 2})
        sdf["late"] = 5

    assert results([{"a": 1}], build) == [{"double": 2}, {"a": 1, "late": 5}]


def test_branches_run_in_the_order_in_which_they_were_taken(results: Any) -> None:
    order: list[str] = []

    def build(sdf: Any) -> None:
        first = sdf.apply(lambda row: order.append("first") or {"n": 1})
        sdf.apply(lambda row: order.append("second") or {"n": 2})
        first.filter(lambda row: order.append("after first") or True)

    results([{"a": 1}], build)
    assert order == ["first", "after first", "second"]


def test_branches_do_not_see_each_others_changes(results: Any) -> None:
    def build(sdf: Any) -> None:
        made = sdf.apply(lambda row: {"list": [row["a"]]})
        made.apply(lambda row: row["list"].append(2) or row)
        made.apply(lambda row: row["list"].append(3) or row)

    assert results([{"a": 1}], build) == [{"list": [1, 2]}, {"list": [1, 3]}]


def test_a_frame_used_as_a_condition_is_no_branch(app: hw.Application, results: Any) -> None:
    def build(sdf: Any) -> None:
        sdf[sdf.apply(lambda row: row["a"] > 1)]

    assert results([{"a": 1}, {"a": 2}], build) == [{"a": 2}]


def test_a_column_may_be_made_by_a_chain_of_functions(results: Any) -> None:
    def build(sdf: Any) -> None:
        sdf["b"] = sdf.apply(lambda row: row["a"] + 1).apply(lambda value: value * 10)

    assert results([{"a": 1}], build) == [{"a": 1, "b": 20}]


def test_only_what_apply_makes_can_be_a_condition(app: hw.Application) -> None:
    sdf = app.dataframe("in")
    with pytest.raises(InvalidOperation, match=r"only what apply\(\) makes"):
        sdf[sdf.filter(len)]
    with pytest.raises(InvalidOperation, match=r"only what apply\(\) makes"):
        sdf["x"] = sdf.apply(len, expand=True)
    other = sdf.apply(len)
    sdf["y"] = 1
    with pytest.raises(InvalidOperation, match="after its last change"):
        sdf["z"] = other


def test_one_topic_has_one_frame_in_a_script(
    app: hw.Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headwater.app.is_interactive", lambda: False)
    app.dataframe("in")
    with pytest.raises(StreamingDataFrameDuplicate, match="branches"):
        app.dataframe("in")


def test_running_a_cell_again_replaces_the_pipeline(
    app: hw.Application, produce: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headwater.app.is_interactive", lambda: True)
    produce([{"a": 1}])
    from headwater.sinks import ListSink

    old, new = ListSink(), ListSink()
    app.dataframe("in").apply(lambda row: 1 / 0).sink(old)
    app.dataframe("in").sink(new)
    app.run(count=1)
    assert (old, new) == ([], [{"a": 1}])


def test_a_test_runs_as_a_script() -> None:
    assert not _interactive.is_interactive()


@pytest.mark.parametrize(
    ("options", "is_interactive"), [(["-c"], False), (["-i", "-c"], True), (["-"], False)]
)
def test_only_a_prompt_is_interactive(options: list[str], is_interactive: bool) -> None:
    program = "import headwater._interactive as i; print('is', i.is_interactive())"
    by_option = options[-1] == "-c"
    command = [sys.executable, *options, *([program] if by_option else [])]
    given = "" if by_option else program
    ran = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    assert f"is {is_interactive}" in ran.stdout, ran.stderr


def test_definitions_touch_nothing(app: hw.Application, directory: Any) -> None:
    sdf = app.dataframe(app.topic("in"))
    sdf["a"] = sdf["b"] + 1
    sdf.to_topic("out")
    assert "out" in app.explain()
    assert not directory.exists()

"""Columns: operators, methods, and the rules of assignment."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

import headwater as hw

ROW = {
    "i": 7,
    "f": -2.5,
    "s": " Ab cd ",
    "t": "2024-05-01T12:34:56.789Z",
    "ms": 1714566896789,
    "n": None,
    "b": True,
    "l": [1, "x", {"y": 2}],
    "o": {"p": {"q": 5}},
}


@pytest.mark.parametrize(
    ("compute", "expected"),
    [
        (lambda s: s["i"] + 1, 8),
        (lambda s: 1 + s["i"], 8),
        (lambda s: s["i"] - 10, -3),
        (lambda s: 10 - s["i"], 3),
        (lambda s: s["i"] * 2.0, 14.0),
        (lambda s: 2 * s["i"], 14),
        (lambda s: s["i"] / 2, 3.5),
        (lambda s: 14 / s["i"], 2.0),
        (lambda s: s["f"] // 2, -2.0),
        (lambda s: 15 // s["i"], 2),
        (lambda s: s["i"] % 4, 3),
        (lambda s: 15 % s["i"], 1),
        (lambda s: s["i"] ** 2, 49),
        (lambda s: 2 ** s["i"], 128),
        (lambda s: -s["f"], 2.5),
        (lambda s: +s["f"], -2.5),
        (lambda s: abs(s["f"]), 2.5),
        (lambda s: s["f"].abs(), 2.5),
        (lambda s: s["s"] + "!", " Ab cd !"),
        (lambda s: "!" + s["s"], "! Ab cd "),
        (lambda s: s["i"] == 7, True),
        (lambda s: s["i"] == 7.0, True),
        (lambda s: s["i"] != 7, False),
        (lambda s: s["i"] < 8, True),
        (lambda s: 8 > s["i"], True),
        (lambda s: s["i"] <= 7, True),
        (lambda s: s["i"] > s["f"], True),
        (lambda s: s["i"] >= 8, False),
        (lambda s: (s["i"] > 1) & (s["f"] < 0), True),
        (lambda s: (s["i"] > 9) | s["b"], True),
        (lambda s: True & s["b"], True),
        (lambda s: ~s["b"], False),
        (lambda s: s["n"] + 1, None),
        (lambda s: s["missing"] * 2, None),
        (lambda s: s["n"] == 1, None),
        (lambda s: s["n"] == None, True),  # noqa: E711
        (lambda s: s["n"] != None, False),  # noqa: E711
        (lambda s: s["n"].is_(None), True),
        (lambda s: s["i"].isnot(None), True),
        (lambda s: s["missing"].isnull(), True),
        (lambda s: s["i"].isna(), False),
        (lambda s: s["i"].notnull(), True),
        (lambda s: s["n"].notna(), False),
        (lambda s: s["i"].isin([1, 7]), True),
        (lambda s: s["i"].isin({"7"}), False),
        (lambda s: s["s"].contains("Ab"), True),
        (lambda s: s["l"].contains("x"), True),
        (lambda s: s["o"].contains("p"), True),
        (lambda s: s["l"].contains(s["i"]), False),
        (lambda s: s["o"]["p"]["q"], 5),
        (lambda s: s["l"][2]["y"], 2),
        (lambda s: s["l"][-1]["y"], 2),
        (lambda s: s["n"].fillna(3), 3),
        (lambda s: s["n"].fillna(s["i"]), 7),
        (lambda s: s["i"].astype(float), 7.0),
        (lambda s: s["f"].astype(int), -2),
        (lambda s: s["i"].astype(str), "7"),
        (lambda s: s["i"].astype("bool"), True),
        (lambda s: s["s"].astype(int, errors="coerce"), None),
        (lambda s: s["i"].clip(0, 5), 5),
        (lambda s: s["i"].clip(lower=8), 8),
        (lambda s: s["n"].clip(0, 5), None),
        (lambda s: s["i"].between(7, 9), True),
        (lambda s: s["i"].between(7, 9, inclusive="right"), False),
        (lambda s: s["f"].round(), -2.0),
        (lambda s: (s["f"] / 3).round(2), -0.83),
        (lambda s: s["i"].where(s["b"], 0), 7),
        (lambda s: s["i"].where(~s["b"], 0), 0),
        (lambda s: s["i"].mask(s["b"]), None),
        (lambda s: s["s"].str.strip().map({"Ab cd": "yes"}), "yes"),
        (lambda s: s["s"].map({"other": "yes"}), None),
        (lambda s: s["i"].map({7: "seven"}), "seven"),
        (lambda s: s["i"].map(lambda value: value + 1), 8),
        (lambda s: s["s"].str.lower(), " ab cd "),
        (lambda s: s["s"].str.upper(), " AB CD "),
        (lambda s: s["s"].str.strip(), "Ab cd"),
        (lambda s: s["s"].str.len(), 7),
        (lambda s: s["l"].str.len(), 3),
        (lambda s: s["s"].str.startswith(" Ab"), True),
        (lambda s: s["s"].str.endswith("x"), False),
        (lambda s: s["s"].str.contains("b c"), True),
        (lambda s: s["s"].str.replace("b", "B"), " AB cd "),
        (lambda s: s["s"].str.slice(1, 3), "Ab"),
        (lambda s: s["s"].str.slice(-3), "cd "),
        (lambda s: s["t"].dt.year, 2024),
        (lambda s: s["t"].dt.month, 5),
        (lambda s: s["ms"].dt.day, 1),
        (lambda s: s["ms"].dt.hour, 12),
        (lambda s: s["ms"].dt.minute, 34),
        (lambda s: s["ms"].dt.second, 56),
        (lambda s: s["ms"].dt.millisecond, 789),
        (lambda s: s["ms"].dt.dayofweek, 2),
        (lambda s: s["t"].dt.to_ms(), 1714566896789),
        (lambda s: s["ms"].dt.floor("1h"), 1714564800000),
        (lambda s: s["ms"].dt.floor(timedelta(days=1)), 1714521600000),
        (lambda s: s["ms"].dt.to_iso(), "2024-05-01T12:34:56.789Z"),
        (lambda s: s.contains("n"), True),
        (lambda s: s.contains(["i", "missing"]), False),
        (lambda s: 3, 3),
        (lambda s: [1, {"a": None}], [1, {"a": None}]),
    ],
)
def test_a_column_is_computed_as_pandas_would(
    results: Any, compute: Callable[[Any], Any], expected: Any
) -> None:
    def build(sdf: Any) -> None:
        sdf["result"] = compute(sdf)

    (row,) = results([ROW], build)
    assert row == ROW | {"result": expected}
    assert type(row["result"]) is type(expected)


def test_a_filter_drops_null(results: Any) -> None:
    rows = results([{"a": 1}, {"a": None}, {}, {"a": 5}], lambda sdf: sdf[sdf["a"] > 0])
    assert rows == [{"a": 1}, {"a": 5}]


def test_a_projection_names_what_is_missing(results: Any) -> None:
    rows = results([{"a": 1, "b": 2, "c": 3}], lambda sdf: sdf[["c", "a"]])
    assert rows == [{"c": 3, "a": 1}]
    assert list(rows[0]) == ["c", "a"]


def test_fill_sets_what_is_missing_or_null(results: Any) -> None:
    rows = results([{"a": None, "b": 1}, {}], lambda sdf: sdf.fill("c", a=0, b=0))
    assert rows == [{"a": 0, "b": 1, "c": None}, {"c": None, "a": 0, "b": 0}]


def test_drop_removes_columns(results: Any) -> None:
    rows = results([{"a": 1, "b": 2, "c": 3}], lambda sdf: sdf.drop(["a", "c"]))
    assert rows == [{"b": 2}]


def test_dropping_a_missing_column_is_an_error_unless_ignored(results: Any) -> None:
    with pytest.raises(hw.DataError):
        results([{"a": 1}], lambda sdf: sdf.drop("x"))


def test_text_where_a_number_is_needed_says_how_to_cast(results: Any) -> None:
    def build(sdf: Any) -> None:
        sdf["b"] = sdf["a"] * 2.5

    with pytest.raises(hw.DataError) as raised:
        results([{"a": "12"}], build)
    assert "astype(float)" in str(raised.value)
    assert raised.value.line is not None
    assert raised.value.line.startswith("test_columns.py:")


def test_a_column_keeps_its_meaning_when_the_frame_changes(results: Any) -> None:
    def build(sdf: Any) -> None:
        a = sdf["a"]
        sdf["a"] = 10
        sdf["b"] = a + 1

    assert results([{"a": 1}], build) == [{"a": 10, "b": 11}]

"""Which functions get a lazy row, and which a dict."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from headwater import _reads
from headwater._reads import reads_of


@pytest.fixture(autouse=True)
def _no_debugger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_reads, "_is_debugged", lambda: False)


def several_uses(row: dict[str, Any]) -> float:
    if "a" in row and row.get("b", 1) is not None:
        total = 0.0
        for _ in range(3):
            total += row["c"] * row["d"] + row["d"]
        return total
    return row["e"]["f"] if row.get("g") else 0.0


class Scaler:
    factor = 2

    def scale(self, row: dict[str, Any]) -> float:
        return row["x"] * self.factor

    def __call__(self, row: dict[str, Any]) -> float:
        return row["x"]


@pytest.mark.parametrize(
    ("function", "reads"),
    [
        (lambda row: row["a"], ["a"]),
        (lambda row: row["a"] + row["b"] * row["a"], ["a", "b"]),
        (lambda row: row.get("a"), ["a"]),
        (lambda row: row.get("a", 0), ["a"]),
        (lambda row: "a" in row, ["a"]),
        (lambda row: "a" not in row, ["a"]),
        (lambda row, key, timestamp, headers: (key, row["a"]), ["a"]),
        (lambda row, state: state.get("n", 0) + row["a"], ["a"]),
        (lambda row: {"x": row["a"], **{"y": row["b"]}}, ["a", "b"]),
        (lambda row: 1, []),
        (several_uses, ["a", "b", "c", "d", "e", "g"]),
        (Scaler().scale, ["x"]),
    ],
)
def test_a_function_that_only_reads_constant_names_gets_a_lazy_row(
    function: Any, reads: list[str]
) -> None:
    assert reads_of(function) == reads


def mutates(row: dict[str, Any]) -> None:
    row["a"] = 1


def deletes(row: dict[str, Any]) -> None:
    del row["a"]


def rebinds(row: dict[str, Any]) -> Any:
    row = row["a"]
    return row["b"]


def captures(row: dict[str, Any]) -> Any:
    return lambda: row["a"]


def captures_in_comprehension(row: dict[str, Any]) -> Any:
    return [row["a"] for _ in range(2)]


def matches(row: dict[str, Any]) -> Any:
    match row:
        case {"a": value}:
            return value
    return None


def sees_locals(row: dict[str, Any]) -> Any:
    row["a"]
    return locals()


def augments(row: dict[str, Any]) -> None:
    row["a"] += 1


def conditional(row: dict[str, Any], other: dict[str, Any] | None = None) -> Any:
    return (row if other is None else other)["a"]


@pytest.mark.parametrize(
    "function",
    [
        lambda row: row,
        lambda row: {**row},
        lambda row: len(row),
        lambda row: print(row),
        lambda row: isinstance(row, dict),
        lambda row: row[row["a"]],
        lambda row: row.items(),
        lambda row: row.get,
        lambda row: row == {},
        lambda row: [row["a"], row],
        lambda row: row["a"] if row else None,
        lambda *rows: rows[0]["a"],
        lambda row: (yield row),
        mutates,
        deletes,
        rebinds,
        captures,
        matches,
        sees_locals,
        augments,
        print,
        len,
        functools.partial(several_uses),
        Scaler(),
    ],
)
def test_a_function_that_lets_its_row_go_gets_a_dict(function: Any) -> None:
    assert reads_of(function) is None


def test_what_is_not_understood_is_never_lazy_by_mistake() -> None:
    # Either is right; what counts is that a lazy row never escapes.
    assert reads_of(captures_in_comprehension) in (None, ["a"])
    assert reads_of(conditional) in (None, ["a"])


def test_a_debugger_sees_dicts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_reads, "_is_debugged", lambda: True)
    assert reads_of(lambda row: row["a"]) is None

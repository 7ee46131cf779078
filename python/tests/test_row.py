"""The lazy row, as a person at a debugger's prompt meets it.

A program never does: a function that could tell it from a dict gets a dict.
"""

from __future__ import annotations

import pickle
import sys
from typing import Any

import pytest

from headwater import _native, _reads

ROW = {"a": 1, "b": None, "c": {"d": [1.5, "é"]}}


@pytest.fixture
def seen(results: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Rows that were taken from a function's frame, from outside."""
    monkeypatch.setattr(_reads, "_is_debugged", lambda: False)
    rows: list[Any] = []

    def look() -> None:
        rows.append(sys._getframe(1).f_locals["row"])

    def use(row: dict[str, Any]) -> Any:
        look()
        return row["a"]

    assert results([ROW, {}], lambda sdf: sdf.filter(use)) is not None
    return rows


@pytest.fixture
def results(app: Any, produce: Any) -> Any:
    def run(rows: list[Any], build: Any, **_: Any) -> Any:
        produce(rows[:1])
        build(app.dataframe("in"))
        return app.run(timeout=0.2)

    return run


def test_a_lazy_row_answers_as_its_dict_would(seen: list[Any]) -> None:
    (row,) = seen
    assert type(row) is _native.Row
    assert row == ROW
    assert row != {}
    assert dict(row) == ROW
    assert {**row} == ROW
    assert row["c"] == ROW["c"]
    assert row.get("b", 5) is None
    assert row.get("missing", 5) == 5
    assert "b" in row
    assert "missing" not in row
    assert len(row) == 3
    assert list(row) == list(row.keys()) == ["a", "b", "c"]
    assert list(row.values()) == list(ROW.values())
    assert list(row.items()) == list(ROW.items())
    assert row.copy() == ROW
    assert repr(row) == repr(ROW)
    assert pickle.loads(pickle.dumps(row)) == ROW
    with pytest.raises(KeyError, match="missing"):
        row["missing"]


def test_a_lazy_row_outlives_its_batch(seen: list[Any]) -> None:
    assert [row["c"]["d"][1] for row in seen] == ["é"]

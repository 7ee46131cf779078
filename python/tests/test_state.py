"""State by key, and what a failing record leaves of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

import headwater as hw
from headwater import DataError
from headwater.errors import StateError


def test_state_belongs_to_the_key(app: hw.Application) -> None:
    with app.get_producer() as producer:
        for index, key in enumerate(["a", "b", "a", None, "a", None]):
            producer.produce("in", {}, key, timestamp=index)

    def count(row: Any, state: hw.State) -> int:
        state.set("n", state.get("n", default=0) + 1)
        return state.get("n")  # type: ignore[no-any-return]

    app.dataframe("in").apply(count, stateful=True)
    assert [row["_value"] for row in app.run(count=6)] == [1, 1, 2, 1, 3, 2]


def test_every_method_of_state(results: Any) -> None:
    def use(row: Any, state: hw.State) -> dict[str, Any]:
        state.set("a", {"n": [1, 2.0, None, "x", 2**70]})
        state.set_bytes(b"a", b"\x00\xff")
        state.set(("t", 1), True)
        seen = {
            "a": state.get("a"),
            "bytes": state.get_bytes(b"a") == b"\x00\xff",
            "tuple": state.get(["t", 1]),
            "default": state.get("missing", 5),
            "none": state.get("missing"),
            "exists": [state.exists("a"), state.exists("missing")],
        }
        state.delete("a")
        state.delete("missing")
        return seen | {"deleted": state.exists("a"), "other": state.exists(b"a")}

    (row,) = results([{}], lambda sdf: sdf.apply(use, stateful=True))
    assert row == {
        "a": {"n": [1, 2.0, None, "x", 2**70]},
        "bytes": True,
        "tuple": True,
        "default": 5,
        "none": None,
        "exists": [True, False],
        "deleted": False,
        "other": True,
    }


def test_state_outlives_the_run(app: hw.Application, produce: Any) -> None:
    def count(row: Any, state: hw.State) -> int:
        state.set("n", state.get("n", 0) + 1)
        return state.get("n")  # type: ignore[no-any-return]

    app.dataframe("in").apply(count, stateful=True)
    produce([{}, {}])
    assert app.run(count=2)[-1] == {"_value": 2}
    produce([{}], start=5000)
    assert app.run(count=1) == [{"_value": 3}]
    app.clear_state()
    assert app.run(count=3)[-1] == {"_value": 3}


def test_a_failing_record_leaves_no_state(directory: Any) -> None:
    app = hw.Application(name="test", directory=directory, on_error="skip", loglevel=None)
    with app.get_producer() as producer:
        for index, bad in enumerate([False, True, False]):
            producer.produce("in", {"bad": bad}, "k", timestamp=index)

    def count(row: dict[str, Any], state: hw.State) -> int:
        state.set("n", state.get("n", 0) + 1)
        if row["bad"]:
            raise ValueError("bad")
        return state.get("n")  # type: ignore[no-any-return]

    app.dataframe("in").apply(count, stateful=True)
    assert [row["_value"] for row in app.run(timeout=0.2)] == [1, 2]
    assert app.last_run is not None
    assert app.last_run.skipped == 1


def test_a_time_to_live_follows_event_time(app: hw.Application) -> None:
    with app.get_producer() as producer:
        for timestamp in (0, 500, 1000, 1500):
            producer.produce("in", {}, "k", timestamp=timestamp)

    def use(row: Any, state: hw.State) -> bool:
        known = state.exists("x")
        if not known:
            state.set("x", 1, ttl=timedelta(seconds=1))
        return known

    app.dataframe("in").apply(use, stateful=True)
    assert [row["_value"] for row in app.run(count=4)] == [False, True, False, True]


def test_a_state_that_was_kept_is_of_no_use(results: Any) -> None:
    kept: list[hw.State] = []
    results([{}, {}], lambda sdf: sdf.update(lambda row, state: kept.append(state), stateful=True))
    assert len(kept) == 2
    with pytest.raises(StateError, match="while the function handles one record"):
        kept[0].get("x")


@pytest.mark.parametrize("value", [object(), float("nan"), {1}])
def test_state_keeps_what_json_has(results: Any, value: Any) -> None:
    with pytest.raises(DataError, match="state's value"):
        results(
            [{}], lambda sdf: sdf.update(lambda row, state: state.set("x", value), stateful=True)
        )


def test_windows_and_functions_keep_apart(app: hw.Application, produce: Any) -> None:
    produce([{"a": 1}, {"a": 2}, {"a": 3}])
    sdf = app.dataframe("in")
    sdf.update(lambda row, state: state.set("x", row["a"]), stateful=True)
    sdf.tumbling_window(2000).agg(total=hw.Sum("a")).final()
    assert app.run(timeout=0.2) == [{"start": 0, "end": 2000, "total": 3}]

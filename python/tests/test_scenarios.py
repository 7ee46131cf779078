"""Programs of the simulation, run through the Python package.

``tests/scenarios/simulated.jsonl`` holds random programs with their input, and what
the simulation's model in Rust says must come out (``crates/sim/src/scenario.rs`` says
how to write it anew). Here the same programs are written in Python, stopped and started
again at random, and held against a model in Python that shares no code with either.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headwater import Application, Count, First, Last, State, Sum

SCENARIOS = [
    json.loads(line)
    for line in (Path(__file__).parents[2] / "tests/scenarios/simulated.jsonl")
    .read_text()
    .splitlines()
]
INT_MAX = 2**63 - 1
MAX_FUTURE_MS = 24 * 3_600_000

Row = tuple[str | None, int, Any]


class Fails(Exception):
    """A row that cannot be processed."""


# -- the model ----------------------------------------------------------------


def number(value: Any) -> int | float | None:
    if value is None or isinstance(value, float):
        return value
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        return int(checked(value))
    raise Fails("not a number")


def checked(value: Any) -> Any:
    if isinstance(value, int) and not -(2**63) <= value <= INT_MAX:
        raise Fails("beyond 64 bits")
    return value


class Windows:
    """Sum, count, first and last of a field, by the rules of the window operator."""

    def __init__(self, rules: dict[str, Any]) -> None:
        self.rules = rules
        self.keys: dict[str, dict[str, Any]] = {}

    def result(self, key: str, start: int, window: dict[str, Any]) -> Row:
        return (key, start, {"start": start, "end": start + self.rules["size"], **window})

    def record(self, row: Row, watermark: int) -> tuple[list[Row], list[Row]]:
        """Take a row; the results of windows that it closes, and its own rows."""
        key, timestamp, value = row
        if key is None:
            raise Fails("no key")
        rules, known = self.rules, self.keys.get(key)
        size, grace = rules["size"], rules["grace"]
        if not rules["is_by_key"]:
            closed = watermark - grace
        elif known is not None:
            closed = max(known["latest"] - grace, known["closed"])
        else:
            closed = watermark - rules["key_retention"] - grace
        first = timestamp - timestamp % rules["advance"]
        starts = sorted(range(first, timestamp - size, -rules["advance"]))
        starts = [start for start in starts if closed < start + size]
        if not starts and known is None:
            return [], []
        raw = value.get(rules["field"])
        amount = number(raw) if starts else None
        entry = known or {"latest": -INT_MAX, "moved": -INT_MAX, "closed": -INT_MAX, "open": {}}
        updated = {}
        for start in starts:
            window = dict(
                entry["open"].get(start, {"total": 0, "n": 0, "first": None, "last": None})
            )
            window["n"] += 1
            if amount is not None:
                window["total"] = checked(window["total"] + amount)
                window["first"] = raw if window["first"] is None else window["first"]
                window["last"] = raw
            updated[start] = window
        entry["open"].update(updated)
        self.keys[key] = entry
        rows = [] if rules["is_final"] else [self.result(key, *item) for item in updated.items()]
        closed_rows: list[Row] = []
        if rules["is_by_key"]:
            entry["latest"] = max(entry["latest"], timestamp)
            entry["moved"] = max(entry["latest"], watermark)
            for start in sorted(entry["open"]):
                if start + size + grace <= entry["latest"]:
                    closed_rows += self.close(key, start)
        return closed_rows, rows

    def close(self, key: str, start: int) -> list[Row]:
        entry = self.keys[key]
        window = entry["open"].pop(start)
        entry["closed"] = max(entry["closed"], start + self.rules["size"])
        return [self.result(key, start, window)] if self.rules["is_final"] else []

    def advance(self, watermark: int) -> list[Row]:
        rules, due = self.rules, []
        for key, entry in self.keys.items():
            for start in entry["open"]:
                end = start + rules["size"] + rules["grace"]
                if rules["is_by_key"]:
                    deadline = entry["moved"] + max(end - entry["latest"], rules["key_timeout"])
                else:
                    deadline = end
                if deadline <= watermark:
                    due.append((deadline, key.encode(), start, key))
        rows = [row for _, _, start, key in sorted(due) for row in self.close(key, start)]
        for key, entry in list(self.keys.items()):
            forget = max(entry["latest"], entry["closed"] + rules["grace"])
            is_kept = rules["is_by_key"] and watermark < forget + rules["key_retention"]
            if not entry["open"] and not is_kept:
                del self.keys[key]
        return rows


class Model:
    """A program on one partition, one record at a time."""

    def __init__(self, steps: list[dict[str, Any]]) -> None:
        self.stages = [
            (kind, Windows(what) if kind == "window" else what)
            for step in steps
            for kind, what in step.items()
        ]
        self.state: dict[str, Any] = {"watermark": -INT_MAX, "counts": {}, "rows": [], "failed": 0}

    def saved(self) -> tuple[Any, ...]:
        windows = [json.dumps(stage.keys) for _, stage in self.stages if isinstance(stage, Windows)]
        counts = dict(self.state["counts"])
        return {**self.state, "counts": counts, "rows": list(self.state["rows"])}, windows

    def restore(self, saved: tuple[Any, ...]) -> None:
        failed = self.state["failed"] + 1
        self.state = {**saved[0], "failed": failed}
        windows = [stage for _, stage in self.stages if isinstance(stage, Windows)]
        for stage, text in zip(windows, saved[1], strict=True):
            keys = json.loads(text)
            for entry in keys.values():
                entry["open"] = {int(start): window for start, window in entry["open"].items()}
            stage.keys = keys

    def take(self, key: str | None, text: str, timestamp: int, wall_ms: int) -> None:
        saved = self.saved()
        try:
            value = json.loads(text)
            if wall_ms + MAX_FUTURE_MS < timestamp:
                raise Fails("too far ahead")
            self.state["watermark"] = max(self.state["watermark"], timestamp)
            self.push(0, (key, timestamp, value))
            self.advance()
        except (Fails, ValueError):
            self.restore(saved)

    def push(self, at: int, row: Row) -> None:
        if at == len(self.stages):
            self.state["rows"].append(row)
            return
        kind, stage = self.stages[at]
        if kind == "window":
            closed, made = stage.record(row, self.state["watermark"])
            for result in closed:
                self.push_alone(at + 1, result)
        elif kind == "count":
            count = self.state["counts"].get(row[0], 0) + 1
            self.state["counts"][row[0]] = count
            made = [(row[0], row[1], value) for value in counted(row[2], count)]
        else:
            made = [(row[0], row[1], value) for value in plain(kind, stage, row[2])]
        for row in made:
            self.push(at + 1, row)

    def push_alone(self, at: int, row: Row) -> None:
        """Let the result of a closed window go on: if it fails, it fails alone."""
        saved = self.saved()
        try:
            self.push(at, row)
        except Fails:
            self.restore(saved)

    def advance(self) -> None:
        for at, (_, stage) in enumerate(self.stages):
            if isinstance(stage, Windows):
                for row in stage.advance(self.state["watermark"]):
                    self.push_alone(at + 1, row)


def plain(kind: str, what: Any, value: Any) -> list[Any]:
    if kind == "filter_above":
        field, bound = what
        amount = number(value.get(field))
        return [value] if amount is not None and amount > bound else []
    if kind == "double":
        amount = number(value.get(what))
        doubled = None if amount is None else checked(checked(amount * 2) + 1)
        return [{**value, "y": doubled}]
    if value.get("id", -1) % what == 0:
        raise Fails("an id that fails")
    return [{**value, "ok": True}]


def counted(value: Any, count: int) -> list[Any]:
    if value.get("id", -1) % 11 == 0:
        raise Fails("an unlucky id")
    row = {**value, "count": count}
    return [] if count % 7 == 0 else [row, row] if count % 5 == 0 else [row]


# -- the program --------------------------------------------------------------


def build(app: Application, steps: list[dict[str, Any]]) -> None:
    sdf = app.dataframe("in")
    for at, step in enumerate(steps):
        ((kind, what),) = step.items()
        if kind == "filter_above":
            sdf = sdf[sdf[what[0]] > what[1]]
        elif kind == "double":
            sdf["y"] = sdf[what] * 2 + 1
        elif kind == "fail_some":
            sdf = sdf.apply(failing(what))
        elif kind == "count":
            sdf = sdf.apply(counting, stateful=True, expand=True)
        else:
            sdf = windowed(sdf, what, f"s{at}")
    sdf.to_topic("out")


def failing(divisor: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def check(row: dict[str, Any]) -> dict[str, Any]:
        if row.get("id", -1) % divisor == 0:
            raise ValueError("an id that fails")
        return {**row, "ok": True}

    return check


def counting(row: dict[str, Any], state: State) -> list[dict[str, Any]]:
    count = state.get("count", 0) + 1
    state.set("count", count)
    if row.get("id", -1) % 11 == 0:
        raise ValueError("an unlucky id")
    made = {**row, "count": count}
    return [] if count % 7 == 0 else [made, made] if count % 5 == 0 else [made]


def windowed(sdf: Any, rules: dict[str, Any], name: str) -> Any:
    options = {
        "grace_ms": rules["grace"],
        "name": name,
        "key_timeout": rules["key_timeout"],
        "key_retention": rules["key_retention"],
    }
    if rules["size"] == rules["advance"]:
        window = sdf.tumbling_window(rules["size"], **options)
    else:
        window = sdf.hopping_window(rules["size"], rules["advance"], **options)
    field = rules["field"]
    definition = window.agg(total=Sum(field), n=Count(), first=First(field), last=Last(field))
    closing = "key" if rules["is_by_key"] else "partition"
    return definition.final(closing) if rules["is_final"] else definition.current(closing)


# -- the comparison -----------------------------------------------------------


def by_key(rows: list[Row]) -> dict[str | None, list[str]]:
    found: dict[str | None, list[str]] = defaultdict(list)
    for key, timestamp, value in rows:
        found[key].append(f"{timestamp} {json.dumps(value, sort_keys=True)}")
    return dict(found)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: f"seed-{scenario['seed']}")
def test_models_of_two_languages_and_both_faces_agree(
    scenario: dict[str, Any], tmp_path: Path
) -> None:
    model = Model(scenario["steps"])
    for key, text, timestamp in scenario["records"]:
        model.take(key, text, timestamp, 2**41)
    wanted = by_key([(row[0], row[1], row[2]) for row in scenario["rows"]])
    assert by_key(model.state["rows"]) == wanted
    assert model.state["failed"] == scenario["failed"]

    choose = random.Random(scenario["seed"])
    with Application(name="fill", directory=tmp_path, loglevel=None).get_producer() as producer:
        for key, text, timestamp in scenario["records"]:
            producer.produce("in", text.encode(), key, timestamp=timestamp)
    for count in [choose.randrange(1, 9), choose.randrange(1, 9), None]:
        app = Application(
            name="test",
            directory=tmp_path,
            loglevel=None,
            on_error="dead-letter",
            idle_timeout=None,
        )
        build(app, scenario["steps"])
        app.run(count=count, timeout=0.2)
    rows = []
    for row in app.read_topic("out", metadata=True):
        key, timestamp = row.pop("_key"), row.pop("_timestamp")
        value = {name: value for name, value in row.items() if not name.startswith("_")}
        rows.append((None if key is None else key.decode(), timestamp, value))
    assert by_key(rows) == wanted

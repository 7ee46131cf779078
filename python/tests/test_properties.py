"""Windows and state against pandas and against a few lines of plain Python.

Every key has its own clock, so every key of one run is a case of its own: its records
come in its own disorder, with its own gaps, and what leaves for it must be what pandas
makes of those records. ``HEADWATER_CASES`` sets how many keys there are in all,
``HEADWATER_SEED`` which. Runs are cut in pieces: batches anywhere, an epoch after each
few records, and a new application in the middle.
"""

from __future__ import annotations

import json
import os
import random
from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import headwater as hw

CASES = int(os.environ.get("HEADWATER_CASES", "10000"))
SEED = int(os.environ.get("HEADWATER_SEED", "4711"))

Record = tuple[str, int, Any]
LATER = 10**9


@dataclass(frozen=True)
class Shape:
    """A window, and how the run over it is cut."""

    size: int
    step: int
    grace: int = 0
    restarts: int = 0
    commit_every: int = 0
    workers: int = 1


SHAPES = [
    Shape(10, 10),
    Shape(10, 10, grace=7, restarts=3),
    Shape(10, 3, restarts=2, commit_every=9),
    Shape(7, 1, grace=3, commit_every=50),
    Shape(100, 25, grace=40, restarts=1, workers=2),
]


def number(chance: random.Random) -> Any:
    """Of mixed kinds, and such that floats add up exactly in any order."""
    return chance.choice(
        (
            None,
            chance.randrange(-50, 50),
            chance.randrange(-400, 400) / 8,
            chance.randrange(-3, 3),
        )
    )


def records_of(key: str, chance: random.Random, shape: Shape) -> list[Record]:
    now = chance.randrange(0, 60)
    records = []
    for _ in range(chance.randrange(1, 9)):
        now += chance.choice((0, 1, 3, shape.size, 3 * shape.size))
        at = max(0, now - chance.choice((0, 0, 1, shape.grace, 2 * shape.size)))
        records.append((key, at, number(chance)))
    return records


def in_time(records: list[Record], shape: Shape) -> list[tuple[str, int, int, Any]]:
    """One row for each window that a record of one key is in time for."""
    latest = None
    rows = []
    for key, at, value in records:
        start = at - at % shape.step
        while start > at - shape.size:
            if latest is None or latest < start + shape.size + shape.grace:
                rows.append((key, start, at, value))
            start -= shape.step
        latest = at if latest is None else max(latest, at)
    return rows


def by_pandas(rows: list[tuple[str, int, int, Any]], size: int) -> pd.DataFrame:
    """All aggregates of each window, by key and start."""
    frame = pd.DataFrame(rows, columns=["key", "start", "at", "v"]).astype({"v": "float64"})
    in_order = frame.groupby(["key", "start"])["v"]
    in_time = frame.sort_values("at", kind="stable").groupby(["key", "start"])["v"]
    # As here, `first` and `last` pass over nulls.
    wanted = pd.DataFrame(
        {
            "rows": in_order.size(),
            "n": in_order.count(),
            "sum": in_order.sum(),
            "mean": in_order.mean(),
            "min": in_order.min(),
            "max": in_order.max(),
            "std": in_order.std(),
            "first": in_order.first(),
            "last": in_order.last(),
            "earliest": in_time.first(),
            "latest": in_time.last(),
            "all": in_time.agg(list),
        }
    ).reset_index()
    wanted["end"] = wanted["start"] + size
    return wanted


def interleaved(of_keys: dict[str, list[Record]], chance: random.Random) -> list[Record]:
    """Any order between keys; within a key its own."""
    turns = [key for key, records in of_keys.items() for _ in records]
    chance.shuffle(turns)
    rest = {key: iter(records) for key, records in of_keys.items()}
    return [next(rest[key]) for key in turns]


def application(directory: Path, shape: Shape) -> hw.Application:
    return hw.Application(
        name="test",
        directory=directory,
        loglevel=None,
        commit_every=shape.commit_every,
        workers=shape.workers,
        idle_timeout=None,
    )


def windows(app: hw.Application, shape: Shape, partitions: int) -> None:
    topic = app.topic("in", config=hw.TopicConfig(num_partitions=partitions))
    sdf = app.dataframe(topic)
    options: Any = {"grace_ms": shape.grace, "key_timeout": 2 * LATER, "name": "w"}
    window = (
        sdf.tumbling_window(shape.size, **options)
        if shape.step == shape.size
        else sdf.hopping_window(shape.size, shape.step, **options)
    )
    window.agg(
        rows=hw.Count(),
        n=hw.Count("v"),
        sum=hw.Sum("v"),
        mean=hw.Mean("v"),
        min=hw.Min("v"),
        max=hw.Max("v"),
        std=hw.Std("v"),
        first=hw.First("v"),
        last=hw.Last("v"),
        earliest=hw.Earliest("v"),
        latest=hw.Latest("v"),
        all=hw.Collect("v"),
    ).final()


def run_in_pieces(directory: Path, shape: Shape, records: list[Record]) -> list[dict[str, Any]]:
    """Produce and run, piece by piece, each by a new application."""
    left = []
    pieces = shape.restarts + 1
    length = -(-len(records) // pieces)
    for piece in range(pieces):
        app = application(directory, shape)
        windows(app, shape, partitions=1 if shape.workers == 1 else 3)
        with app.get_producer() as producer:
            for key, at, value in records[piece * length : (piece + 1) * length]:
                producer.produce("in", {"v": value}, key, timestamp=at)
        left += app.run(timeout=0.3, metadata=True)
    return left


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_windows_are_those_of_pandas(tmp_path: Path, shape: Shape) -> None:
    chance = random.Random(f"{SEED} {shape}")
    keys = [f"key-{index:06}" for index in range(CASES // len(SHAPES))]
    of_keys = {key: records_of(key, chance, shape) for key in keys}
    records = interleaved(of_keys, chance)
    # Closes every window of every key; its own stay open.
    records += [(key, LATER, 0) for key in keys]
    wanted = by_pandas([row for key in keys for row in in_time(of_keys[key], shape)], shape.size)
    left = pd.DataFrame(run_in_pieces(tmp_path / "log", shape, records))
    left["key"] = left["_key"].str.decode("utf-8")
    left["all"] = [
        [float("nan") if one is None else float(one) for one in items] for items in left["all"]
    ]
    floats = dict.fromkeys([*wanted.select_dtypes("float64").columns], "float64")
    left = left.sort_values(["key", "start"]).reset_index(drop=True)[wanted.columns].astype(floats)
    try:
        pd.testing.assert_frame_equal(left, wanted, check_dtype=False, rtol=1e-9, atol=1e-9)
    except AssertionError as difference:
        both = left.merge(wanted, how="outer", on=["key", "start"], suffixes=("", "_wanted"))
        first = next(
            (
                key
                for key, rows in both.groupby("key")
                if any(
                    str(rows[name].tolist()) != str(rows[f"{name}_wanted"].tolist())
                    for name in wanted.columns
                    if name not in ("key", "start")
                )
            ),
            keys[0],
        )
        about = f"HEADWATER_SEED={SEED} {shape} {json.dumps(of_keys[first])}"
        raise AssertionError(f"{difference}\nperhaps by {about}") from None
    print(
        f"\ntrust: what=property-windows count={len(keys)} seeds={SEED}..{SEED + 1} "
        f"faults={shape.restarts} failures=0"
    )


@dataclass
class Stored:
    """A value with the time from which it is gone, if there is one."""

    value: int
    until: float


def test_state_and_its_time_to_live_are_those_of_a_dict(tmp_path: Path) -> None:
    """Each key sets, gets and deletes by its own clock; restarts are in between."""
    chance = random.Random(f"{SEED} state")
    keys = [f"key-{index}" for index in range(CASES)]
    of_keys: dict[str, list[Record]] = {}
    for key in keys:
        now = 1000
        of_keys[key] = []
        for _ in range(chance.randrange(2, 8)):
            now += chance.choice((0, 1, 5, 30))
            what = chance.choice(("set", "set", "ttl", "delete", "get", "get"))
            step = {"do": what, "name": chance.choice("ab"), "value": chance.randrange(100)}
            of_keys[key].append((key, now - chance.choice((0, 0, 4)), step))
    records = interleaved(of_keys, chance)

    wanted: dict[str, list[Any]] = defaultdict(list)
    states: dict[str, dict[str, Stored]] = defaultdict(dict)
    clocks: dict[str, int] = {}
    for key, at, step in records:
        state = states[key]
        # A key's clock runs from its first value with a time to live on.
        if key in clocks:
            clocks[key] = max(clocks[key], at)
        now = max(clocks.get(key, at), at)
        if step["do"] == "set":
            state[step["name"]] = Stored(step["value"], float("inf"))
        elif step["do"] == "ttl":
            state[step["name"]] = Stored(step["value"], at + 10)
            clocks[key] = now
        elif step["do"] == "delete":
            state.pop(step["name"], None)
        found = [state.get(name) for name in "ab"]
        wanted[key].append(
            [None if one is None or one.until <= now else one.value for one in found]
        )

    def use(row: dict[str, Any], state: hw.State) -> dict[str, Any]:
        name = row["name"]
        if row["do"] == "set":
            state.set(name, row["value"])
        elif row["do"] == "ttl":
            state.set(name, row["value"], ttl=timedelta(milliseconds=10))
        elif row["do"] == "delete":
            state.delete(name)
        return {"seen": [state.get("a"), state.get("b")]}

    left: dict[str, list[Any]] = defaultdict(list)
    pieces = 4
    length = -(-len(records) // pieces)
    for piece in range(pieces):
        app = application(tmp_path / "log", Shape(1, 1, commit_every=piece * 100))
        app.dataframe("in").apply(use, stateful=True)
        with app.get_producer() as producer:
            for key, at, step in records[piece * length : (piece + 1) * length]:
                producer.produce("in", step, key, timestamp=at)
        for row in app.run(timeout=0.3, metadata=True):
            left[row["_key"].decode()].append(row["seen"])
    for key in keys:
        assert left[key] == wanted[key], f"HEADWATER_SEED={SEED} {json.dumps(of_keys[key])}"
    print(
        f"\ntrust: what=property-state count={len(keys)} seeds={SEED}..{SEED + 1} "
        f"faults={pieces - 1} failures=0"
    )

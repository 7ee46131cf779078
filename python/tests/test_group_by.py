"""Changes of key, by way of a repartition topic."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headwater import Application, Count, State, Sum, TopicConfig
from headwater.errors import InvalidOperation

USERS = [f"user-{n}" for n in range(40)]


def fill(directory: Path, rows: int = 120, partitions: int = 3) -> dict[str, list[int]]:
    """Spread orders of three cities over the partitions; return the amounts by city."""
    app = Application(name="orders", directory=directory, loglevel=None)
    topic = app.topic("orders", config=TopicConfig(num_partitions=partitions))
    amounts: dict[str, list[int]] = {}
    with app.get_producer() as producer:
        for n in range(rows):
            city = ("Rome", "Oslo", "Kyiv")[n % 3]
            amounts.setdefault(city, []).append(n)
            order = {"city": city, "amount": n}
            producer.produce(topic.name, order, key=USERS[n % 40], timestamp=1_000 + n)
    return amounts


def run(directory: Path, define, name: str = "job") -> list[dict]:
    app = Application(name=name, directory=directory, loglevel=None, workers=1)
    define(app)
    app.run(timeout=1)
    return app.read_topic("out", metadata=True)


def test_rows_of_equal_keys_meet_in_one_state(tmp_path):
    amounts = fill(tmp_path)

    def add(row: dict, state: State) -> dict:
        total = state.get("total", 0) + row["amount"]
        state.set("total", total)
        return {"city": row["city"], "total": total}

    def define(app: Application) -> None:
        sdf = app.dataframe("orders").group_by("city")
        sdf.apply(add, stateful=True).to_topic("out")

    rows = run(tmp_path, define)
    best = {}
    for row in rows:
        best[row["city"]] = max(best.get(row["city"], 0), row["total"])
    assert best == {city: sum(values) for city, values in amounts.items()}
    assert len(rows) == 120


def test_windows_close_behind_a_change_of_key(tmp_path):
    amounts = fill(tmp_path)

    def define(app: Application) -> None:
        sdf = app.dataframe("orders").group_by(lambda row: row["city"], name="city")
        window = sdf.tumbling_window(50).agg(total=Sum("amount"), n=Count())
        window.final(closing_strategy="partition").to_topic("out")

    rows = run(tmp_path, define)
    # The slowest of the three partitions decides, and its last order is one of the last forty.
    assert 1_000 in {row["start"] for row in rows}
    assert len(rows) == len({(row["_key"], row["start"]) for row in rows})
    for row in rows:
        city = json.loads(row["_key"])
        of_window = [n for n in amounts[city] if row["start"] <= 1_000 + n < row["end"]]
        assert (row["total"], row["n"]) == (sum(of_window), len(of_window))


def test_the_new_key_reaches_functions_and_topics(tmp_path):
    fill(tmp_path, rows=9)
    seen = set()

    def define(app: Application) -> None:
        sdf = app.dataframe("orders").group_by("city", key_serializer="str", key_deserializer="str")
        sdf = sdf.update(lambda row, key, timestamp, headers: seen.add(key), metadata=True)
        sdf.group_by(sdf["amount"] % 2, name="odd").to_topic("out")

    rows = run(tmp_path, define)
    assert seen == {"Rome", "Oslo", "Kyiv"}
    assert {row["_key"] for row in rows} == {b"0", b"1"}
    assert {row["_timestamp"] for row in rows} == set(range(1_000, 1_009))


def test_a_change_of_key_that_cannot_work_says_so(tmp_path):
    app = Application(name="job", directory=tmp_path, loglevel=None)
    sdf = app.dataframe("orders")
    with pytest.raises(InvalidOperation, match="needs a name"):
        sdf.group_by(lambda row: row["city"])
    with pytest.raises(InvalidOperation, match="same format"):
        sdf.group_by("city", key_serializer="str")
    sdf.group_by("city")
    sdf.group_by(lambda row: row["town"], name="city")
    with pytest.raises(InvalidOperation, match="in--groupby--city|orders--groupby--city"):
        app.run(timeout=0.1)

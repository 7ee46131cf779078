"""Topics by pattern, from Python."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from headwater.errors import InvalidOperation

if TYPE_CHECKING:
    import headwater as hw


def test_every_topic_that_matches_is_read(app: hw.Application, produce: Any) -> None:
    produce([{"n": 1}], topic="cars.a", key="x")
    produce([{"n": 2}], topic="cars.b", key="y")
    produce([{"n": 3}], topic="bikes.a", key="z")
    sdf = app.dataframe(app.topic(r"^cars\..*", key_deserializer="str"))
    sdf.to_topic("cars.all")

    def later() -> None:
        time.sleep(1)
        produce([{"n": 4}], topic="cars.c", key="w")

    thread = threading.Thread(target=later)
    thread.start()
    rows = app.run(timeout=8, metadata=True)
    thread.join()
    seen = sorted((row["n"], row["_topic"], row["_key"]) for row in rows)
    assert seen == [(1, "cars.a", "x"), (2, "cars.b", "y"), (4, "cars.c", "w")]
    assert sorted(row["n"] for row in app.read_topic("cars.all")) == [1, 2, 4]


def test_a_pattern_that_is_none_is_refused(app: hw.Application) -> None:
    app.dataframe("^cars(")
    with pytest.raises(InvalidOperation, match="regular expression"):
        app.run(timeout=0.1)


def test_where_rows_name_their_topics_no_declared_one_is_taken_for_an_input(
    app: hw.Application, produce: Any
) -> None:
    produce([{"n": 1}], topic="cars.a")
    produce([{"n": 2}], topic="cars.out")
    out = app.topic("cars.out")
    app.dataframe(r"^cars\..*").to_topic(lambda *_: out)
    assert [row["n"] for row in app.run(timeout=0.5)] == [1]
    assert [row["n"] for row in app.read_topic("cars.out")] == [2, 1]

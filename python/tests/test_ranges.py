"""Runs over a part of topics, from Python."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

import headwater as hw
from headwater.errors import InvalidOperation, TopicNotFoundError

START = datetime(2026, 11, 27, 12, tzinfo=UTC)
START_MS = int(START.timestamp()) * 1_000


def fill(app: hw.Application) -> None:
    """Write ten records, a second apart."""
    with app.get_producer() as producer:
        for n in range(10):
            row = {"n": n, "city": f"c{n % 2}"}
            producer.produce("in", row, key="k", timestamp=START_MS + n * 1_000)


@pytest.mark.parametrize(
    ("start", "until", "expected"),
    [
        (START_MS + 2_000, START_MS + 5_000, [2, 3, 4]),
        (START, datetime(2026, 11, 27, 12, 0, 2, tzinfo=UTC), [0, 1]),
        ("2026-11-27T12:00:08", "latest", [8, 9]),
        ("2026-11-27T14:00:08+02:00", "2030-01-01", [8, 9]),
        ("earliest", {"in": {0: 2}}, [0, 1]),
        ({"in": {0: 7}}, "latest", [7, 8, 9]),
        (None, START_MS + 1_000, [0]),
        ("2030-01-01", "latest", []),
    ],
)
def test_a_part_of_a_topic_is_read_and_nothing_is_kept(
    app: hw.Application, start: Any, until: Any, expected: list[int]
) -> None:
    fill(app)
    app.dataframe("in").to_topic("out")
    for _ in range(2):
        rows = app.run(start=start, until=until)
        assert [row["n"] for row in rows] == expected
    assert app.last_run is not None
    assert app.last_run.ended == "end of input"
    with pytest.raises(TopicNotFoundError):
        app.read_topic("out")
    # The application itself has read nothing yet.
    assert len(app.run(timeout=0.3)) == 10


def test_a_range_closes_its_windows_and_writes_if_it_is_asked_to(app: hw.Application) -> None:
    fill(app)
    sdf = app.dataframe("in").group_by("city").tumbling_window(5_000).agg(n=hw.Count())
    sdf.final().to_topic("counts")
    rows = app.run(start="earliest", until="latest", outputs=True)
    assert sorted(row["n"] for row in rows) == [2, 2, 3, 3]
    assert len(app.read_topic("counts")) == 4


def test_what_cannot_be_a_place_is_refused(app: hw.Application) -> None:
    fill(app)
    app.dataframe("in")
    for start in ["latest", "yesterday", 1.5, True]:
        with pytest.raises((ValueError, TypeError), match="start"):
            app.run(start=start, commit=False)  # type: ignore[arg-type]
    with pytest.raises(InvalidOperation, match="commit=False"):
        app.run(until="latest", commit=True)
    with pytest.raises(InvalidOperation, match="outputs=True"):
        app.run(count=1, outputs=True)
    with pytest.raises(InvalidOperation, match="other"):
        app.run(until={"other": {0: 5}})


def test_a_first_run_begins_at_a_moment(tmp_path: Any) -> None:
    app = hw.Application(
        name="late", directory=tmp_path, auto_offset_reset="2026-11-27T12:00:07Z", loglevel=None
    )
    fill(app)
    app.dataframe("in")
    assert [row["n"] for row in app.run(timeout=0.3)] == [7, 8, 9]
    assert app.config.auto_offset_reset == START_MS + 7_000
    for wrong in ["newest", 1.5]:
        with pytest.raises((ValueError, TypeError), match="auto_offset_reset"):
            hw.Application(name="x", auto_offset_reset=wrong)  # type: ignore[arg-type]

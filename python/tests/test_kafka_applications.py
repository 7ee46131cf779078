"""What applications use beside data frames, on a real cluster."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headwater import Application, State, TopicConfig
from headwater.errors import HeadwaterError
from headwater.kafka import TopicPartition

# Beside this file, which pytest's import mode keeps out of the path.
sys.path.insert(0, str(Path(__file__).parent))
from brokers import Brokers

pytestmark = pytest.mark.kafka

# Brokers delete what is older than a topic's retention by the records' own times.
START_MS = int(time.time()) * 1_000 - 60_000


@pytest.fixture(scope="module")
def brokers() -> Iterator[Brokers]:
    with Brokers() as running:
        yield running


def application(brokers: Brokers, name: str, directory: Path, **options: Any) -> Application:
    return Application(brokers.addresses, name=name, directory=directory, loglevel=None, **options)


def fill(app: Application, topic: str, first: int, rows: int, partitions: int = 2) -> None:
    app.topic(topic, config=TopicConfig(num_partitions=partitions))
    with app.get_producer() as producer:
        for n in range(first, first + rows):
            row = {"n": n, "city": f"c{n % 3}", "text": "x" * 500}
            producer.produce(topic, row, key=f"k{n % 5_000}", timestamp=START_MS + n)


@pytest.mark.parametrize("guarantee", ["at-least-once", "exactly-once"])
def test_state_larger_than_memory_is_on_disk_and_kept(
    brokers: Brokers, tmp_path: Path, caplog: pytest.LogCaptureFixture, guarantee: str
) -> None:
    """A restart goes on from what stands on disk; without it, from the changelog."""
    name = f"spill-{guarantee}"

    def run() -> list[dict[str, Any]]:
        app = application(
            brokers, name, tmp_path, processing_guarantee=guarantee, state_memory_max=256 << 10
        )

        def count(row: dict[str, Any], state: State) -> dict[str, Any]:
            state.set("seen", {"n": state.get("seen", {"n": 0})["n"] + 1, "text": row["text"]})
            return {"key": row["n"] % 5_000, "n": state.get("seen")["n"]}

        app.dataframe(f"in-{name}").apply(count, stateful=True)
        with caplog.at_level(logging.INFO, logger="headwater"):
            caplog.clear()
            return app.run(timeout=5)

    fill(application(brokers, name, tmp_path), f"in-{name}", 0, 10_000)
    assert len(run()) == 10_000
    files = [path for path in (tmp_path / "state").rglob("run-*") if path.stat().st_size > 0]
    assert files, "some state is on disk"

    fill(application(brokers, name, tmp_path), f"in-{name}", 10_000, 5_000)
    rows = run()
    assert "went on from what is on disk" in caplog.text or "restored" not in caplog.text
    assert sorted(row["n"] for row in rows) == [3] * 5_000

    for path in files:
        path.unlink(missing_ok=True)
    for path in (tmp_path / "state").rglob("manifest-*"):
        path.unlink()
    fill(application(brokers, name, tmp_path), f"in-{name}", 15_000, 5_000)
    assert sorted(row["n"] for row in run()) == [4] * 5_000
    assert "state of 2 stores restored" in caplog.text


def test_a_range_of_time_is_read_beside_the_group(brokers: Brokers, tmp_path: Path) -> None:
    app = application(brokers, "ranged", tmp_path, auto_offset_reset=START_MS + 150)
    fill(app, "in-ranged", 0, 200)
    sdf = app.dataframe("in-ranged").group_by("city").tumbling_window(50).count()
    sdf.final().to_topic("out-ranged")
    rows = app.run(start=START_MS + 50, until=START_MS + 100)
    start = (START_MS + 50) // 50 * 50
    assert {row["start"] for row in rows} <= {start, start + 50}
    assert sum(row["value"] for row in rows) == 50
    # The application's first run begins at the moment that it was told.
    app.run(timeout=6)
    assert app.last_run is not None
    assert app.last_run.records_in == 50


def test_consumers_share_partitions_and_commit(brokers: Brokers, tmp_path: Path) -> None:
    app = application(brokers, "consumers", tmp_path)
    fill(app, "in-consumers", 0, 100)
    with app.get_consumer() as consumer:
        consumer.subscribe(["in-consumers"])
        assert len(consumer.consume(100, timeout=30)) == 100
    with app.get_consumer() as consumer:
        consumer.subscribe(["in-consumers"])
        assert consumer.poll(1) is None
        places = [TopicPartition("in-consumers", number) for number in range(2)]
        assert sum(place.offset or 0 for place in consumer.committed(places)) == 100
        consumer.seek(places[0]._replace(offset=0))
        message = consumer.poll(10)
        assert message is not None
        assert message.offset() == 0


def test_topics_by_pattern_and_partitions_that_are_added(brokers: Brokers, tmp_path: Path) -> None:
    app = application(brokers, "pattern", tmp_path)
    for topic in ["pattern.a", "pattern.b"]:
        fill(app, topic, 0, 10)
    app = application(brokers, "pattern", tmp_path)
    app.dataframe(r"^pattern\..*").to_topic("pattern.out")
    assert len(app.run(timeout=6)) == 20
    fill(application(brokers, "other", tmp_path), "pattern.c", 10, 5)
    assert sorted(row["n"] for row in app.run(timeout=6)) == list(range(10, 15))


def test_records_older_than_their_topic_keeps_them_are_named(
    brokers: Brokers, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = application(brokers, "old", tmp_path)
    fill(app, "in-old", 0, 3)
    week = TopicConfig(extra_config={"retention.ms": "5000"})
    app.dataframe("in-old").to_topic(app.topic("out-old", config=week))
    with caplog.at_level(logging.INFO, logger="headwater"):
        app.run(timeout=5)
    warnings = [line for line in caplog.text.splitlines() if "older than their topic" in line]
    assert len(warnings) == 1
    assert "topic=`out-old`" in warnings[0]
    assert "retention_ms=`5000`" in warnings[0]


def test_copies_that_there_are_no_brokers_for_are_refused(brokers: Brokers, tmp_path: Path) -> None:
    app = application(brokers, "copies", tmp_path)
    app.topic("copied", config=TopicConfig(replication_factor=9))
    with pytest.raises(HeadwaterError, match="copied"):
        app.get_producer()

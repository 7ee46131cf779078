"""The same programs on a real cluster, which the tests start on loopback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headwater import Application, State, TopicConfig
from headwater.errors import InvalidOperation
from headwater.kafka import ConnectionConfig

# Beside this file, which pytest's import mode keeps out of the path.
sys.path.insert(0, str(Path(__file__).parent))
from brokers import Brokers

pytestmark = pytest.mark.kafka

# Brokers delete what is older than a topic's retention by the records' own times.
START_MS = int(time.time()) * 1_000 - 60_000

# A job in a process of its own: counts by key, and sums by another key in windows.
JOB = """
import sys

from headwater import Application, Count, State, Sum

app = Application(sys.argv[1], name=sys.argv[2], directory=sys.argv[3], commit_interval=0.1,
    processing_guarantee="exactly-once", loglevel="WARNING",
    consumer_extra_config={"session.timeout.ms": 6000})


def count(row: dict, state: State) -> dict:
    state.set("n", state.get("n", 0) + 1)
    return {**row, "n": state.get("n")}


sdf = app.dataframe(app.topic("in-" + sys.argv[2])).apply(count, stateful=True)
sdf.to_topic(app.topic("counts-" + sys.argv[2]))
by_city = sdf.group_by("city").tumbling_window(1_000).agg(total=Sum("x"), rows=Count())
by_city.final(closing_strategy="partition").to_topic(app.topic("sums-" + sys.argv[2]))
app.run()
"""


@pytest.fixture(scope="module")
def brokers() -> Iterator[Brokers]:
    with Brokers() as running:
        yield running


def application(brokers: Brokers, name: str, directory: Path, **options: object) -> Application:
    return Application(brokers.addresses, name=name, directory=directory, loglevel=None, **options)


def fill(app: Application, topic: str, first: int, rows: int, partitions: int = 4) -> None:
    app.topic(topic, config=TopicConfig(num_partitions=partitions))
    with app.get_producer() as producer:
        for n in range(first, first + rows):
            row = {"city": f"c{n % 3}", "x": n, "id": n}
            producer.produce(topic, row, key=f"k{n % 40}", timestamp=START_MS + n * 5)


def test_a_program_of_the_embedded_log_runs_unchanged(brokers, tmp_path):
    app = application(brokers, "first", tmp_path, workers=1)
    fill(app, "telemetry", 0, 100)
    sdf = app.dataframe("telemetry")
    sdf = sdf[sdf["x"] >= 50]
    sdf["y"] = sdf["x"] * 2
    sdf.to_topic("doubled")
    rows = app.run(timeout=5)
    assert sorted(row["y"] for row in rows) == [2 * n for n in range(50, 100)]
    # The next run goes on where that one ended.
    fill(app, "telemetry", 100, 10)
    assert len(app.run(timeout=5)) == 10
    stored = app.read_topic("doubled")
    assert len(stored) == 60
    app.clear_state()
    assert len(app.run(timeout=5)) == 60


@pytest.mark.parametrize("guarantee", ["at-least-once", "exactly-once"])
def test_state_and_windows_survive_a_restart(brokers, tmp_path, guarantee):
    name = f"restart-{guarantee}"
    seen: list[dict] = []

    def define() -> Application:
        app = application(brokers, name, tmp_path, processing_guarantee=guarantee, workers=2)

        def add(row: dict, state: State) -> dict:
            state.set("sum", state.get("sum", 0) + row["x"])
            return {"key": row["id"] % 40, "sum": state.get("sum")}

        sdf = app.dataframe(f"in-{name}").apply(add, stateful=True)
        sdf.to_topic(f"out-{name}")
        return app

    fill(application(brokers, name, tmp_path), f"in-{name}", 0, 400)
    for round_ in range(2):
        seen += define().run(timeout=5)
        fill(application(brokers, name, tmp_path), f"in-{name}", 400 * (round_ + 1), 400)
    seen += define().run(timeout=5)
    best: dict[int, int] = {}
    for row in seen:
        best[row["key"]] = max(best.get(row["key"], 0), row["sum"])
    assert best == {key: sum(range(key, 1_200, 40)) for key in range(40)}
    assert len(seen) == 1_200


def start(brokers: Brokers, name: str, directory: Path) -> subprocess.Popen[bytes]:
    job = directory / "job.py"
    job.write_text(JOB)
    return subprocess.Popen([sys.executable, str(job), brokers.addresses, name, str(directory)])


def test_killed_and_joined_processes_lose_and_repeat_nothing(brokers, tmp_path):
    """Two processes share the partitions; one after the other is killed and replaced."""
    name, rows = "shared", 3_000
    app = application(brokers, name, tmp_path)
    fill(app, f"in-{name}", 0, 200)
    running = [start(brokers, name, tmp_path) for _ in range(2)]
    try:
        filled = 200
        for _ in range(3):
            time.sleep(3)
            fill(app, f"in-{name}", filled, 600)
            filled += 600
            victim = running.pop(0)
            os.kill(victim.pid, signal.SIGKILL)
            victim.wait()
            running.append(start(brokers, name, tmp_path))
        fill(app, f"in-{name}", filled, rows - filled)
        counted = app.topic(f"counts-{name}")
        deadline = time.monotonic() + 120
        while len(app.read_topic(counted)) < rows and time.monotonic() < deadline:
            time.sleep(0.5)
        # The end of time: what has no newer record closes by the quiet time that passes.
        while (
            sum(row["rows"] for row in app.read_topic(f"sums-{name}")) < rows
            and time.monotonic() < deadline
        ):
            time.sleep(0.5)
        for process in running:
            process.send_signal(signal.SIGTERM)
        assert [process.wait(30) for process in running] == [0, 0]
    finally:  # also where the test fails
        for process in running:
            process.kill()
            process.wait()
    counts = list(app.read_topic(f"counts-{name}"))
    assert sorted(row["id"] for row in counts) == list(range(rows))
    for row in counts:
        assert row["n"] == row["id"] // 40 + 1, row
    sums = list(app.read_topic(f"sums-{name}", metadata=True))
    assert len({(row["_key"], row["start"]) for row in sums}) == len(sums)
    assert sum(row["rows"] for row in sums) == rows
    assert sum(row["total"] for row in sums) == sum(range(rows))


def test_addresses_and_options_that_cannot_work_are_refused(tmp_path):
    for address in ["", "http://localhost:9092", 9092]:
        with pytest.raises(InvalidOperation, match="broker_address"):
            Application(address, directory=tmp_path, loglevel=None)
    with pytest.raises(ValueError, match="processing_guarantee"):
        Application("localhost:9", processing_guarantee="maybe", loglevel=None)
    app = Application(
        "localhost:9",
        name="x",
        directory=tmp_path,
        consumer_extra_config={"acks": 1},
        loglevel=None,
    )
    app.dataframe("in")
    with pytest.raises(InvalidOperation, match="acks"):
        app.run(timeout=1)


def test_secrets_are_never_shown(tmp_path):
    connection = ConnectionConfig("localhost:9", "sasl_ssl", "PLAIN", "ada", "hush-hush")
    app = Application(connection, name="x", directory=tmp_path, loglevel=None)
    for text in (repr(connection), repr(app), repr(app.config)):
        assert "hush" not in text

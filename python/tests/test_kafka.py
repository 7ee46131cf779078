"""The same programs on a real cluster, which the tests start on loopback."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
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
import threading

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


def headwater(brokers: Brokers, *arguments: str, given: str = "", code: int = 0) -> str:
    """Run a command on the cluster; give what it prints."""
    command = [sys.executable, "-m", "headwater", *arguments, "--broker", brokers.addresses]
    done = subprocess.run(
        command, input=given, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == code, (arguments, done.stdout, done.stderr)
    return done.stdout


def test_every_command_works_on_a_cluster(brokers, tmp_path):
    def lines(*arguments: str) -> list[dict]:
        return [
            json.loads(line) for line in headwater(brokers, *arguments, "-o", "json").splitlines()
        ]

    headwater(brokers, "topics", "create", "cli-in", "--partitions", "2")
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    bad = {"key": "b", "value": {"x": "two"}, "headers": [["traceparent", parent]]}
    good = [
        {"key": "a", "value": {"x": x}, "headers": [["traceparent", parent]]} for x in (1, 2, 3)
    ]
    given = "".join(json.dumps(row) + "\n" for row in [*good, bad])
    headwater(brokers, "topics", "write", "cli-in", "--json", given=given)
    [topic] = [row for row in lines("topics", "list") if row["topic"] == "cli-in"]
    assert (topic["partitions"], topic["records"]) == (2, 4)

    def add(row: dict, state: State) -> dict:
        state.set("sum", state.get("sum", 0) + row["x"])
        return {"sum": state.get("sum")}

    def run() -> Application:
        app = application(brokers, "cli-job", tmp_path, on_error="dead-letter", workers=1)
        app.dataframe("cli-in").apply(add, stateful=True).to_topic("cli-out")
        app.run(timeout=5)
        return app

    app = run()
    out = lines("topics", "read", "cli-out")
    assert [row["value"]["sum"] for row in out] == [1, 3, 6]
    assert all(["traceparent", parent] in row["headers"] for row in out)
    lag = [row for row in lines("groups", "lag", "cli-job") if row["topic"] == "cli-in"]
    assert sum(row["committed"] for row in lag) == 4
    assert sum(row["waiting"] for row in lag) == 0
    assert "cli-job" in [row["application"] for row in lines("groups", "list")]
    [store] = lines("state", "scan", "cli-job")
    entries = lines("state", "get", "cli-job", "a", "--store", store["store"])
    assert {"name": "sum", "value": 6}.items() <= entries[0].items()
    counts = app.metrics()["partitions"]
    assert sum(row["records_in"] for row in counts) == 4
    assert sum(row["dead_lettered"] for row in counts) == 1

    [letters] = [row for row in lines("dlq", "list") if row["topic"] == "cli-in.dead-letter"]
    assert (letters["letters"], letters["replayed"]) == (1, 0)
    [letter] = lines("dlq", "show", "cli-in")
    assert (letter["value"], letter["is_record"]) == ({"x": "two"}, True)
    assert ["traceparent", parent] in letter["headers"]
    for sent in ("1 sent\n", "0 sent\n"):
        assert headwater(brokers, "dlq", "replay", "cli-in", "--yes") == sent
    run()
    assert [row["is_replayed"] for row in lines("dlq", "show", "cli-in")] == [True, False]

    assert not [row for row in lines("topics", "list", "--orphaned") if "cli-job" in row["topic"]]
    app._log.create_topic("changelog__cli-gone--x", TopicConfig())
    assert "changelog__cli-gone--x" in [
        row["topic"] for row in lines("topics", "list", "--orphaned")
    ]
    assert "deleted" in headwater(brokers, "topics", "delete", "--orphaned", "--yes")
    assert "done" in headwater(brokers, "groups", "reset", "cli-job", "--yes")
    headwater(brokers, "state", "scan", "cli-job", code=1)
    assert "`cli-in` deleted" in headwater(brokers, "topics", "delete", "cli-in", "--yes")
    headwater(brokers, "topics", "list", "--config", "group.id=x", code=1)


def test_positions_are_moved_on_a_cluster(brokers, tmp_path):
    given = "".join(f'{{"n":{n}}}\n' for n in range(5))
    headwater(brokers, "topics", "create", "move-in")
    headwater(brokers, "topics", "write", "move-in", given=given)

    def run() -> int:
        app = application(brokers, "mover", tmp_path, workers=1)
        app.dataframe("move-in").to_topic("move-out")
        return len(app.run(timeout=3))

    def move(to: str, code: int = 0) -> str:
        return headwater(brokers, "groups", "reset", "mover", "--to", to, "--yes", code=code)

    assert run() == 5
    assert move("2") == "move-in[0]: from 5 to 2\ndone\n"
    assert run() == 3
    # Not under a process that runs.
    app = application(brokers, "mover", tmp_path, workers=1)
    app.dataframe("move-in").to_topic("move-out")
    thread = threading.Thread(target=lambda: app.run(timeout=8))
    thread.start()
    while app.metrics()["phase"] != "running":
        time.sleep(0.1)
    move("0", code=1)
    thread.join()
    move("latest")
    assert run() == 0


WATCHED = """
import sys
import threading
from headwater import Application

app = Application(sys.argv[1], name="watched", directory=sys.argv[2], metrics_port=int(sys.argv[3]),
    processing_guarantee="exactly-once", commit_interval=0.5)
app.dataframe("watched-in").to_topic("watched-out")
app.run()
print("ended", flush=True)
"""


def answer(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()
    except OSError as error:
        return 0, str(error)


def test_a_job_is_ready_is_watched_and_drains_when_it_is_asked_to_stop(brokers, tmp_path):
    fill(application(brokers, "watched", tmp_path), "watched-in", 0, 2_000)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    job = tmp_path / "watched.py"
    job.write_text(WATCHED)
    process = subprocess.Popen(
        [sys.executable, str(job), brokers.addresses, str(tmp_path), str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 60
        while answer(port, "/readyz")[0] != 200 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert answer(port, "/readyz") == (200, "running\n")
        text = ""
        while "headwater_lag_records{" not in text and time.monotonic() < deadline:
            time.sleep(0.2)
            text = answer(port, "/metrics")[1]
        assert 'headwater_lag_records{application="watched",topic="watched-in"' in text
        assert answer(port, "/livez") == (200, "running\n")
        # Records are on their way when it is asked to stop: all that it commits is whole.
        fill(application(brokers, "watched", tmp_path), "watched-in", 2_000, 2_000)
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=30)
    finally:  # also where the test fails
        process.kill()
        process.wait()
    assert (process.returncode, out) == (0, "ended\n"), errors
    app = application(brokers, "watched", tmp_path)
    app.dataframe("watched-in").to_topic("watched-out")
    app.run(timeout=5)
    ids = [row["id"] for row in app.read_topic("watched-out")]
    assert sorted(ids) == list(range(4_000))

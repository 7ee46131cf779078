"""What can go wrong around an application on a real cluster, and what its user sees.

Stories that wait for long run side by side from the beginning of the module on; their
tests look at how they ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import confluent_kafka.admin
import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from headwater import Application, State
from headwater.errors import HeadwaterError, InvalidOperation, UnavailableError
from headwater.kafka import ConnectionConfig

# Beside this file, which pytest's import mode keeps out of the path.
sys.path.insert(0, str(Path(__file__).parent))
from brokers import Brokers

pytestmark = pytest.mark.kafka

# Untyped: its types hide half of what it exports.
kafka: Any = confluent_kafka.admin

OPTIONS: dict[str, Any] = {
    "processing_guarantee": "exactly-once",
    "consumer_extra_config": {
        "topic.metadata.refresh.interval.ms": 1_000,
        "session.timeout.ms": 6_000,
    },
    "loglevel": None,
}
OUTAGE_SECONDS = 20

End: TypeAlias = tuple[BaseException | None, float]
Stories: TypeAlias = dict[str, Future[Any]]

# A job that commits every half minute and tells how often its function was called.
JOB = """
import sys, time
from headwater import Application

app = Application(sys.argv[1], name="term", directory=sys.argv[2], commit_interval=30,
    processing_guarantee="exactly-once", loglevel=None, workers=1)
calls = 0

def slow(row):
    global calls
    calls += 1
    time.sleep(0.001)
    if calls == 1_500:
        print("some", flush=True)
    return row

app.dataframe("in-term").apply(slow).to_topic("out-term")
app.run()
print(calls, flush=True)
"""


class Cluster:
    def __init__(self, brokers: Brokers, directory: Path) -> None:
        self.address, self.directory = brokers.addresses, directory
        self.admin = AdminClient({"bootstrap.servers": self.address})

    def application(self, name: str, **options: Any) -> Application:
        options = OPTIONS | {"directory": self.directory} | options
        return Application(self.address, name=name, **options)

    def job(self, name: str, *, stateful: bool = False, **options: Any) -> Application:
        """Copy a topic, or count its rows by key."""

        def count(row: dict[str, Any], state: State) -> dict[str, Any]:
            state.set("seen", state.get("seen", 0) + 1)
            return {**row, "seen": state.get("seen")}

        app = self.application(name, **options)
        sdf = app.dataframe(f"in-{name}")
        (sdf.apply(count, stateful=True) if stateful else sdf).to_topic(f"out-{name}")
        return app

    def make(self, topic: str, rows: int = 0, first: int = 0, partitions: int = 1) -> None:
        new = kafka.NewTopic(topic, partitions, 1)
        self.admin.create_topics([new])[topic].result()
        self.fill(topic, range(first, first + rows), partitions)

    def delete(self, topic: str) -> None:
        self.admin.delete_topics([topic])[topic].result()
        assert until(lambda: topic not in self.admin.list_topics().topics, 10)

    def fill(self, topic: str, rows: range, partitions: int = 1) -> None:
        producer = Producer({"bootstrap.servers": self.address})
        for n in rows:
            producer.produce(topic, f'{{"n": {n}}}', f"k{n % 5}", partition=n % partitions)
        assert producer.flush(30) == 0

    def numbers(self, topic: str) -> list[int]:
        return sorted(row["n"] for row in self.application("reader").read_topic(topic))


def until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


def ended(run: Future[Any], within: float) -> End:
    """Give how a run ended, and after how many seconds."""
    since = time.monotonic()
    until(run.done, within)
    error = run.exception() if run.done() else AssertionError(f"it runs after {within} s")
    return error, time.monotonic() - since


def outage(directory: Path) -> dict[str, Any]:
    """The only broker is away while two jobs run; one has less patience."""
    with Brokers() as brokers, ThreadPoolExecutor() as pool:
        cluster = Cluster(brokers, directory)
        jobs = [cluster.job("patient"), cluster.job("impatient", broker_availability_timeout=5)]
        for name in ("patient", "impatient"):
            cluster.make(f"in-{name}", 100)
        runs = [pool.submit(job.run, collect=False) for job in jobs]
        try:
            assert until(lambda: all(job.metrics()["records_out"] == 100 for job in jobs), 30)
            cluster.fill("in-patient", range(100, 200))
            # Its librdkafka would say every second that nobody answers.
            del cluster.admin
            brokers.tell("stop 1")
            since = time.monotonic()
            impatient = ended(runs[1], OUTAGE_SECONDS)
            time.sleep(max(0, since + OUTAGE_SECONDS - time.monotonic()))
            brokers.tell("start 1")
            cluster.fill("in-patient", range(200, 300))
            until(lambda: jobs[0].metrics()["records_out"] >= 300 or runs[0].done(), 40)
            numbers = cluster.numbers("out-patient")
        finally:
            for job in jobs:
                job.stop()
        return {"impatient": impatient, "patient": runs[0].exception(30), "numbers": numbers}


def unreachable(connection: ConnectionConfig, directory: Path) -> End:
    app = Application(connection, name="lost", directory=directory, loglevel=None)
    app.dataframe("in").to_topic("out")
    with ThreadPoolExecutor() as pool:
        end = ended(pool.submit(app.run), 60)
        app.stop()
    return end


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Brokers() as running:
        yield Cluster(running, tmp_path_factory.mktemp("cluster"))


@pytest.fixture(scope="module", autouse=True)
def stories(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stories]:
    connections = {
        "nobody": ConnectionConfig("127.0.0.1:9"),
        "ssl": ConnectionConfig(cluster.address, "ssl"),
        "sasl": ConnectionConfig(cluster.address, "sasl_plaintext", "PLAIN", "ada", "hush"),
    }
    with ThreadPoolExecutor() as pool:
        told: Stories = {"outage": pool.submit(outage, tmp_path_factory.mktemp("outage"))}
        for name, connection in connections.items():
            told[name] = pool.submit(unreachable, connection, tmp_path_factory.mktemp(name))
        yield told


@pytest.mark.parametrize("stateful", [False, True])
def test_a_topic_made_again_between_runs_is_refused(cluster: Cluster, stateful: bool) -> None:
    name = f"again-{stateful}"
    cluster.make(f"in-{name}", 20)
    cluster.job(name, stateful=stateful).run(count=20, timeout=20)
    cluster.delete(f"in-{name}")
    # More than there were: the old position lies in the midst of them.
    cluster.make(f"in-{name}", 30, 100)
    app = cluster.job(name, stateful=stateful)
    with pytest.raises(InvalidOperation, match=f"made again.*headwater reset {name}.*in-{name}"):
        app.run(count=1, timeout=20)
    assert cluster.numbers(f"out-{name}") == list(range(20))
    app.clear_state()
    rows = app.run(count=30, timeout=20)
    assert sorted(row["n"] for row in rows) == list(range(100, 130))
    assert max(row.get("seen", 6) for row in rows) == 6


def test_a_deleted_input_is_not_made_by_the_run_that_misses_it(cluster: Cluster) -> None:
    cluster.make("in-missing", 20)
    cluster.job("missing").run(count=20, timeout=20)
    cluster.delete("in-missing")
    with pytest.raises(HeadwaterError, match="in-missing"):
        cluster.job("missing").run(count=1, timeout=5)
    assert "in-missing" not in cluster.admin.list_topics().topics


def test_a_topic_made_again_while_a_job_runs_is_refused(cluster: Cluster) -> None:
    cluster.make("in-deleted", 20)
    app = cluster.job("deleted")
    with ThreadPoolExecutor() as pool:
        run = pool.submit(app.run, collect=False)
        assert until(lambda: app.metrics()["records_out"] == 20, 30)
        cluster.delete("in-deleted")
        with contextlib.suppress(KafkaException):  # a job that has begun again was quicker
            cluster.make("in-deleted")
        cluster.fill("in-deleted", range(100, 150))
        error = ended(run, 40)[0]
        app.stop()
    assert cluster.numbers("out-deleted") == list(range(20))
    assert isinstance(error, InvalidOperation), error
    assert "deleted" in str(error)
    assert "topic=`in-deleted`" in str(error)


@pytest.mark.parametrize(
    ("name", "way_out"),
    [
        ("passed", "reset"),
        ("passed-stateful", "reset"),
        ("passed-moved", "a tool"),
        ("passed-hint", "the hint"),
    ],
)
def test_records_that_retention_took_are_named(cluster: Cluster, name: str, way_out: str) -> None:
    cluster.make(f"in-{name}", 20)
    stateful = name.endswith("stateful")
    cluster.job(name, stateful=stateful).run(count=20, timeout=20)
    cluster.fill(f"in-{name}", range(20, 40))
    place = TopicPartition(f"in-{name}", 0, 30)
    cluster.admin.delete_records([place])[place].result()
    app = cluster.job(name, stateful=stateful)
    with pytest.raises(InvalidOperation) as caught:
        app.run(count=1, timeout=20)
    for part in [f"`in-{name}`", "partition=`0`", "position=`20`", "start=`30`", "hint: "]:
        assert part in str(caught.value)
    assert cluster.numbers(f"out-{name}") == list(range(20))
    match way_out:
        case "reset":
            app.clear_state()
        case "a tool":
            moved = ConsumerGroupTopicPartitions(name, [place])
            cluster.admin.alter_consumer_group_offsets([moved])[name].result()
        case _:
            command = f"headwater groups reset APPLICATION --to earliest --topic in-{name}"
            assert command in str(caught.value)
            command = command.replace("APPLICATION", name)
            command = f"{sys.executable} -m {command} --yes --broker {cluster.address}"
            subprocess.run(command.split(), check=True)
    assert [row["n"] for row in app.run(count=10, timeout=20)] == list(range(30, 40))


@pytest.mark.parametrize("is_mended", [False, True])
@pytest.mark.parametrize("guarantee", ["exactly-once", "at-least-once"])
def test_a_row_too_large_for_its_topic(cluster: Cluster, guarantee: str, is_mended: bool) -> None:
    name = f"large-{guarantee}-{is_mended}"
    cluster.make(f"in-{name}", 40)
    cluster.make(f"out-{name}")

    def limit(size: int) -> None:
        entry = kafka.ConfigEntry("max.message.bytes", str(size))
        entry.incremental_operation = kafka.AlterConfigOpType.SET
        topic = kafka.ConfigResource("topic", f"out-{name}", incremental_configs=[entry])
        cluster.admin.incremental_alter_configs([topic])[topic].result()

    def run(size: int) -> None:
        app = cluster.application(name, processing_guarantee=guarantee)
        sdf = app.dataframe(f"in-{name}")
        sdf = sdf.apply(lambda row: {**row, "text": os.urandom(size * (row["n"] == 25)).hex()})
        sdf.to_topic(f"out-{name}")
        app.run(count=40, timeout=20)

    limit(20_000)
    for _ in range(2):
        with pytest.raises(InvalidOperation, match=f"out-{name}(.|\n)*hint: .*max.message.bytes"):
            run(50_000)
    if not is_mended:
        limit(1_000_000)
    run(5 if is_mended else 50_000)
    numbers = cluster.numbers(f"out-{name}")
    assert sorted(set(numbers)) == list(range(40))
    assert guarantee == "at-least-once" or len(numbers) == 40


def limit_producers(address: str, client: str, bytes_a_second: float) -> None:
    """Send AlterClientQuotas, which confluent_kafka lacks."""

    def text(value: str) -> bytes:
        return struct.pack(">h", len(value)) + value.encode()

    one = struct.pack(">i", 1)
    change = one + text("producer_byte_rate") + struct.pack(">d?", bytes_a_second, False)
    body = one + one + text("client-id") + text(client) + change + b"\0"
    request = struct.pack(">hhi", 49, 0, 7) + text("test") + body
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        answer = connection.makefile("rb").read(18)
    assert struct.unpack(">iiih", answer[4:]) == (7, 0, 1, 0), answer


def test_a_quota_makes_a_job_slower_and_nothing_else(cluster: Cluster) -> None:
    limit_producers(cluster.address, "slow", 20_000)
    cluster.make("in-quota", 1_100, partitions=2)
    app = cluster.application("quota", producer_extra_config={"client.id": "slow"})
    sdf = app.dataframe("in-quota").apply(lambda row: {**row, "text": os.urandom(100).hex()})
    sdf.to_topic("out-quota")
    since = time.monotonic()
    assert len(app.run(count=1_100, timeout=20)) == 1_100
    assert time.monotonic() - since > 1.5, "the quota was felt"
    assert cluster.numbers("out-quota") == list(range(1_100))


def test_sigterm_commits_what_waits(cluster: Cluster, tmp_path: Path) -> None:
    cluster.make("in-term", 6_000, partitions=2)
    job = tmp_path / "job.py"
    job.write_text(JOB)
    command = [sys.executable, str(job), cluster.address, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "some\n"
        assert cluster.numbers("out-term") == [], "nothing is committed yet"
        process.send_signal(signal.SIGTERM)
        calls = int(process.communicate(timeout=15)[0])
    finally:  # also where the test fails
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert 1_500 <= calls < 6_000
    assert len(cluster.numbers("out-term")) == calls
    cluster.job("term").run(count=6_000 - calls, timeout=20)
    assert cluster.numbers("out-term") == list(range(6_000))


def test_partitions_added_while_a_job_runs_are_read(cluster: Cluster) -> None:
    cluster.make("in-added", 20, partitions=2)
    app = cluster.job("added", auto_offset_reset="latest")
    with ThreadPoolExecutor() as pool:
        run = pool.submit(app.run, count=40, timeout=40)
        assert until(lambda: app.metrics()["phase"] == "running", 30)
        added = kafka.NewPartitions("in-added", 4)
        cluster.admin.create_partitions([added])["in-added"].result()
        cluster.fill("in-added", range(20, 60), 4)
        assert sorted(row["n"] for row in run.result(60)) == list(range(20, 60))
    assert cluster.numbers("out-added") == list(range(20, 60))


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("sasl", InvalidOperation, "SASL"),
        ("ssl", HeadwaterError, "SSL"),
        ("nobody", UnavailableError, ":9"),
    ],
)
def test_a_cluster_that_cannot_be_reached_is_a_clear_error(
    stories: Stories, name: str, kind: type[HeadwaterError], words: str
) -> None:
    error, seconds = stories[name].result(90)
    assert isinstance(error, kind), error
    assert seconds < 60
    assert words in str(error)
    assert "127.0.0.1:" in str(error)
    assert "hush" not in str(error)


def test_a_run_goes_on_when_its_broker_is_back(stories: Stories) -> None:
    story = stories["outage"].result(120)
    assert story["patient"] is None
    assert story["numbers"] == list(range(300))


def test_a_run_without_patience_ends_and_names_its_brokers(stories: Stories) -> None:
    error = stories["outage"].result(120)["impatient"][0]
    assert isinstance(error, UnavailableError), error
    assert "127.0.0.1:" in str(error)

"""What `make bench-kafka` measures: one program in a process of its own.

    python kafka_jobs.py headwater BROKERS JOB [--guarantee G] [--interval SECONDS]
    python kafka_jobs.py plain BROKERS JOB

JOB is pass, filter, count, sum or lambda; Headwater also has restore and relay, the plain
loop relay. Prints a line of JSON.

Headwater's figures are those of a run less those of a second one, which joins and
finds nothing to read: what it costs to start is not what it costs to read a record. The
plain loop (confluent-kafka in batches, orjson) joins no group, and is timed from its first
batch to its last commit. Both are at least once unless told otherwise; the loop's sums and
counts are lost when it ends.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from typing import TYPE_CHECKING, Any

from headwater import Application, Count, Sum

if TYPE_CHECKING:
    from collections.abc import Callable

    from headwater import State

RPM_ABOVE = 12_500
POWER_ABOVE = 3_048_000
WINDOW_MS = 10_000
QUIET = 1.0
COMMIT_SECONDS = 1.0
BATCH = 10_000
STATE_BYTES = 1_000


def define(job: str, app: Application) -> None:
    """Define a job as a user would."""
    sdf = app.dataframe(app.topic("in"))
    if job == "pass":
        pass
    elif job == "filter":
        sdf = sdf[sdf["rpm"] > RPM_ABOVE]
        sdf["speed_kmh"] = sdf["speed"] * 3.6
        sdf = sdf[["ts", "driver", "lap", "speed_kmh"]]
    elif job == "count":
        sdf = sdf.tumbling_window(10**12).agg(n=Count()).current()
    elif job == "sum":
        sdf = sdf.tumbling_window(WINDOW_MS).agg(total=Sum("speed")).final()
    else:
        sdf["power"] = sdf.apply(lambda row: row["speed"] * row["rpm"])
        sdf = sdf[sdf["power"] > POWER_ABOVE]
        sdf = sdf[["ts", "driver", "power"]]
    sdf.to_topic(app.topic(f"out-{job}"))


def application(options: argparse.Namespace, name: str, directory: str) -> Application:
    """Make an application of one worker."""
    return Application(
        options.brokers,
        name=name,
        directory=directory,
        workers=1,
        commit_interval=options.interval,
        processing_guarantee=options.guarantee,
        loglevel="WARNING",
    )


def run_headwater(options: argparse.Namespace) -> dict[str, float]:
    """Run a job over the whole topic, and once more over nothing."""
    name = f"bench-{options.job}-{time.time_ns()}"
    figures = []
    with tempfile.TemporaryDirectory() as directory:
        for _ in range(2):
            app = application(options, name, directory)
            define(options.job, app)
            started, cpu_started = time.perf_counter(), time.process_time()
            app.run(timeout=QUIET, collect=False)
            report = app.last_run
            assert report is not None
            figures.append(
                (
                    time.perf_counter() - started,
                    time.process_time() - cpu_started,
                    report.records_in,
                    report.records_out,
                )
            )
    (seconds, cpu, records, records_out), (idle, idle_cpu, _, _) = figures
    return {
        "records": records,
        "records_out": records_out,
        "seconds": max(seconds - idle, 1e-3),
        "cpu": max(cpu - idle_cpu, 1e-3),
    }


def restore(options: argparse.Namespace) -> dict[str, float]:
    """Fill a state, and time how long the next process waits for it."""

    def run(directory: str, is_empty: bool) -> tuple[float, int]:
        def keep(row: dict[str, Any], state: State) -> dict[str, Any]:
            # A number at the front keeps it from being the same text for all.
            if not is_empty:
                state.set("kept", f"{row['n']:010}".ljust(STATE_BYTES, "."))
            return {"n": row["n"]}

        name = "bench-restore-empty" if is_empty else "bench-restore"
        app = application(options, name, directory)
        app.dataframe(app.topic("keys")).apply(keep, stateful=True).to_topic(app.topic("kept"))
        started = time.perf_counter()
        app.run(timeout=QUIET, collect=False)
        report = app.last_run
        assert report is not None
        return time.perf_counter() - started, report.records_in

    seconds = []
    records = 0
    # The first fills, the second restores; an empty one says what a start costs.
    for is_empty in (False, False, True, True):
        with tempfile.TemporaryDirectory() as directory:
            took, count = run(directory, is_empty)
            seconds.append(took)
            records = max(records, count)
    megabytes = records * STATE_BYTES / 1e6
    took = max(seconds[1] - seconds[3], 1e-3)
    return {"megabytes": megabytes, "seconds": took, "mb_per_second": megabytes / took}


def relay_headwater(options: argparse.Namespace) -> None:
    """Pass records on until told to stop."""
    with tempfile.TemporaryDirectory() as directory:
        app = application(options, f"bench-relay-{time.time_ns()}", directory)
        app.dataframe(app.topic("fresh")).to_topic(app.topic("fresh-out"))
        app.run(collect=False)


# -- the plain loop -----------------------------------------------------------


def consumer(options: argparse.Namespace, topic: str) -> Any:
    """Make a consumer of all partitions of a topic."""
    from confluent_kafka import Consumer, TopicPartition

    made = Consumer(
        {
            "bootstrap.servers": options.brokers,
            "group.id": f"plain-{time.time_ns()}",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            # Without it a full queue stops a partition for a second.
            "fetch.queue.backoff.ms": 1,
        }
    )
    count = len(made.list_topics(topic, 10).topics[topic].partitions)
    made.assign([TopicPartition(topic, partition, 0) for partition in range(count)])
    return made


def producer(options: argparse.Namespace) -> Any:
    """Make a producer that repeats nothing."""
    from confluent_kafka import Producer

    return Producer(
        {
            "bootstrap.servers": options.brokers,
            "enable.idempotence": True,
            "linger.ms": 5,
            "queue.buffering.max.messages": 1_000_000,
        }
    )


def plain_job(job: str, send: Callable[..., None]) -> Callable[[Any], None]:
    """Return what the loop does with a message."""
    from orjson import dumps, loads

    def take_pass(message: Any) -> None:
        send(message.value(), message.key(), message.partition(), message.timestamp()[1])

    def take_filter(message: Any) -> None:
        row = loads(message.value())
        if row["rpm"] > RPM_ABOVE:
            kept = {
                "ts": row["ts"],
                "driver": row["driver"],
                "lap": row["lap"],
                "speed_kmh": row["speed"] * 3.6,
            }
            send(dumps(kept), message.key(), message.partition(), message.timestamp()[1])

    counts: dict[bytes, int] = {}

    def take_count(message: Any) -> None:
        key = message.key()
        loads(message.value())
        counts[key] = n = counts.get(key, 0) + 1
        send(dumps({"n": n}), key, message.partition(), message.timestamp()[1])

    sums: dict[bytes, list[float]] = {}

    def take_sum(message: Any) -> None:
        key, timestamp = message.key(), message.timestamp()[1]
        speed = loads(message.value())["speed"]
        start = timestamp - timestamp % WINDOW_MS
        held = sums.get(key)
        if held is None:
            sums[key] = [start, speed]
        elif held[0] == start:
            held[1] += speed
        else:
            result = {"start": held[0], "end": held[0] + WINDOW_MS, "total": held[1]}
            send(dumps(result), key, message.partition(), int(held[0]))
            held[0] = start
            held[1] = speed

    power = lambda row: row["speed"] * row["rpm"]  # noqa: E731

    def take_lambda(message: Any) -> None:
        row = loads(message.value())
        value = power(row)
        if value > POWER_ABOVE:
            kept = {"ts": row["ts"], "driver": row["driver"], "power": value}
            send(dumps(kept), message.key(), message.partition(), message.timestamp()[1])

    takes = {
        "pass": take_pass,
        "filter": take_filter,
        "count": take_count,
        "sum": take_sum,
        "lambda": take_lambda,
    }
    return takes[job]


def sender(client: Any, topic: str) -> Callable[..., None]:
    """Return what queues a record, waiting while the queue is full."""

    def send(value: bytes, key: bytes, partition: int, timestamp: int) -> None:
        while True:
            try:
                client.produce(topic, value, key, partition, timestamp=timestamp)
            except BufferError:
                client.poll(0.01)
            else:
                return

    return send


def run_plain(options: argparse.Namespace) -> dict[str, float]:
    """Run the loop to the end of the topic."""
    reader, writer = consumer(options, "in"), producer(options)
    sent = 0
    queue = sender(writer, f"plain-out-{options.job}")

    def send(*record: Any) -> None:
        nonlocal sent
        sent += 1
        queue(*record)

    take = plain_job(options.job, send)
    partitions = len(reader.assignment())
    ended: set[int] = set()
    records = 0
    started = cpu_started = committed_at = 0.0
    while len(ended) < partitions:
        # It waits so long for a full batch, also for the last.
        messages = reader.consume(BATCH, 0.05)
        if not records:
            started, cpu_started = time.perf_counter(), time.process_time()
            committed_at = started
        for message in messages:
            if message.error() is not None:
                ended.add(message.partition())
                continue
            records += 1
            take(message)
        writer.poll(0)
        if committed_at + COMMIT_SECONDS < time.perf_counter() or len(ended) == partitions:
            writer.flush()
            reader.commit(offsets=reader.position(reader.assignment()), asynchronous=False)
            committed_at = time.perf_counter()
    return {
        "records": records,
        "records_out": sent,
        "seconds": time.perf_counter() - started,
        "cpu": time.process_time() - cpu_started,
    }


def relay_plain(options: argparse.Namespace) -> None:
    """Pass records on until killed."""
    reader, writer = consumer(options, "fresh"), producer(options)
    send = sender(writer, "fresh-out")
    committed_at = time.perf_counter()
    while True:
        for message in reader.consume(BATCH, 0.005):
            if message.error() is None:
                send(message.value(), message.key(), message.partition(), message.timestamp()[1])
        writer.poll(0)
        if committed_at + COMMIT_SECONDS < time.perf_counter():
            writer.flush()
            reader.commit(offsets=reader.position(reader.assignment()), asynchronous=True)
            committed_at = time.perf_counter()


def main() -> None:
    """Run the program that the command line names, and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", choices=["headwater", "plain"])
    parser.add_argument("brokers")
    parser.add_argument("job")
    parser.add_argument("--guarantee", default="at-least-once")
    parser.add_argument("--interval", type=float)
    options = parser.parse_args()
    result: dict[str, float]
    match options.program, options.job:
        case "headwater", "relay":
            return relay_headwater(options)
        case "plain", "relay":
            return relay_plain(options)
        case "headwater", "restore":
            result = restore(options)
        case "headwater", _:
            result = run_headwater(options)
        case _:
            result = run_plain(options)
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({**result, "peak_mb": peak_kb / 1024}))
    return None


if __name__ == "__main__":
    main()

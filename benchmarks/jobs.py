"""Headwater's side: one job in a process of its own, as a user would write it.

    python jobs.py filter|sum|lambda DIRECTORY [COMMIT_INTERVAL]
    python jobs.py produce DIRECTORY RECORDS
    python jobs.py latency DIRECTORY RECORDS
    python jobs.py latency-producer DIRECTORY RECORDS

A run ends when nothing has come for a while, which is not counted.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from headwater import Application
from headwater.dataframe.windows import Sum

QUIET = 0.5
RPM_ABOVE = 12_500
POWER_ABOVE = 3_048_000
WINDOW_MS = 500_000


def define(job: str, app: Application) -> None:
    """Define a job."""
    sdf = app.dataframe(app.topic("telemetry"))
    if job == "filter":
        sdf = sdf[sdf["rpm"] > RPM_ABOVE]
        sdf["speed_kmh"] = sdf["speed"] * 3.6
        sdf[["ts", "driver", "lap", "speed_kmh"]].to_topic(app.topic("fast"))
    elif job == "sum":
        window = sdf.tumbling_window(WINDOW_MS).agg(total=Sum("speed"))
        window.final().to_topic(app.topic("totals"))
    else:
        sdf["power"] = sdf.apply(lambda row: row["speed"] * row["rpm"])
        sdf = sdf[sdf["power"] > POWER_ABOVE]
        sdf[["ts", "driver", "power"]].to_topic(app.topic("strong"))


def pipeline(job: str, directory: Path, commit_interval: float | None) -> dict[str, float]:
    """Run a job from the topic's first record to its last."""
    name = f"bench-{job}-{time.time_ns()}"
    app = Application(
        name=name,
        directory=directory,
        workers=1,
        commit_interval=commit_interval,
        loglevel="WARNING",
    )
    define(job, app)
    started, cpu_started = time.perf_counter(), time.process_time()
    app.run(timeout=QUIET, collect=False)
    seconds = time.perf_counter() - started - QUIET
    report = app.last_run
    assert report is not None
    return {
        "records": report.records_in,
        "records_out": report.records_out,
        "seconds": seconds,
        "cpu": time.process_time() - cpu_started,
    }


def produce(directory: Path, records: int) -> dict[str, float]:
    """Write records of 220 bytes, one call each."""
    app = Application(name="bench-produce", directory=directory, loglevel="WARNING")
    value = b'{"device":"device-7","text":"' + b"x" * 181 + b'"}'
    key = b"device-7"
    started, cpu_started = time.perf_counter(), time.process_time()
    with app.get_producer() as producer:
        send = producer.produce
        for timestamp in range(1_729_850_000_000, 1_729_850_000_000 + records):
            send("produced", value, key, timestamp=timestamp)
    seconds = time.perf_counter() - started
    cpu = time.process_time() - cpu_started
    return {
        "records": records,
        "bytes": len(key) + len(value),
        "seconds": seconds,
        "cpu": cpu,
    }


def latency(directory: Path, records: int) -> dict[str, float]:
    """From `produce` in another process to a function of the pipeline, on an idle machine."""
    app = Application(name=f"bench-latency-{time.time_ns()}", directory=directory, loglevel=None)
    taken: list[int] = []

    def take(row: dict[str, int]) -> None:
        taken.append(time.time_ns() - row["sent"])
        if len(taken) == records:
            app.stop()

    app.dataframe(app.topic(f"latency-{time.time_ns()}")).update(take)
    topic = next(iter(app._topics))
    arguments = [sys.executable, __file__, "latency-producer", str(directory), str(records), topic]
    producer = subprocess.Popen(arguments)
    app.run()
    producer.wait()
    taken.sort()
    at = lambda share: taken[int(len(taken) * share)] / 1e6  # noqa: E731
    return {"records": len(taken), "p50_ms": at(0.5), "p99_ms": at(0.99)}


def latency_producer(directory: Path, records: int, topic: str) -> None:
    """Send a record now and then."""
    app = Application(name="bench-latency-producer", directory=directory, loglevel=None)
    with app.get_producer() as producer:
        time.sleep(1)
        for number in range(records):
            # Steps that do not fall in with those of the reader.
            time.sleep(0.010 + number * 37 % 4_000 / 1e6)
            producer.produce(topic, {"sent": time.time_ns()}, b"key")


def main() -> None:
    """Run the job that the command line names, and print its figures."""
    job, directory, rest = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    if job == "produce":
        result = produce(directory, int(rest[0]))
    elif job == "latency":
        result = latency(directory, int(rest[0]))
    elif job == "latency-producer":
        latency_producer(directory, int(rest[0]), rest[1])
        return
    else:
        result = pipeline(job, directory, float(rest[0]) if rest else None)
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({**result, "peak_mb": peak_kb / 1024}))


if __name__ == "__main__":
    main()

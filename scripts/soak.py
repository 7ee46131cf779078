"""Run a job at half of its maximum rate for a long time and say what it keeps.

    python scripts/soak.py [--minutes 45] [--directory DIR] [--rate RECORDS]

Keys come and go for ever, state has a time to live, windows close, retention deletes
what is old. Every second the job's resident memory, descriptors and threads and the
bytes of its directory are written down. The verdict is over the last two thirds: the
slope of the memory with its 95 % interval must stay below 5 MiB an hour, and
descriptors, threads and disk must be flat.

    this program ──starts──▶ producer (a process) ──▶ log ──▶ job (a process)
                 └─ samples /proc of the job once a second
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import headwater as hw

SLOPE_MAX = 5.0  # MiB/h
PARTITIONS = 2
LIVE_KEYS = 20_000
# Event time runs so much faster than the clock: windows close and keys are forgotten
# after seconds, and 45 minutes of the soak are twelve days.
FASTER = 400
PROBE_SECONDS = 10
# Samples of neighbouring seconds hang together, so the interval is that of means of half
# minutes; of a short run, of a dozen means.
BLOCK = 30
BLOCKS_MIN = 12


@dataclass
class Sample:
    """One look at the job."""

    second: float
    rss: int
    descriptors: int
    threads: int
    disk: int


def topic_config() -> hw.TopicConfig:
    """Keep a minute: more than the job is behind, and the disk stays small."""
    return hw.TopicConfig(num_partitions=PARTITIONS, extra_config={"retention.ms": "60000"})


def produce(directory: Path, rate: float, seconds: float) -> None:
    """Write records at a rate, or as fast as it goes."""
    app = hw.Application(name="soak-producer", directory=directory, loglevel=None)
    topic = app.topic("in", config=topic_config())
    began = time.monotonic()
    start_ms = int(time.time() * 1000) - 365 * 86_400_000
    sent = 0
    with app.get_producer() as producer:
        while (now := time.monotonic() - began) < seconds:
            due = int(now * rate) if rate else sent + 1000
            at = start_ms + int(now * 1000 * FASTER)
            for number in range(sent, due):
                # Keys move on: each lives for a while and never comes back.
                key = f"key-{number // 50 + number * 7919 % LIVE_KEYS}"
                value = {"n": number, "x": number % 1000 / 8, "text": "x" * 100}
                producer.produce(topic.name, value, key, timestamp=at)
            sent = max(sent, due)
            producer.flush()
            time.sleep(0 if not rate else 0.02)
    print(sent)


def job(directory: Path, timeout: float | None) -> None:
    """Count by key with a time to live, sum in windows; until stopped, or all is read."""
    app = hw.Application(
        name="soak",
        directory=directory,
        loglevel="WARNING",
        idle_timeout=None,
        max_future=timedelta(hours=1),
    )
    sdf = app.dataframe(app.topic("in", config=topic_config()))

    def count(row: dict[str, Any], state: hw.State) -> dict[str, Any]:
        number = state.get("count", 0) + 1
        state.set("count", number, ttl=timedelta(minutes=10))
        return {**row, "count": number}

    sdf = sdf.apply(count, stateful=True)
    window = sdf.hopping_window(
        timedelta(minutes=10),
        timedelta(minutes=5),
        key_timeout=timedelta(minutes=15),
        key_retention=timedelta(hours=2),
    )
    totals = window.agg(total=hw.Sum("x"), n=hw.Count(), last=hw.Last("count")).final()
    totals.to_topic(app.topic("out", config=topic_config()))
    print("running", flush=True)
    began = time.monotonic()
    app.run(timeout=timeout, collect=False)
    seconds = time.monotonic() - began - (timeout or 0)
    assert app.last_run is not None
    print(app.last_run.records_in / seconds)


def sample(pid: int, directory: Path, began: float) -> Sample:
    """Look at the job."""
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    disk = 0
    for path in directory.rglob("*"):
        try:
            disk += path.stat().st_blocks * 512
        except FileNotFoundError:
            continue
    return Sample(
        second=time.monotonic() - began,
        rss=int(status["VmRSS"].split()[0]) * 1024,
        descriptors=len(os.listdir(f"/proc/{pid}/fd")),
        threads=int(status["Threads"]),
        disk=disk,
    )


def slope(points: list[tuple[float, float]]) -> tuple[float, float, float]:
    """Return the slope an hour and its 95 % interval, from means of blocks."""
    length = max(1, min(BLOCK, len(points) // BLOCKS_MIN))
    blocks = [points[at : at + length] for at in range(0, len(points) - length + 1, length)]
    xs = [statistics.fmean(x for x, _ in block) / 3600 for block in blocks]
    ys = [statistics.fmean(y for _, y in block) for block in blocks]
    if len(xs) < 3:
        return math.nan, -math.inf, math.inf
    line = statistics.linear_regression(xs, ys)
    middle = statistics.fmean(xs)
    spread = sum((x - middle) ** 2 for x in xs)
    errors = [y - line.slope * x - line.intercept for x, y in zip(xs, ys, strict=True)]
    deviation = math.sqrt(sum(error**2 for error in errors) / (len(xs) - 2) / spread)
    # Student's t for 95 %: close enough from a dozen blocks on.
    t = 1.96 + 2.5 / (len(xs) - 2)
    return line.slope, line.slope - t * deviation, line.slope + t * deviation


def start(what: str, *arguments: object) -> subprocess.Popen[str]:
    """Start this program as another part of itself."""
    command = [sys.executable, __file__, what, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def maximum_rate(folder: Path) -> float:
    """Return the records a second that the job gets through when all are there."""
    directory = folder / "probe"
    start("produce", directory, 0, PROBE_SECONDS).communicate()
    said, _ = start("job", directory, 2).communicate()
    return float(said.split()[-1])


def judge(samples: list[Sample]) -> tuple[list[str], bool]:
    """Return what the last two thirds say, and whether it is good."""
    kept = [one for one in samples if one.second > samples[-1].second / 3]
    mib = 1024.0 * 1024.0
    memory, low, high = slope([(one.second, one.rss / mib) for one in kept])
    disk, disk_low, _ = slope([(one.second, one.disk / mib) for one in kept])
    descriptors = [one.descriptors for one in kept]
    threads = [one.threads for one in kept]
    half = len(kept) // 2
    is_flat = (
        max(descriptors[half:]) <= max(descriptors[:half])
        and max(threads[half:]) <= max(threads[:half])
        # Disk moves as files are reused; it is flat if it is not surely growing.
        and disk_low < SLOPE_MAX * 10
    )
    lines = [
        f"memory {memory:+.2f} MiB/h, 95 % [{low:+.2f}, {high:+.2f}]; "
        f"{kept[0].rss / mib:.0f} to {kept[-1].rss / mib:.0f} MiB",
        f"disk {disk:+.1f} MiB/h, {kept[0].disk / mib:.0f} to {kept[-1].disk / mib:.0f} MiB",
        f"descriptors {min(descriptors)} to {max(descriptors)}, "
        f"threads {min(threads)} to {max(threads)}",
    ]
    return lines, is_flat and high < SLOPE_MAX


def soak(minutes: float, folder: Path, rate: float) -> int:
    """Run the soak; 0 if everything was flat."""
    most = maximum_rate(folder) if not rate else 2 * rate
    rate = rate or most / 2
    print(f"soak: {most:,.0f} records/s at most, soaking at {rate:,.0f}", flush=True)
    directory = folder / "soak"
    worker = start("job", directory, 0)
    assert worker.stdout is not None
    worker.stdout.readline()
    producer = start("produce", directory, rate, minutes * 60)
    samples: list[Sample] = []
    began = time.monotonic()
    with (folder / "samples.jsonl").open("w") as file:
        while producer.poll() is None:
            if worker.poll() is not None:
                producer.kill()
                sys.exit(f"soak: the job ended with {worker.returncode}")
            samples.append(sample(worker.pid, directory, began))
            print(json.dumps(asdict(samples[-1])), file=file, flush=True)
            time.sleep(1)
    sent = int(producer.communicate()[0])
    worker.terminate()
    worker.communicate(timeout=30)
    lines, is_good = judge(samples)
    print("\n".join(lines))
    print(f"soak: {'flat' if is_good else 'NOT FLAT'} over {minutes:g} minutes, {sent:,} records")
    print(
        f"trust: what=soak count={round(minutes)} records={sent} faults=0 "
        f"failures={int(not is_good)} note={lines[0].split(';')[0].replace(' ', '_')}"
    )
    return 0 if is_good else 1


def main() -> int:
    """Run the part that the arguments name."""
    match sys.argv[1:]:
        case ["produce", directory, rate, seconds]:
            produce(Path(directory), float(rate), float(seconds))
            return 0
        case ["job", directory, timeout]:
            job(Path(directory), float(timeout) or None)
            return 0
    parser = argparse.ArgumentParser(description="Run a job for long; say what it keeps.")
    parser.add_argument("--minutes", type=float, default=45)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--rate", type=float, default=0, help="0 is half of the maximum")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headwater-soak-") as folder:
        directory = arguments.directory or Path(folder)
        directory.mkdir(parents=True, exist_ok=True)
        return soak(arguments.minutes, directory, arguments.rate)


if __name__ == "__main__":
    sys.exit(main())

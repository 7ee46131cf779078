"""`make bench-kafka`: Headwater beside hand-written loops on the same broker, in one run.

    python benchmarks/kafka.py [--rounds 2] [--records 2000000] [--state 1000000]

The broker runs on one core and each program alone on another. Prints Markdown tables and
keeps nothing. Every figure is the median of its rounds, in which programs take turns; the
figure to go by is the ratio within this run. `kafka_jobs.py` says what the programs do, the
plain Rust loop is an example of the crate `log`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from run import introduce_machine

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PARTITIONS = 4
KEYS = 5_000
# A record every so often, one after the other over all keys.
STEP_MS = 1
FRESH_PER_SECOND = 10_000
FRESH_SECONDS = 15
NAMES = {
    "pass": "pass-through",
    "filter": "filter (10 % kept), assign, project",
    "count": "running count by 5,000 keys",
    "sum": "tumbling sum of 10 s",
    "lambda": "lambda of two fields, filter (10 % kept)",
}
TARGETS = {
    "pass": "client CPU within 10 % of the Rust loop",
    "filter": "2 M records/s; 2.5 x the loop",
    "count": "2 x the loop",
    "sum": "2 x the loop",
    "lambda": "ahead of the loop",
}
# A new topic has no leader for a moment, and a client need not tell.
CLIENT = {"log_level": 0}
JVM = "-Xms1g -Xmx1g -XX:+UseSerialGC"


@dataclass
class Program:
    """One program, and what it gave in each round."""

    name: str
    command: list[str]
    results: list[dict[str, float]] = field(default_factory=list)

    def run(self) -> None:
        """Run it and keep its figures."""
        process = subprocess.Popen(self.command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{' '.join(self.command)} failed")
        result = json.loads(output.decode().strip().splitlines()[-1])
        result.setdefault("cpu", usage.ru_utime + usage.ru_stime)
        self.results.append(result)

    def median(self, name: str) -> float:
        """Take the median of a figure."""
        return statistics.median(result[name] for result in self.results)

    def rate(self, by: str = "seconds") -> float:
        """Thousands of records in a second; by `cpu`, of processor time."""
        return statistics.median(
            result["records"] / max(result[by], 1e-9) / 1e3 for result in self.results
        )


@contextlib.contextmanager
def broker(cpu: int, others: int) -> Iterator[str]:
    """Run a broker on one core, and whatever comes then on another; give its address."""
    os.sched_setaffinity(0, {cpu})
    script = subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / "kafka"), "run"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "HEADWATER_KAFKA_JVM": JVM},
    )
    os.sched_setaffinity(0, {others})
    assert script.stdout is not None
    try:
        words = script.stdout.readline().split()
        if words[:1] != ["ready"]:
            sys.exit("no broker could be started; the reason stands above")
        yield words[1]
    finally:
        script.communicate()


def create(brokers: str, *names: str) -> None:
    """Make topics."""
    admin = AdminClient({**CLIENT, "bootstrap.servers": brokers})
    topics = [NewTopic(name, num_partitions=PARTITIONS, replication_factor=1) for name in names]
    for made in admin.create_topics(topics).values():
        made.result(30)


def fill(brokers: str, records: int) -> int:
    """Write the input; return the mean size of a value."""
    chance = random.Random(42)
    first_ms = int(time.time() * 1_000) - 86_400_000 // 2
    size = 0
    writer = Producer(
        {**CLIENT, "bootstrap.servers": brokers, "linger.ms": 50, "compression.type": "none"}
    )
    for number in range(records):
        driver = number * 7919 % KEYS
        timestamp = first_ms + number * STEP_MS
        value = (
            f'{{"ts":{timestamp},"driver":"driver-{driver}","lap":{number % 70},'
            f'"speed":{chance.random() * 330:.1f},"rpm":{5_000 + chance.randrange(8_334)},'
            f'"gear":{number % 8 + 1},"throttle":0.{number % 100},"brake":0,'
            f'"lat":48.{number % 99_991},"lon":11.{number % 99_989},"drs":false,'
            '"status":"on_the_track","tyre":{"fl":91.2,"fr":90.8},"note":null}'
        ).encode()
        size += len(value)
        while True:
            try:
                writer.produce(
                    "in", value, b"driver-%d" % driver, driver % PARTITIONS, timestamp=timestamp
                )
            except BufferError:
                writer.poll(0.05)
            else:
                break
    writer.flush()
    return size // max(records, 1)


def fill_keys(brokers: str, records: int) -> None:
    """Write what the state of the restore is made of."""
    writer = Producer({**CLIENT, "bootstrap.servers": brokers, "linger.ms": 50})
    for number in range(records):
        while True:
            try:
                writer.produce("keys", b'{"n":%d}' % number, b"key-%d" % number)
            except BufferError:
                writer.poll(0.05)
            else:
                break
    writer.flush()


def job(program: str, brokers: str, name: str, *options: str) -> list[str]:
    """Return the command that runs a program of `kafka_jobs.py`."""
    return [sys.executable, str(HERE / "kafka_jobs.py"), program, brokers, name, *options]


def build_loop() -> Path:
    """Build the plain Rust loop."""
    build = ["cargo", "build", "--release", "--quiet", "--package", "headwater-log"]
    subprocess.run([*build, "--example", "kafka_loop"], cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "release" / "examples" / "kafka_loop"


def take_turns(programs: list[Program], rounds: int, what: str) -> None:
    """Run all of them, round by round."""
    for number in range(rounds):
        print(f"{what}: round {number + 1} of {rounds}", file=sys.stderr)
        for program in programs:
            program.run()


def show_jobs(brokers: str, loop: Path, rounds: int) -> None:
    """Measure and print the jobs beside the loops."""
    print("\n| Job | Program | k records/s | ratio | k/CPU s | ratio | target |")
    print("|---|---|---|---|---|---|---|")
    for name, title in NAMES.items():
        programs = [
            Program("Headwater", job("headwater", brokers, name)),
            Program("Python loop by hand", job("plain", brokers, name)),
        ]
        if name == "pass":
            command = [str(loop), brokers, "in", "loop-out"]
            programs.append(Program("Rust loop by hand", command))
        take_turns(programs, rounds, name)
        ours = programs[0]
        for program in programs:
            ratios = ["", ""]
            if program is not ours:
                ratios = [f"{ours.rate(by) / program.rate(by):.2f} x" for by in ("seconds", "cpu")]
            target = TARGETS[name] if program is ours else ""
            print(
                f"| {title} | {program.name} | {program.rate():,.0f} | {ratios[0]} "
                f"| {program.rate('cpu'):,.0f} | {ratios[1]} | {target} |",
                flush=True,
            )


def show_commits(brokers: str, rounds: int) -> None:
    """Measure and print what commits cost under exactly-once."""
    programs = [Program("at least once, 1 s", job("headwater", brokers, "pass"))]
    for interval in ("0.1", "1", "5"):
        options = ("--guarantee", "exactly-once", "--interval", interval)
        command = job("headwater", brokers, "pass", *options)
        programs.append(Program(f"exactly once, {interval} s", command))
    take_turns(programs, rounds, "commits")
    print("\n| Pass-through, commit every | k records/s | CPU ns a record | against the first |")
    print("|---|---|---|---|")
    first = 1e6 / programs[0].rate("cpu")
    for program in programs:
        cost = 1e6 / program.rate("cpu")
        print(f"| {program.name} | {program.rate():,.0f} | {cost:,.0f} | {cost / first:.2f} x |")


def show_restore(brokers: str, records: int) -> None:
    """Measure and print the restore of a state."""
    fill_keys(brokers, records)
    program = Program("restore", job("headwater", brokers, "restore"))
    take_turns([program], 1, "restore")
    print("\n| Restore | seconds | MB/s | peak MB | target |\n|---|---|---|---|---|")
    print(
        f"| {program.median('megabytes'):,.0f} MB of {records:,} keys | "
        f"{program.median('seconds'):.1f} | {program.median('mb_per_second'):,.0f} | "
        f"{program.median('peak_mb'):,.0f} | 50 MB/s |",
        flush=True,
    )


def show_latency(brokers: str) -> None:
    """Measure and print how long a fresh record takes to the output topic."""
    print("\n| A fresh record to the output topic | records | p50 ms | p99 ms | max ms | target |")
    print("|---|---|---|---|---|---|")
    # A broker whose code has not been compiled yet is slow to whoever comes first.
    programs = [("warm-up", "plain"), ("Headwater", "headwater"), ("Python loop by hand", "plain")]
    for name, program in programs:
        print(f"latency: {name}", file=sys.stderr)
        relay = subprocess.Popen(job(program, brokers, "relay"))
        try:
            taken = sorted(latencies(brokers))
        finally:
            relay.send_signal(signal.SIGKILL)
            relay.wait()
        if name == "warm-up":
            continue
        at = {share: taken[min(int(len(taken) * share), len(taken) - 1)] for share in (0.5, 0.99)}
        target = "p99 below 20 ms" if program == "headwater" else ""
        print(
            f"| {name} | {len(taken):,} | {at[0.5]:.1f} | {at[0.99]:.1f} | {taken[-1]:.1f} "
            f"| {target} |",
            flush=True,
        )


def latencies(brokers: str) -> list[float]:
    """Send records at a rate, and read them where they come out; milliseconds."""
    reader = Consumer(
        {
            **CLIENT,
            "bootstrap.servers": brokers,
            "group.id": f"latency-{time.time_ns()}",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 5,
        }
    )
    places = [TopicPartition("fresh-out", partition) for partition in range(PARTITIONS)]
    for place in places:
        place.offset = reader.get_watermark_offsets(place, 10)[1]
    reader.assign(places)
    is_over = threading.Event()
    taken: list[float] = []

    def read() -> None:
        while not is_over.is_set():
            for message in reader.consume(1_000, 0.01):
                if message.error() is None:
                    taken.append((time.time_ns() - int(message.value()[8:-1])) / 1e6)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    writer = Producer({**CLIENT, "bootstrap.servers": brokers, "linger.ms": 1})
    # Until the relay has begun, and then a while in which it settles.
    while not taken:
        writer.produce("fresh", b'{"sent":%d}' % time.time_ns(), b"key")
        writer.poll(0.1)
    send_for(writer, 3)
    warm = len(taken)
    send_for(writer, FRESH_SECONDS)
    time.sleep(1)
    is_over.set()
    thread.join()
    reader.close()
    return taken[warm:]


def send_for(writer: Producer, seconds: float) -> None:
    """Send records at the rate for so long."""
    started = time.perf_counter()
    sent = 0
    while (elapsed := time.perf_counter() - started) < seconds:
        while sent < elapsed * FRESH_PER_SECOND:
            value = b'{"sent":%d}' % time.time_ns()
            with contextlib.suppress(BufferError):
                # One that finds no room is not sent, and has no latency.
                writer.produce("fresh", value, b"key-%d" % (sent % KEYS))
            sent += 1
        writer.poll(0)
        time.sleep(0.001)
    writer.flush()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--records", type=int, default=2_000_000)
    parser.add_argument("--state", type=int, default=1_000_000, help="keys of 1,000 bytes")
    parser.add_argument("--only", nargs="*", choices=["jobs", "commits", "restore", "latency"])
    options = parser.parse_args()
    wanted = options.only or ["jobs", "commits", "restore", "latency"]
    cores = sorted(os.sched_getaffinity(0))
    loop = build_loop()
    outputs = [f"{prefix}-{name}" for prefix in ("out", "plain-out") for name in NAMES]
    with broker(cores[0], cores[-1]) as brokers:
        create(brokers, "in", "keys", "fresh", "fresh-out", "loop-out", "kept", *outputs)
        started = time.perf_counter()
        size = fill(brokers, options.records)
        print(introduce_machine())
        print(
            f"{options.records:,} records of {size} bytes in {PARTITIONS} partitions, "
            f"{options.rounds} rounds, medians; written in {time.perf_counter() - started:.0f} s"
        )
        if "jobs" in wanted:
            show_jobs(brokers, loop, options.rounds)
        if "commits" in wanted:
            show_commits(brokers, options.rounds)
        if "restore" in wanted:
            show_restore(brokers, options.state)
        if "latency" in wanted:
            show_latency(brokers)
    print(f"\nload of the machine at the end: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()

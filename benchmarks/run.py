"""`make bench`: Headwater beside what else does the same job, on one core, in one run.

    python benchmarks/run.py [--rounds 3] [--records 3000000] [--directory DIR] [--cpu N]

Prints a table and keeps nothing. Programs take turns within a round and every figure
is the median of the rounds, so that a machine that is busy or slows down touches all
of them alike. The figure to go by is the ratio within this run.

    generate ─▶ log (and rows.tsv, its first rows)
                ├─ jobs.py             Headwater, the embedded log and its commits included
                ├─ bench_pipeline      a hand-written Rust loop over the same log
    rows.tsv ───┼─ plain.py            a hand-written Python loop with orjson, no log
                └─ quix.py             Quix Streams, no broker
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RIVALS = ROOT / ".venv-bench"
REQUIREMENTS = ["quixstreams==3.28.*", "orjson==3.13.*"]
# Quix Streams is slow: as many rows as take it a few seconds.
QUIX_ROWS = {"filter": 200_000, "sum": 100_000, "lambda": 200_000}
PLAIN_ROWS = 1_000_000
LATENCY_RECORDS = 400
TARGETS = {
    "filter": "1.5 M records/s or 0.6 of the Rust loop; 10 x Quix; 2.5 x orjson; below 200 MB",
    "sum": "1 M records/s; 10 x Quix; ahead of orjson",
    "lambda": "0.7 M records/s; 5 x Quix; ahead of orjson",
}
NAMES = {
    "filter": "filter (10 % kept), assign, project, write",
    "sum": "tumbling sum over 100,000 keys, final",
    "lambda": "lambda of two fields, filter (10 % kept), write",
}


@dataclass
class Program:
    """One program for one job, and what it gave in each round."""

    name: str
    command: list[str]
    results: list[dict[str, float]] = field(default_factory=list)

    def run(self) -> None:
        """Run it and keep its figures."""
        environment = {**os.environ, "PYTHONWARNINGS": "ignore", "PYTHONHASHSEED": "0"}
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                self.command, stdout=subprocess.PIPE, stderr=errors, env=environment
            )
            assert process.stdout is not None
            output = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                errors.seek(0)
                sys.exit(f"{' '.join(self.command)} failed:\n{errors.read().decode()}")
        result = json.loads(output.decode().strip().splitlines()[-1])
        result.setdefault("cpu", usage.ru_utime + usage.ru_stime)
        result.setdefault("peak_mb", usage.ru_maxrss / 1024)
        self.results.append(result)

    def median(self, name: str) -> float:
        """Take the median of a figure."""
        return statistics.median(result[name] for result in self.results)

    def rate(self, by: str = "seconds") -> float:
        """Millions of records in a second; by `cpu`, of processor time."""
        return statistics.median(
            result["records"] / max(result[by], 1e-9) / 1e6 for result in self.results
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--records", type=int, default=3_000_000)
    parser.add_argument("--directory", type=Path, help="of the log; a new one if left out")
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--jobs", nargs="*", default=list(NAMES), choices=list(NAMES))
    options = parser.parse_args()
    rust, rival = set_up()
    os.sched_setaffinity(0, {options.cpu})
    directory = options.directory or Path(tempfile.mkdtemp(prefix="headwater-bench-"))
    try:
        introduce(options, directory)
        rows = generate(rust, directory, options.records)
        jobs = {job: programs(job, rust, rival, directory, rows) for job in options.jobs}
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
            for job in jobs.values():
                for program in job:
                    program.run()
        for job, of_job in jobs.items():
            show(job, of_job)
        show_producer(directory, options.rounds)
        print(f"\nload of the machine at the end: {os.getloadavg()[0]:.1f}")
    finally:
        if options.directory is None:
            shutil.rmtree(directory, ignore_errors=True)


def set_up() -> tuple[Path, Path]:
    """Build the Rust program, and the environment of the rivals."""
    build = ["cargo", "build", "--release", "--quiet", "--package", "headwater"]
    subprocess.run([*build, "--example", "bench_pipeline"], cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    python = RIVALS / "bin" / "python"
    ready = RIVALS / ".ready"
    if not ready.exists():
        subprocess.run([sys.executable, "-m", "venv", str(RIVALS)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *REQUIREMENTS], check=True)
        ready.touch()
    return target / "release" / "examples" / "bench_pipeline", python


def introduce_machine() -> str:
    """Say when and where something is measured."""
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
    )
    return (
        f"{time.strftime('%Y-%m-%d')}, commit {git.stdout.strip() or 'unknown'}\n"
        f"{processor()}, {os.cpu_count()} cores, pinned to one; Python {platform.python_version()}"
    )


def introduce(options: argparse.Namespace, directory: Path) -> None:
    """Say what is measured, and where."""
    sync = sync_times(directory)
    print(introduce_machine())
    print(f"{options.records:,} records, {options.rounds} rounds, medians")
    print(f"sync of 4 KB: p50 {sync[len(sync) // 2]:.2f} ms, p99 {sync[-len(sync) // 100]:.2f} ms")
    print(f"load of the machine at the start: {os.getloadavg()[0]:.1f}")


def processor() -> str:
    """Find the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def sync_times(directory: Path) -> list[float]:
    """Measure a sync, in milliseconds, ascending."""
    path = directory / "sync"
    times = []
    with path.open("wb") as file:
        for _ in range(200):
            started = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - started) * 1e3)
    path.unlink()
    return sorted(times)


def generate(rust: Path, directory: Path, records: int) -> Path:
    """Make the input, unless it is there."""
    rows = directory / "rows.tsv"
    if not rows.exists():
        command = [str(rust), "generate", "--dir", str(directory), "--records", str(records)]
        subprocess.run(
            [*command, "--lines", str(PLAIN_ROWS)], check=True, stdout=subprocess.DEVNULL
        )
    return rows


def programs(job: str, rust: Path, rival: Path, directory: Path, rows: Path) -> list[Program]:
    """List the programs that do a job, Headwater first."""
    python, jobs = sys.executable, str(HERE / "jobs.py")
    found = [Program("Headwater, Python API", [python, jobs, job, str(directory)])]
    if job == "sum":
        command = [python, jobs, job, str(directory), "1.0"]
        found.append(Program("Headwater, commit_interval=1", command))
    if job != "lambda":
        command = [str(rust), f"loop-{job}", "--dir", str(directory)]
        found.append(Program("Rust loop by hand, same log", command))
    plain = [str(rival), str(HERE / "plain.py"), job, str(rows), str(PLAIN_ROWS)]
    found.append(Program("Python loop by hand, orjson, no log", plain))
    quix = [str(rival), str(HERE / "quix.py"), job, str(rows), str(QUIX_ROWS[job])]
    found.append(Program("Quix Streams 3.28, no broker", quix))
    return found


def show(job: str, programs: list[Program]) -> None:
    """Print one job's table."""
    print(f"\n{NAMES[job]}\n  target: {TARGETS[job]}")
    titles = ("M records/s", "ratio", "M/CPU s", "ratio", "peak MB")
    print(f"  {'':36}" + "".join(f"{title:>12}" for title in titles))
    ours = programs[0]
    for program in programs:
        ratios = [
            "" if program is ours else f"{ours.rate(by) / program.rate(by):.2f} x"
            for by in ("seconds", "cpu")
        ]
        print(
            f"  {program.name:36}{program.rate():12.3f}{ratios[0]:>12}"
            f"{program.rate('cpu'):12.3f}{ratios[1]:>12}{program.median('peak_mb'):12.0f}"
        )


def show_producer(directory: Path, rounds: int) -> None:
    """Measure and print the producer and the idle latency."""
    python, jobs = sys.executable, str(HERE / "jobs.py")
    produce = Program("produce", [python, jobs, "produce", str(directory), "1000000"])
    latency = Program("latency", [python, jobs, "latency", str(directory), str(LATENCY_RECORDS)])
    for _ in range(rounds):
        produce.run()
        latency.run()
    print("\nproducer API in Python, one call a record")
    print("  target: 1 M records/s of 220 bytes or more; another process has one in 5 ms")
    size = produce.median("bytes")
    print(
        f"  records of {size:.0f} bytes, durable at the end: {produce.rate():.3f} M records/s, "
        f"{produce.rate('cpu'):.3f} M in a CPU second"
    )
    print(
        "  idle latency from produce() to a function in another process's pipeline: "
        f"p50 {latency.median('p50_ms'):.1f} ms, p99 {latency.median('p99_ms'):.1f} ms"
    )


if __name__ == "__main__":
    main()

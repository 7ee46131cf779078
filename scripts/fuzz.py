"""Fuzz the decoders and file readers of Headwater, guided by coverage, on stable Rust.

    python scripts/fuzz.py [--seconds 10] [--jobs N] [--minimise] [TARGET ...]

It needs a Rust toolchain and a C++ compiler, and neither nightly nor cargo-fuzz: the
coverage that libFuzzer goes by is a pass of LLVM that stable rustc takes as an option.
Each target runs from the stored corpus (``fuzz/corpus``) and from what earlier runs
found (``target/fuzz``). A panic, an input over a second or over 512 MB is a failure;
the input that did it is named. ``--minimise`` writes the smallest corpus of the same
coverage back to ``fuzz/corpus``.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET_DIR = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
STORED = ROOT / "fuzz" / "corpus"
WORK = TARGET_DIR / "fuzz"
# What cargo-fuzz gives rustc without a sanitizer.
COVERAGE = (
    "-Cpasses=sancov-module"
    " -Cllvm-args=-sanitizer-coverage-level=4"
    " -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
    " -Cllvm-args=-sanitizer-coverage-pc-table"
    " -Cllvm-args=-sanitizer-coverage-trace-compares"
)
LIMITS = ["-rss_limit_mb=512", "-timeout=1", "-max_len=4096", "-use_value_profile=1"]
# Of processor time, where the clock says more because others had the processor.
INPUT_SECONDS_MAX = 1.0
# Inputs that failed once, and those written by hand, are kept whatever they cover.
KEPT = ("found-", "written-")
STORED_BYTES_MAX = 500_000
STORED_INPUTS_MAX = 80


@dataclass
class Outcome:
    """How one target's time went."""

    target: str
    runs: int
    inputs: int
    failure: str

    def line(self) -> str:
        """Return one line for people."""
        end = f"FAILED\n{self.failure}" if self.failure else "ok"
        return f"{self.target:14} {self.runs:>10,} runs {self.inputs:>6,} inputs  {end}"


def build() -> Path:
    """Build the driver and return its path."""
    host = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    triple = re.search(r"^host: (\S+)$", host, re.MULTILINE)
    assert triple, host
    environment = {
        **os.environ,
        "CARGO_TARGET_DIR": str(TARGET_DIR),
        "RUSTFLAGS": COVERAGE,
        # SQLite is not what is fuzzed.
        "CFLAGS": "-O1",
    }
    # With `--target`, build scripts and macros are those of the other builds.
    command = ["cargo", "build", "--release", "--quiet", "--package", "headwater-fuzz"]
    command += ["--features", "libfuzzer", "--target", triple[1]]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    return TARGET_DIR / triple[1] / "release" / "headwater-fuzz"


def known_targets() -> list[str]:
    """Return the targets, which are the folders of the stored corpus."""
    return sorted(folder.name for folder in STORED.iterdir() if folder.is_dir())


def drive(driver: Path, target: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run libFuzzer for one target."""
    return subprocess.run(
        [str(driver), *LIMITS, *map(str, arguments)],
        env={**os.environ, "HEADWATER_FUZZ": target, "RUST_BACKTRACE": "0"},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def fuzz(driver: Path, target: str, seconds: int) -> Outcome:
    """Fuzz one target for a while."""
    corpus = WORK / target
    corpus.mkdir(parents=True, exist_ok=True)
    ran = drive(
        driver,
        target,
        corpus,
        STORED / target,
        f"-max_total_time={seconds}",
        f"-artifact_prefix={WORK / target}-",
        "-print_final_stats=1",
    )
    runs = re.search(r"number_of_executed_units: (\d+)", ran.stderr)
    failure = ""
    kept = re.search(r"Test unit written to (\S+)", ran.stderr)
    if ran.returncode != 0 and not (kept and was_only_waiting(driver, target, Path(kept[1]))):
        failure = "\n".join(ran.stderr.splitlines()[-40:])
        if kept:
            failure += f"\nto repeat it: HEADWATER_FUZZ={target} {driver} {kept[1]}"
    count = sum(1 for _ in corpus.iterdir())
    return Outcome(target, int(runs[1]) if runs else 0, count, failure)


def was_only_waiting(driver: Path, target: str, kept: Path) -> bool:
    """Whether an input that took too long by the clock does not by processor time."""
    if "-timeout-" not in kept.name:
        return False
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = drive(driver, target, kept, "-timeout=60")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    taken = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if ran.returncode != 0 or taken > INPUT_SECONDS_MAX:
        return False
    kept.unlink()
    return True


def minimise(driver: Path, target: str) -> None:
    """Replace the stored corpus of a target by the smallest of the same coverage."""
    smallest = WORK / f"{target}-smallest"
    shutil.rmtree(smallest, ignore_errors=True)
    smallest.mkdir(parents=True)
    # Which branches are taken, not with which values: those are thousands.
    inputs = [STORED / target, WORK / target]
    ran = drive(driver, target, "-merge=1", "-use_value_profile=0", smallest, *inputs)
    if ran.returncode != 0:
        sys.exit(f"{target} cannot be minimised:\n{ran.stderr[-2000:]}")
    for old in (STORED / target).iterdir():
        if not old.name.startswith(KEPT):
            old.unlink()
    # Of every size some, as far as its share of the room goes.
    room = STORED_BYTES_MAX // len(known_targets())
    by_size = sorted(smallest.iterdir(), key=lambda path: path.stat().st_size)
    step = -(-len(by_size) // STORED_INPUTS_MAX)
    for new in by_size[::step]:
        room -= new.stat().st_size
        if room < 0:
            break
        shutil.copy(new, STORED / target / new.name[:16])


def main() -> int:
    """Fuzz; 1 if anything failed."""
    known = known_targets()
    parser = argparse.ArgumentParser(description="Fuzz the decoders, guided by coverage.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=" ".join(known))
    parser.add_argument("--seconds", type=int, default=10, help="for each target; 0 fuzzes nothing")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--minimise", action="store_true", help="rewrite the stored corpus")
    arguments = parser.parse_args()
    targets = arguments.targets or known
    if unknown := set(targets) - set(known):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        print("fuzz: NOT RUN, libFuzzer needs a C++ compiler; `cargo test` runs the corpus")
        return 0
    began = time.monotonic()
    driver = build()
    print(f"fuzz: built in {time.monotonic() - began:.0f} s", flush=True)
    failures = 0
    with ThreadPoolExecutor(arguments.jobs) as pool:
        fuzzed = targets if arguments.seconds else []
        runs = pool.map(lambda target: fuzz(driver, target, arguments.seconds), fuzzed)
        for outcome in runs:
            print(outcome.line(), flush=True)
            failures += bool(outcome.failure)
    if arguments.minimise and not failures:
        for target in targets:
            minimise(driver, target)
    print(
        f"trust: what=fuzz count={arguments.seconds} targets={len(targets)} "
        f"faults=0 failures={failures}"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

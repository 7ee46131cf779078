"""Repeat the tests that touch threads, time, processes and files; a flake ends it.

    python scripts/repeat.py [--times 50] [--only NAME ...]

Each is run so many times, one after the other, with what else the machine does. The
first that fails is shown with its number, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Few kills each: it is the machinery that is repeated, not the count.
FEW = {"HEADWATER_KILLS": "3", "HEADWATER_CASES": "20", "HEADWATER_POWER_CUTS": "5"}
RUST = {
    "log": ["headwater-log", "conformance", "sharing", "crashes", "damage", "power_cuts"],
    "engine": ["headwater", "determinism", "atomic_effects", "faults", "kill", "memory", "pipeline",
               "refusals", "windows"],
    "connect": ["headwater-connect", "resume", "sinks", "sources"],
    "cli": ["headwater-cli", "commands"],
}  # fmt: skip
PYTHON = {
    "crash": ["test_crash.py"],
    "run": ["test_run.py", "test_topics.py", "test_sources_sinks.py", "test_windows.py"],
    "breakpoint": ["test_breakpoint.py"],
    "demo": ["test_demo.py"],
}


def commands() -> dict[str, list[str]]:
    """Return what is repeated, by name."""
    found = {}
    for name, (package, *tests) in RUST.items():
        folder = next(ROOT.glob(f"crates/{name}/tests"))
        there = [test for test in tests if (folder / f"{test}.rs").exists()]
        chosen = [part for test in there for part in ("--test", test)]
        command = ["cargo", "test", "--release", "--quiet", "--package", package]
        found[name] = command + chosen
    for name, files in PYTHON.items():
        paths = [f"python/tests/{file}" for file in files]
        found[name] = [sys.executable, "-m", "pytest", "-q", "-x", *paths]
    return found


def main() -> int:
    """Repeat; 1 if anything failed."""
    known = commands()
    parser = argparse.ArgumentParser(description="Repeat the tests that could be flaky.")
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--only", nargs="+", choices=list(known), metavar="NAME")
    arguments = parser.parse_args()
    failures = 0
    for name in arguments.only or known:
        began = time.monotonic()
        done = 0
        for number in range(1, arguments.times + 1):
            ran = subprocess.run(
                known[name],
                cwd=ROOT,
                env={**os.environ, **FEW, "HEADWATER_SEED": str(number)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                check=False,
            )
            done += 1
            if ran.returncode != 0:
                failures += 1
                print(f"{name}: run {number} failed\n{ran.stdout[-6000:]}", flush=True)
                break
        print(f"{name}: {done} times in {time.monotonic() - began:.0f} s", flush=True)
    times = arguments.times
    print(f"trust: what=repeat count={times} seeds=1..{times + 1} faults=0 failures={failures}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

"""Raises the demo's programs, waits for them, and reports.

1. The generator, both pipelines and the reader start.
2. The generator ends when the drives are over. The pipelines go on until nothing new
   comes out of them.
3. They are ended, and the report says what was found.

Interrupted by Ctrl-C, everything ends where it is; started again, it goes on there.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from headwater import Application
from headwater.demo import processes, report, topics
from headwater.demo.generator import RAW, SPEED, TRUTH
from headwater.demo.report import ALERTS, ROWS, SEEN, Before

if TYPE_CHECKING:
    from collections.abc import Sequence
    from subprocess import Popen

PIPELINES = ("flatten", "crashes", "reader")
DRAIN_S = 20.0
"""How long the pipelines may take after the last message."""
SETTLED_S = 0.5
"""They are done when the last output is this old."""
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code: 0 if every crash was found, and no other."""
    arguments = _parser().parse_args(argv)
    directory = Path(arguments.directory).absolute()
    if arguments.reset and not _clear(directory):
        return 2
    directory.mkdir(parents=True, exist_ok=True)
    app = Application(name="demo-report", directory=directory)
    seed = _seed_of(app, arguments.seed)
    if seed is None:
        return 2
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _run(app, directory, seed, is_fast=arguments.fast)
    except KeyboardInterrupt:
        print(f"\nInterrupted after {topics.count(app, RAW):,} messages; start again to go on.")
        return INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, before)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="headwater demo",
        description="Three phones drive about; a pipeline finds their crashes. The drives take "
        f"some six minutes of event time and are played {SPEED} times as fast. One of the phones "
        "has no network for five of the minutes and then sends everything at once.",
    )
    parser.add_argument("--seed", type=int, help="choose phones, crashes and noise (default: 1)")
    parser.add_argument("--directory", default=".demo", help="where the log is (default: .demo)")
    parser.add_argument("--reset", action="store_true", help="start afresh")
    parser.add_argument("--fast", action="store_true", help="send without pauses, for tests")
    return parser


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _clear(directory: Path) -> bool:
    """Remove the log of an earlier demo, and nothing else."""
    if directory.exists():
        if any(directory.iterdir()) and not (directory / "log.db").exists():
            print(f"error: {directory} holds no log, so --reset leaves it alone", file=sys.stderr)
            return False
        shutil.rmtree(directory)
    return True


def _seed_of(app: Application, wanted: int | None) -> int | None:
    """Return the seed to play: that of the drives in the log, if there are any."""
    known = [truth["seed"] for truth in topics.rows(app, TRUTH)]
    if not known:
        return 1 if wanted is None else wanted
    if wanted not in (None, known[0]):
        print(
            f"error: the log holds the drives of seed {known[0]}; add --reset to start afresh "
            f"with seed {wanted}, or give another --directory",
            file=sys.stderr,
        )
        return None
    return int(known[0])


def _run(app: Application, directory: Path, seed: int, *, is_fast: bool) -> int:
    before = Before.of(app)
    began = time.monotonic()
    if before.messages:
        print(f"Going on after {before.messages:,} messages.", flush=True)
    else:
        print(f"Three phones drive about, {SPEED} times as fast as in life.", flush=True)
    play = ["--seed", str(seed), *(["--fast"] if is_fast else [])]
    running: dict[str, Popen[bytes]] = {}
    try:
        for program in PIPELINES:
            is_shown = program == "crashes"
            running[program] = processes.start(program, directory, is_shown=is_shown)
        generator = processes.start("generator", directory, play)
        running["generator"] = generator
        pipelines = [running[program] for program in PIPELINES]
        is_done = processes.wait_for(generator, pipelines) and _drain(app, pipelines)
    finally:
        codes = {program: processes.stop(running[program]) for program in reversed(running)}
    wall_s = time.monotonic() - began
    if failed := [program for program, code in codes.items() if code != 0]:
        for program in failed:
            print(f"error: {program} failed:", file=sys.stderr)
            print(processes.last_words(program, directory), file=sys.stderr)
        return 1
    if not is_done:
        print(f"error: the pipelines were not done after {DRAIN_S:.0f} s", file=sys.stderr)
    return _report(app, directory, before, wall_s)


def _drain(app: Application, pipelines: Sequence[Popen[bytes]]) -> bool:
    """Wait until the pipelines have nothing left to do; False if they take too long."""
    (truth,) = topics.rows(app, TRUTH)
    began = changed = time.monotonic()
    last: tuple[int, ...] = ()
    while time.monotonic() < began + DRAIN_S:
        counts = tuple(topics.count(app, topic) for topic in (ROWS, ALERTS, SEEN))
        if counts != last:
            last, changed = counts, time.monotonic()
        is_through = counts[0] == truth["readings"] and counts[1] == counts[2]
        if is_through and time.monotonic() > changed + SETTLED_S:
            return True
        if any(pipeline.poll() is not None for pipeline in pipelines):
            return False
        time.sleep(0.1)
    return False


def _report(app: Application, directory: Path, before: Before, wall_s: float) -> int:
    facts = report.gather(app, before, wall_s)
    if facts.now.messages == before.messages and facts.now.alerts == before.alerts:
        print("\nNothing new: the drives are over. To see them again, add --reset.")
    print("\n" + report.text(facts, report.measure_syncs_ms(directory)))
    print("\nAll crashes found." if facts.is_right else "\nFAILED: see above.")
    return 0 if facts.is_right else 1

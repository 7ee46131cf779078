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
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

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
    directory.mkdir(parents=True, exist_ok=True)
    if arguments.reset and not _is_ours(directory):
        return _refuse(f"{directory} holds no log, so --reset leaves it alone")
    claim = processes.hold(directory)
    if claim is None:
        return _refuse(f"another demo runs in {directory}; give another --directory")
    with claim:
        if arguments.reset:
            _clear(directory)
        return _go_on(directory, claim, arguments)


def _go_on(directory: Path, claim: IO[str], arguments: argparse.Namespace) -> int:
    app = Application(name="demo-report", directory=directory)
    known = [int(truth["seed"]) for truth in topics.rows(app, TRUTH)]
    seed = known[0] if known else 1
    if arguments.seed not in (None, seed) and known:
        return _refuse(
            f"the log holds the drives of seed {seed}; add --reset to start afresh with seed "
            f"{arguments.seed}, or give another --directory"
        )
    play = Play(seed if arguments.seed is None else arguments.seed, arguments.fast)
    # A shell starts background jobs with SIGINT ignored; the demo heeds it all the same.
    before = {
        number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        return _run(app, directory, claim, play)
    except KeyboardInterrupt:
        print(f"\nInterrupted after {topics.count(app, RAW):,} messages; start again to go on.")
        return INTERRUPTED
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class Play:
    """Which drives are played, and whether without pauses."""

    seed: int
    is_fast: bool


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


def _refuse(reason: str) -> int:
    print(f"error: {reason}", file=sys.stderr)
    return 2


def _is_ours(directory: Path) -> bool:
    """Whether a demo may have used the directory, or nobody has."""
    known = [directory / name for name in ("log.db", processes.CLAIM)]
    return any(path.exists() for path in known) or not any(directory.iterdir())


def _clear(directory: Path) -> None:
    """Remove the log of an earlier demo, and nothing else; the claim stays."""
    shutil.rmtree(directory / "groups", ignore_errors=True)
    said = [processes.log_of(program, directory) for program in (*PIPELINES, "generator")]
    for path in [*directory.glob("log.db*"), *said]:
        path.unlink(missing_ok=True)


def _run(app: Application, directory: Path, claim: IO[str], play: Play) -> int:
    before = Before.of(app)
    began = time.monotonic()
    if before.messages:
        print(f"Going on after {before.messages:,} messages.", flush=True)
    else:
        print(f"Three phones drive about, {SPEED} times as fast as in life.", flush=True)
    options = ["--seed", str(play.seed), *(["--fast"] if play.is_fast else [])]
    running: dict[str, Popen[bytes]] = {}
    try:
        for program in PIPELINES:
            is_shown = program == "crashes"
            running[program] = processes.start(program, directory, claim, is_shown=is_shown)
        generator = processes.start("generator", directory, claim, options)
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
        print("error: the pipelines did not get to the end", file=sys.stderr)
    return _report(app, directory, before, wall_s, play)


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


def _report(app: Application, directory: Path, before: Before, wall_s: float, play: Play) -> int:
    facts = report.gather(app, before, wall_s, is_fast=play.is_fast)
    if facts.now.messages == before.messages and facts.now.alerts == before.alerts:
        print("\nNothing new: the drives are over. To see them again, add --reset.")
    print("\n" + report.text(facts, report.measure_syncs_ms(directory)))
    print("\nAll crashes found." if facts.is_right else "\nFAILED: see above.")
    return 0 if facts.is_right else 1

"""`make trust MINUTES=45`: go on with every test that is never finished, and say so.

    python scripts/trust.py [--minutes 45] [--only NAME ...] [--lanes 2]
    python scripts/trust.py --new-total "why what was counted does not count any more"

Seeds, kills, power cuts, failed input and output, flipped bits, fuzzing and random
cases go on where the table of RELIABILITY.md says that they stopped; the minutes are
divided among them. Each runs in slices of about a minute, as large as the slices before
have shown, and has one row for the session, which grows when a slice ends: what an
interrupted session has done is there. It is made of the line that the test prints at its
end (``reliability.py``). A test that prints none, or fails, counts as a failure; its
output is kept in ``target/trust``.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from reliability import LINE, NEW_TOTAL, ROOT, TARGET_DIR, Document, Row, changing, commit

LOGS = TARGET_DIR / "trust"
SLICE_SECONDS = 60.0
# Less than this measures mostly its own start.
SLICE_SECONDS_MIN = 15.0
# A slice is so many times the one before at most: the first tell little of the rate.
GROWTH_MAX = 4


def cargo(package: str, test: str, name: str) -> list[str]:
    """Return the command that runs one test and shows what it prints."""
    command = ["cargo", "test", "--release", "--quiet", "--package", package, "--test", test]
    if package == "headwater-sim":
        command += ["--features", "faults"]
    return [*command, name, "--", "--nocapture"]


def pytest(file: str, *arguments: str) -> list[str]:
    """Likewise for Python."""
    return [sys.executable, "-m", "pytest", "-q", "-s", f"python/tests/{file}", *arguments]


@dataclass(frozen=True)
class Kind:
    """A test that goes on, and how it is told how much."""

    # What it prints, the first of it first.
    what: str
    share: int
    # It is left out where this does not exist.
    source: str
    command: list[str]
    count: str
    first: int
    seed: str = "HEADWATER_SEED"
    slice_seconds: float = SLICE_SECONDS
    # What else the test is told.
    settings: dict[str, str] = field(default_factory=dict)


KINDS = [
    Kind("sim", 30, "crates/sim/tests/sim/main.rs",
         cargo("headwater-sim", "sim", "every_seed"),
         "HEADWATER_SEEDS", 500, "HEADWATER_SEED_FROM"),
    Kind("kill-rust-job", 8, "crates/engine/tests/kill.rs",
         cargo("headwater", "kill", "a_killed_job"), "HEADWATER_KILLS", 30),
    Kind("kill-python-job", 6, "python/tests/test_crash.py",
         pytest("test_crash.py", "-m", "crash", "-k", "csv_job"), "HEADWATER_KILLS", 30),
    Kind("kill-four-processes", 6, "python/tests/test_crash.py",
         pytest("test_crash.py", "-m", "crash", "-k", "four"), "HEADWATER_KILLS", 30),
    Kind("kill-log-writer", 3, "crates/log/tests/crashes.rs",
         cargo("headwater-log", "crashes", "a_killed_writer"), "HEADWATER_KILLS", 50),
    Kind("kill-while-compacting", 3, "crates/log/tests/compaction.rs",
         cargo("headwater-log", "compaction", "a_kill_while"), "HEADWATER_KILLS", 50),
    Kind("power-cut", 10, "crates/log/tests/power_cuts.rs",
         cargo("headwater-log", "power_cuts", "acknowledged"), "HEADWATER_POWER_CUTS", 20),
    Kind("power-cut-job", 5, "crates/engine/tests/power_cuts.rs",
         cargo("headwater", "power_cuts", "a_job_goes_on"), "HEADWATER_POWER_CUTS", 12),
    Kind("failed-io", 6, "crates/log/tests/failed_io.rs",
         cargo("headwater-log", "failed_io", "whichever"), "HEADWATER_FAIL_SCRIPTS", 1),
    Kind("bit-flips", 3, "crates/log/tests/damage.rs",
         cargo("headwater-log", "damage", "flip"), "HEADWATER_FLIPS", 1000),
    Kind("fuzz", 25, "scripts/fuzz.py",
         [sys.executable, "scripts/fuzz.py", "--jobs", "1"], "--seconds", 5,
         slice_seconds=300),
    Kind("determinism", 5, "crates/engine/tests/determinism.rs",
         cargo("headwater", "determinism", "rows_and_state"), "HEADWATER_CASES", 150),
    Kind("property-operations", 3, "fuzz/tests/corpus.rs",
         cargo("headwater-fuzz", "corpus", "random_operations"), "HEADWATER_CASES", 20_000),
    Kind("property-windows", 3, "python/tests/test_properties.py",
         pytest("test_properties.py", "-k", "pandas"), "HEADWATER_CASES", 10_000),
    # Megabytes: 5,000 where there is time for them.
    Kind("large-state", 5, "crates/engine/tests/large_state.rs",
         cargo("headwater", "large_state", "state_larger"), "HEADWATER_STATE_MB", 500,
         slice_seconds=900, settings={"HEADWATER_STATE_LIMIT_MB": "2000"}),
]  # fmt: skip


class Session:
    """Runs kinds until their minutes are over."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.written: dict[str, Row] = {}
        self.lock = threading.Lock()
        self.failed: dict[str, int] = defaultdict(int)

    def run(self, kind: Kind, seconds: float) -> None:
        """Give one kind its time, slice by slice."""
        seed = Document.load().next_seed(kind.what)
        count = kind.first
        deadline = time.monotonic() + seconds
        while True:
            began = time.monotonic()
            seed = self._slice(kind, count, seed)
            took = max(time.monotonic() - began, 0.1)
            left = deadline - time.monotonic()
            wanted = min(left, kind.slice_seconds) * 0.9
            count = min(int(count * wanted / took), GROWTH_MAX * count)
            if count < 1 or left < SLICE_SECONDS_MIN:
                return

    def _slice(self, kind: Kind, count: int, seed: int) -> int:
        environment = {**os.environ, **kind.settings, kind.seed: str(seed)}
        command = list(kind.command)
        if kind.count.startswith("--"):
            command += [kind.count, str(count)]
        else:
            environment[kind.count] = str(count)
        print(f"trust: {kind.what}: {count:,} from {seed}", flush=True)
        ran = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        with self.lock:
            lines = list(LINE.finditer(ran.stdout))
            for line in lines:
                self.add(line)
            # A power cut that cannot be tried here (no root, no loop devices) says so; what
            # says nothing has not run.
            has_run = bool(lines) or "NOT TESTED" in ran.stdout
            has_failed = ran.returncode != 0 or not has_run
            is_told = any("failures=0" not in line["rest"].split() for line in lines)
            if has_failed and not is_told:
                self._row(kind.what).failures += 1
            if has_failed:
                self.failed[kind.what] += 1
                log = LOGS / f"{kind.what}-{seed}-{self.failed[kind.what]}.log"
                log.write_text(f"{kind.seed}={seed} {kind.count}={count}\n{ran.stdout}")
                print(f"trust: {kind.what} FAILED, see {log}", flush=True)
            self.write()
            own = self.rows.get(kind.what)
            return own.seeds[1] if own and own.seeds else seed + 1

    def _row(self, what: str) -> Row:
        return self.rows.setdefault(what, Row(what))

    def add(self, line: re.Match[str]) -> None:
        """Take in a line that a test printed."""
        self._row(line["what"]).add(line)

    def write(self) -> None:
        """Write the rows that have changed: a row of this session replaces itself."""
        with changing() as document:
            for what, row in self.rows.items():
                before = self.written.get(what)
                if before and replace(row, when=before.when, commit=before.commit) == before:
                    continue
                row.when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
                row.commit = commit()
                if before in document.rows:
                    document.rows[document.rows.index(before)] = replace(row)
                else:
                    document.rows.append(replace(row))
                self.written[what] = replace(row)


def build(kinds: list[Kind]) -> None:
    """Build every test once, so that the minutes go to running them."""
    for kind in kinds:
        if "--" in kind.command and kind.command[0] == "cargo":
            # As it will be run: features of another package would build it anew.
            own = kind.command[: kind.command.index("--") - 1]
            subprocess.run([*own, "--no-run"], cwd=ROOT, check=True)


def share_out(session: Session, kinds: list[Kind], minutes: float, lanes: int) -> None:
    """Run the kinds in lanes, the long ones first."""
    total = sum(kind.share for kind in kinds)
    waiting = sorted(kinds, key=lambda kind: -kind.share)

    def lane() -> None:
        while True:
            with session.lock:
                if not waiting:
                    return
                kind = waiting.pop(0)
            session.run(kind, minutes * 60 * lanes * kind.share / total)

    threads = [threading.Thread(target=lane) for _ in range(lanes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> int:
    """Run a session; 1 if anything failed."""
    names = [kind.what for kind in KINDS]
    parser = argparse.ArgumentParser(description="Go on with the tests that never end.")
    parser.add_argument("--minutes", type=float, default=45)
    parser.add_argument("--lanes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=" ".join(names))
    parser.add_argument("--new-total", metavar="WHY")
    parser.add_argument("--note", metavar="LINE", help="append a row of a line printed elsewhere")
    arguments = parser.parse_args()
    if arguments.new_total:
        when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
        row = Row(f"{NEW_TOTAL}: {arguments.new_total}", when=when, commit=commit())
        with changing() as document:
            document.rows.append(row)
        return 0
    session = Session()
    if arguments.note:
        line = LINE.search(arguments.note)
        if not line:
            parser.error("a note is a line `trust: what=...`")
        session.add(line)
        session.write()
    else:
        kinds = [
            kind
            for kind in KINDS
            if (ROOT / kind.source).exists() and (not arguments.only or kind.what in arguments.only)
        ]
        LOGS.mkdir(parents=True, exist_ok=True)
        build(kinds)
        share_out(session, kinds, arguments.minutes, arguments.lanes)
    for row in session.rows.values():
        print(row.cells())
    return 1 if any(row.failures for row in session.rows.values()) else 0


if __name__ == "__main__":
    sys.exit(main())

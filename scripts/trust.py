"""`make trust MINUTES=45`: go on with every test that is never finished, and say so.

    python scripts/trust.py [--minutes 45] [--only NAME ...] [--lanes 2]
    python scripts/trust.py --new-total "why what was counted does not count any more"

Seeds, kills, power cuts, failed input and output, flipped bits, fuzzing and random
cases go on where the table of RELIABILITY.md says that they stopped; the minutes are
divided among them, and one row for each is appended. Every one of these tests ends
with a line that is read here:

    trust: what=NAME count=N [seeds=A..B] [records=N] faults=N failures=N

Seeds are [A, B). A test that prints none, or fails, counts as a failure; its output is
kept in ``target/trust``.
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
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "RELIABILITY.md"
TARGET_DIR = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
LOGS = TARGET_DIR / "trust"
ROWS, ROWS_END = "<!-- rows -->", "<!-- end of rows -->"
TOTALS, TOTALS_END = "<!-- totals -->", "<!-- end of totals -->"
NEW_TOTAL = "*new total*"
LINE = re.compile(r"trust: what=(?P<what>\S+) (?P<rest>.*)")
# A slice shorter than this measures mostly its own start.
SLICE_SECONDS = 60.0


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
    Kind("failed-io", 6, "crates/log/tests/failed_io.rs",
         cargo("headwater-log", "failed_io", "whichever"), "HEADWATER_FAIL_SCRIPTS", 1),
    Kind("bit-flips", 3, "crates/log/tests/damage.rs",
         cargo("headwater-log", "damage", "flip"), "HEADWATER_FLIPS", 1000),
    Kind("fuzz", 25, "scripts/fuzz.py",
         [sys.executable, "scripts/fuzz.py", "--jobs", "1"], "--seconds", 5),
    Kind("determinism", 5, "crates/engine/tests/determinism.rs",
         cargo("headwater", "determinism", "rows_and_state"), "HEADWATER_CASES", 150),
    Kind("property-operations", 3, "fuzz/tests/corpus.rs",
         cargo("headwater-fuzz", "corpus", "random_operations"), "HEADWATER_CASES", 20_000),
    Kind("property-windows", 3, "python/tests/test_properties.py",
         pytest("test_properties.py", "-k", "pandas"), "HEADWATER_CASES", 10_000),
]  # fmt: skip

# What issue 4 asks of one total.
GOALS = [
    ("seeds of the simulator", ["sim"], "count", 100_000),
    ("kills of real processes", ["kill-"], "count", 1_000),
    ("records under kills", ["kill-"], "records", 20_000_000),
    ("power-cut images", ["power-cut"], "count", 1_000),
    ("seconds of fuzzing each decoder", ["fuzz"], "count", 3_600),
    ("failed calls to the operating system", ["failed-io"], "faults", 0),
    ("random cases against model, map and pandas", ["property-", "determinism"], "count", 0),
]


@dataclass
class Row:
    """What one session did of one kind."""

    what: str
    count: int = 0
    records: int = 0
    faults: int = 0
    failures: int = 0
    seeds: tuple[int, int] | None = None
    when: str = ""
    commit: str = ""

    def add(self, line: re.Match[str]) -> None:
        """Take in a line that a test printed."""
        facts = dict(part.split("=", 1) for part in line["rest"].split() if "=" in part)
        for name in ("count", "records", "faults", "failures"):
            setattr(self, name, getattr(self, name) + int(facts.get(name, 0)))
        if "seeds" in facts:
            first, after = map(int, facts["seeds"].split(".."))
            known = self.seeds or (first, after)
            self.seeds = (min(known[0], first), max(known[1], after))

    def cells(self) -> str:
        """Return the line of the table."""
        seeds = f"{self.seeds[0]}..{self.seeds[1]}" if self.seeds else ""
        records = f"{self.records:,}" if self.records else ""
        return (
            f"| {self.what} | {self.count:,} | {seeds} | {records} | {self.faults:,} "
            f"| {self.failures} | {self.when} | `{self.commit}` |"
        )

    @staticmethod
    def read(line: str) -> Row:
        """Read a line of the table."""
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        number = {
            name: int(cells[at].replace(",", "") or 0) if cells[at] else 0
            for name, at in (("count", 1), ("records", 3), ("faults", 4), ("failures", 5))
        }
        seeds = re.fullmatch(r"(\d+)\.\.(\d+)", cells[2])
        return Row(
            cells[0],
            **number,
            seeds=(int(seeds[1]), int(seeds[2])) if seeds else None,
            when=cells[6],
            commit=cells[7].strip("`"),
        )


@dataclass
class Document:
    """RELIABILITY.md: text, with the rows and the totals in it."""

    text: str
    rows: list[Row] = field(default_factory=list)

    @staticmethod
    def load() -> Document:
        """Read it."""
        text = TABLE.read_text()
        between = text.split(ROWS)[1].split(ROWS_END)[0].strip().splitlines()
        return Document(text, [Row.read(line) for line in between[2:]])

    def since_new_total(self) -> list[Row]:
        """Return the rows that count."""
        starts = [at for at, row in enumerate(self.rows) if row.what.startswith(NEW_TOTAL)]
        return self.rows[starts[-1] + 1 :] if starts else self.rows

    def next_seed(self, what: str) -> int:
        """Return where the last row of a kind stopped; earlier totals count too."""
        ends = [row.seeds[1] for row in self.rows if row.what == what and row.seeds]
        return max(ends, default=1)

    def save(self) -> None:
        """Write rows and totals."""
        head = [
            "| What | Count | Seeds [from, to) | Records | Faults | Failures | Date | Commit |",
            "|---|---|---|---|---|---|---|---|",
        ]
        self._replace(ROWS, ROWS_END, head + [row.cells() for row in self.rows])
        lines = ["| What | Reached | Goal | Failures |", "|---|---|---|---|"]
        for title, prefixes, unit, goal in GOALS:
            counted = [
                row
                for row in self.since_new_total()
                if any(row.what.startswith(prefix) for prefix in prefixes)
            ]
            reached = sum(getattr(row, unit) for row in counted)
            failures = sum(row.failures for row in counted)
            lines.append(f"| {title} | {reached:,} | {f'{goal:,}' if goal else ''} | {failures} |")
        self._replace(TOTALS, TOTALS_END, lines)
        TABLE.write_text(self.text)

    def _replace(self, start: str, end: str, lines: list[str]) -> None:
        before, rest = self.text.split(start)
        after = rest.split(end)[1]
        self.text = before + start + "\n" + "\n".join(lines) + "\n" + end + after


class Session:
    """Runs kinds until their minutes are over."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.rows: dict[str, Row] = {}
        self.lock = threading.Lock()
        self.slices: dict[str, int] = defaultdict(int)

    def run(self, kind: Kind, seconds: float) -> None:
        """Give one kind its time, in slices as long as is left, at most a few minutes each."""
        seed = self.document.next_seed(kind.what)
        count = kind.first
        deadline = time.monotonic() + seconds
        while True:
            began = time.monotonic()
            seed = self._slice(kind, count, seed)
            took = max(time.monotonic() - began, 0.1)
            left = deadline - time.monotonic()
            wanted = min(left, max(5 * SLICE_SECONDS, took)) * 0.9
            count = int(count * wanted / took)
            if count < 1 or left < SLICE_SECONDS / 4:
                return

    def _slice(self, kind: Kind, count: int, seed: int) -> int:
        environment = {**os.environ, kind.seed: str(seed)}
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
        lines = list(LINE.finditer(ran.stdout))
        with self.lock:
            for line in lines:
                self._row(line["what"]).add(line)
            # A test that cannot run here (no root, no compiler) says so, prints no line
            # and succeeds; there is nothing to count then.
            is_told = any("failures=0" not in line["rest"].split() for line in lines)
            if ran.returncode != 0 and not is_told:
                self._row(kind.what).failures += 1
            if ran.returncode != 0:
                self.slices[kind.what] += 1
                log = LOGS / f"{kind.what}-{seed}-{self.slices[kind.what]}.log"
                log.write_text(f"{kind.seed}={seed} {kind.count}={count}\n{ran.stdout}")
                print(f"trust: {kind.what} FAILED, see {log}", flush=True)
            own = self.rows.get(kind.what)
            return own.seeds[1] if own and own.seeds else seed + 1

    def _row(self, what: str) -> Row:
        return self.rows.setdefault(what, Row(what))


def output(*command: str) -> str:
    """Return what a command prints."""
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def commit() -> str:
    """Return the commit, with a plus if what runs is not what it says."""
    changed = output("git", "status", "--porcelain", "--untracked-files=no").splitlines()
    is_clean = all(line.endswith("RELIABILITY.md") for line in changed)
    return output("git", "rev-parse", "--short", "HEAD").strip() + ("" if is_clean else "+")


def build(kinds: list[Kind]) -> None:
    """Build every test once, so that the minutes go to running them."""
    packages = {kind.command[kind.command.index("--package") + 1]
                for kind in kinds if "--package" in kind.command}  # fmt: skip
    if packages:
        chosen = [part for name in sorted(packages) for part in ("--package", name)]
        subprocess.run(
            ["cargo", "test", "--release", "--quiet", "--no-run", *chosen], cwd=ROOT, check=True
        )


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
    document = Document.load()
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    if arguments.new_total:
        row = Row(f"{NEW_TOTAL}: {arguments.new_total}", when=when, commit=commit())
        document.rows.append(row)
        document.save()
        return 0
    session = Session(document)
    if arguments.note:
        line = LINE.search(arguments.note)
        if not line:
            parser.error("a note is a line `trust: what=...`")
        session.rows[line["what"]] = Row(line["what"])
        session.rows[line["what"]].add(line)
    else:
        kinds = [
            kind
            for kind in KINDS
            if (ROOT / kind.source).exists() and (not arguments.only or kind.what in arguments.only)
        ]
        LOGS.mkdir(parents=True, exist_ok=True)
        build(kinds)
        share_out(session, kinds, arguments.minutes, arguments.lanes)
    # Somebody may have appended rows meanwhile.
    document = Document.load()
    for row in session.rows.values():
        row.when, row.commit = when, commit()
        document.rows.append(row)
        print(row.cells())
    document.save()
    return 1 if any(row.failures for row in session.rows.values()) else 0


if __name__ == "__main__":
    sys.exit(main())

"""The table of RELIABILITY.md: rows that tests which are never finished append to.

Every such test ends with lines that are read here:

    trust: what=NAME count=N [seeds=A..B] [records=N] faults=N failures=N

Seeds are [A, B). Who appends takes a lock, reads the table anew and writes it, so that
several may run at once, and a row is there as soon as its slice has ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "RELIABILITY.md"
TARGET_DIR = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
ROWS, ROWS_END = "<!-- rows -->", "<!-- end of rows -->"
TOTALS, TOTALS_END = "<!-- totals -->", "<!-- end of totals -->"
NEW_TOTAL = "*new total*"
LINE = re.compile(r"trust: what=(?P<what>\S+) (?P<rest>.*)")

# What is asked of one total: a title, the kinds whose names begin so, what is added up.
GOALS = [
    ("seeds of the simulator", ["sim"], "count", 100_000),
    ("kills of real processes", ["kill-"], "count", 1_000),
    ("records under kills", ["kill-"], "records", 20_000_000),
    ("power-cut images", ["power-cut"], "count", 1_000),
    ("seconds of fuzzing each decoder", ["fuzz"], "count", 3_600),
    ("failed calls to the operating system", ["failed-io"], "faults", 0),
    ("random cases against model, map and pandas", ["property-", "determinism"], "count", 0),
    ("Kafka: kills of applications", ["chaos-kill-application"], "count", 200),
    ("Kafka: kills, stops and freezes of brokers", ["chaos-broker"], "count", 50),
    ("Kafka: cuts, lost replies and late requests", ["chaos-cut"], "count", 50),
    ("Kafka: zombies", ["chaos-zombie"], "count", 20),
    ("Kafka: seconds of rebalance storm", ["chaos-storm"], "count", 900),
    ("Kafka: records under these, exactly once", ["chaos-exactly-once", "chaos-storm"],
     "records", 5_000_000),
    ("Kafka: records at least once", ["chaos-at-least-once"], "records", 0),
]  # fmt: skip


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


@contextlib.contextmanager
def changing() -> Iterator[Document]:
    """Give the table as it is now, and write it when the block ends."""
    TARGET_DIR.mkdir(parents=True, exist_ok=True)
    with open(TARGET_DIR / ".reliability.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        document = Document.load()
        yield document
        document.save()


def output(*command: str) -> str:
    """Return what a command prints."""
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def commit() -> str:
    """Return the commit, with a plus if what runs is not what it says."""
    changed = output("git", "status", "--porcelain", "--untracked-files=no").splitlines()
    is_clean = all(line.endswith("RELIABILITY.md") for line in changed)
    return output("git", "rev-parse", "--short", "HEAD").strip() + ("" if is_clean else "+")

"""Says what the demo did: what went in and out, what was found, how long it took.

It reads the topics after the programs have ended. Whether the alerts are right is
``check``'s business; a wrong or missed one makes the demo fail.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headwater.demo import topics
from headwater.demo.check import (
    Alert,
    Expected,
    Verdict,
    Window,
    crashes_of,
    expect,
    judge,
    merge,
)
from headwater.demo.child import RUNS
from headwater.demo.generator import RAW, SENT, TRUTH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from headwater import Application

ROWS = "phones-rows"
ALERTS = "crash-alerts"
SEEN = "demo-seen"

LATENCY_MAX_MS = 250.0


@dataclass(frozen=True)
class Before:
    """How many records the topics had before this run."""

    messages: int
    rows: int
    alerts: int
    runs: int

    @classmethod
    def of(cls, app: Application) -> Before:
        """Count them now."""
        return cls(*(topics.count(app, topic) for topic in (RAW, ROWS, ALERTS, RUNS)))


@dataclass(frozen=True)
class Facts:
    """Everything that a report is made of."""

    truth: Mapping[str, Any]
    expected: Expected
    before: Before
    now: Before
    alerts: dict[Window, float]
    duplicate_count: int
    merged: list[Alert]
    verdict: Verdict
    dead_letter_count: int
    late_count: int
    latencies_ms: list[float]
    backlog_s: float | None
    wall_s: float

    @property
    def is_complete(self) -> bool:
        """Whether every reading has become a row."""
        sent: int = self.truth["readings"]
        return self.now.rows == self.expected.reading_count == sent

    @property
    def has_same_windows(self) -> bool:
        """Whether the alerts are those of a recomputation, each once."""
        expected = {window: round(total, 1) for window, total in self.expected.total_g.items()}
        return self.alerts == expected and not self.duplicate_count

    @property
    def is_right(self) -> bool:
        """Whether the alerts are the crashes, and nothing was lost, doubled or late."""
        return (
            self.is_complete
            and not self.verdict.missed
            and not self.verdict.wrong
            and not self.late_count
            and not self.dead_letter_count
            and self.has_same_windows
        )


def gather(app: Application, before: Before, wall_s: float, *, is_fast: bool) -> Facts:
    """Read the topics and hold what they say against the truth.

    Phones that send without pauses measure a queue, not a latency.
    """
    (truth,) = topics.rows(app, TRUTH)
    expected = expect(topics.rows(app, RAW))
    found = [((row["phone"], row["start"]), row["total_g"]) for row in topics.rows(app, ALERTS)]
    alerts = dict(found)
    merged = merge(alerts)
    now = Before.of(app)
    stamps = _stamps(topics.rows(app, SENT))
    new = [window for window, _ in found[before.alerts :]]
    return Facts(
        truth=truth,
        expected=expected,
        before=before,
        now=now,
        alerts=alerts,
        duplicate_count=len(found) - len(alerts),
        merged=merged,
        verdict=judge(merged, crashes_of(truth)),
        dead_letter_count=sum(topics.count(app, f"{name}.dead-letter") for name in (RAW, ROWS)),
        late_count=expected.late_count
        + sum(run["late"] for run in topics.rows(app, RUNS)[before.runs :]),
        latencies_ms=[] if is_fast else _latencies_ms(app, expected, stamps, new, before.messages),
        backlog_s=None if is_fast else _backlog_s(app, truth, stamps, before.messages),
        wall_s=wall_s,
    )


def _stamps(sent: Sequence[Mapping[str, Any]]) -> dict[int, int]:
    """Return when each message was handed to the log, by its index."""
    return {
        index: stamp["sent_ns"]
        for stamp in sent
        for index in range(stamp["first"], stamp["first"] + stamp["count"])
    }


def _latencies_ms(
    app: Application,
    expected: Expected,
    stamps: Mapping[int, int],
    new: Sequence[Window],
    first_message: int,
) -> list[float]:
    """Return the time from closing message to readable alert, for each alert of this run.

    An alert whose closing message was sent by an earlier run waited for somebody to start
    the demo again, which says nothing about the pipelines.
    """
    seen_ns = {(row["phone"], row["start"]): row["seen_ns"] for row in topics.rows(app, SEEN)}
    latencies = []
    for window in new:
        closed_by = expected.closed_by.get(window, -1)
        if closed_by >= first_message and closed_by in stamps and window in seen_ns:
            latencies.append((seen_ns[window] - stamps[closed_by]) / 1e6)
    return sorted(latencies)


def _backlog_s(
    app: Application, truth: Mapping[str, Any], stamps: Mapping[int, int], first_message: int
) -> float | None:
    """Return how long the backlog took to come in, if all of it came in this run."""
    own = [
        index
        for index, message in enumerate(topics.rows(app, RAW))
        if message["deviceId"] == truth["cut_off"]
        and _is_backlog(message["payload"][-1]["time"], truth)
    ]
    if not own or own[0] < first_message or not all(index in stamps for index in own):
        return None
    return (stamps[own[-1]] - stamps[own[0]]) / 1e9


def _is_backlog(time_ns: int, truth: Mapping[str, Any]) -> bool:
    start_ns, end_ns = truth["cut_off_ns"]
    return bool(start_ns <= time_ns < end_ns)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that ``share`` of the values do not exceed.

    Examples
    --------
    >>> percentile([1.0, 2.0, 3.0, 4.0], 0.5)
    2.0
    """
    return sorted(values)[max(0, -int(-share * len(values)) - 1)] if values else 0.0


def measure_syncs_ms(directory: Path, count: int = 200, at_most_s: float = 2.0) -> list[float]:
    """Append 4 KB to a file and sync it, again and again, and return how long each took."""
    path = directory / "sync.tmp"
    took_ms: list[float] = []
    began = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        while len(took_ms) < count and time.perf_counter() - began < at_most_s:
            start = time.perf_counter()
            file.write(b"\0" * 4096)
            os.fsync(file.fileno())
            took_ms.append((time.perf_counter() - start) * 1000)
    path.unlink()
    return took_ms


def text(facts: Facts, syncs_ms: Sequence[float]) -> str:
    """Return the summary."""
    verdict, now, before = facts.verdict, facts.now, facts.before
    crash_count = len(verdict.known_after_ms) + len(verdict.missed)
    messages, rows = now.messages - before.messages, now.rows - before.rows
    lines = [
        ("seed", f"{facts.truth['seed']}, {facts.wall_s:.0f} s"),
        ("in", f"{messages:,} messages of {now.messages:,} in all"),
        (
            "out",
            f"{rows:,} rows of {now.rows:,}, {now.alerts - before.alerts} alerts of {now.alerts}",
        ),
        ("rate", f"{rows / facts.wall_s:,.0f} readings/s"),
        ("backlog", _backlog_text(facts)),
        (
            "crashes",
            f"{len(verdict.known_after_ms)} of {crash_count} found, {len(verdict.missed)} missed, "
            f"{len(verdict.wrong)} wrong{_known_after(verdict)}",
        ),
        (
            "windows",
            f"{now.alerts} above the threshold, {'' if facts.has_same_windows else 'NOT '}equal to "
            f"the {len(facts.expected.total_g)} of a recomputation",
        ),
        ("late", f"{facts.late_count}"),
        ("dead letters", f"{facts.dead_letter_count}"),
        ("latency", _latency_text(facts.latencies_ms)),
        (
            "disk",
            f"sync of 4 KB p50 {percentile(syncs_ms, 0.5):.1f} ms, "
            f"p99 {percentile(syncs_ms, 0.99):.1f} ms",
        ),
    ]
    return "\n".join(f"  {name:<13}{said}" for name, said in lines if said)


def _backlog_text(facts: Facts) -> str:
    if facts.backlog_s is None:
        return ""
    start_ns, end_ns = facts.truth["cut_off_ns"]
    minutes = (end_ns - start_ns) / 60e9
    return (
        f"{minutes:.0f} minutes of {facts.truth['cut_off']}, which was cut off, "
        f"came in {facts.backlog_s:.1f} s"
    )


def _known_after(verdict: Verdict) -> str:
    if not verdict.known_after_ms:
        return ""
    first, last = min(verdict.known_after_ms) / 1000, max(verdict.known_after_ms) / 1000
    return f"; known {first:.1f} to {last:.1f} s after the impact (event time)"


def _latency_text(latencies_ms: Sequence[float]) -> str:
    if not latencies_ms:
        return ""
    p99 = percentile(latencies_ms, 0.99)
    judged = "" if p99 < LATENCY_MAX_MS else f", above the aim of {LATENCY_MAX_MS:.0f} ms"
    return (
        f"p50 {percentile(latencies_ms, 0.5):.0f} ms, p99 {p99:.0f} ms{judged}: "
        "from the message that closes a window to its alert, seen by a reader"
    )

"""Works out in plain Python what the pipelines should have found.

Nothing here uses the engine: the messages are read again, every window is summed by a
loop, and the alerts must be exactly those. Besides, they are held against the truth,
which knows when the cars really crashed.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SIZE_MS = 2000
ADVANCE_MS = 250
CRASH = 300
G = 9.80665

Window = tuple[str, int]
"""A phone and the start of a window in milliseconds."""


@dataclass
class Expected:
    """What the messages, in the order of the topic, must lead to."""

    reading_count: int = 0
    late_count: int = 0
    total_g: dict[Window, float] = field(default_factory=dict)
    closed_by: dict[Window, int] = field(default_factory=dict)
    """The index of the message whose reading closes the window."""


def expect(messages: Iterable[Mapping[str, Any]]) -> Expected:
    """Sum all windows of all phones and return those that are alerts."""
    expected = Expected()
    clocks: dict[str, int] = {}
    sums: dict[str, dict[int, float]] = defaultdict(dict)
    for index, message in enumerate(messages):
        phone, payload = message["deviceId"], message["payload"]
        expected.reading_count += len(payload)
        own = sums[phone]
        for reading in payload:
            if reading["name"] != "accelerometer":
                continue
            values, time_ms = reading["values"], reading["time"] // 1_000_000
            x, y, z = values["x"], values["y"], values["z"]
            g = (x * x + y * y + z * z) ** 0.5 / G
            clock = max(clocks.get(phone, time_ms), time_ms)
            clocks[phone] = clock
            _close(expected, phone, own, clock, index)
            newest = time_ms // ADVANCE_MS * ADVANCE_MS
            for start in range(newest - SIZE_MS + ADVANCE_MS, newest + 1, ADVANCE_MS):
                if start + SIZE_MS <= clock:
                    expected.late_count += 1
                else:
                    own[start] = own.get(start, 0.0) + g
    return expected


def _close(expected: Expected, phone: str, own: dict[int, float], clock: int, index: int) -> None:
    while own and (start := next(iter(own))) + SIZE_MS <= clock:
        total = own.pop(start)
        if total > CRASH:
            expected.total_g[phone, start] = total
            expected.closed_by[phone, start] = index


@dataclass(frozen=True)
class Alert:
    """Windows above the threshold that overlap: one alert, ``[start_ms, end_ms)``."""

    phone: str
    start_ms: int
    end_ms: int
    known_ms: int
    """The end of the first window: from then on the crash is known."""


def merge(windows: Iterable[Window]) -> list[Alert]:
    """Join the overlapping windows of each phone.

    Examples
    --------
    >>> merge([("a", 0), ("a", 250), ("a", 9000)])[0]
    Alert(phone='a', start_ms=0, end_ms=2250, known_ms=2000)
    """
    alerts: list[Alert] = []
    for phone, start in sorted(windows):
        end = start + SIZE_MS
        last = alerts[-1] if alerts else None
        if last is not None and last.phone == phone and start < last.end_ms:
            alerts[-1] = Alert(phone, last.start_ms, end, last.known_ms)
        else:
            alerts.append(Alert(phone, start, end, end))
    return alerts


@dataclass(frozen=True)
class Crash:
    """What really happened, ``[start_ms, end_ms)``."""

    phone: str
    start_ms: float
    end_ms: float


def crashes_of(truth: Mapping[str, Any]) -> list[Crash]:
    """Return the crashes of the truth."""
    crashes = []
    for incident in truth["incidents"]:
        if incident["kind"] == "crash":
            start_ms = incident["epoch_ms"] + incident["start_s"] * 1000
            end_ms = start_ms + incident["length_s"] * 1000
            crashes.append(Crash(incident["phone"], start_ms, end_ms))
    return crashes


@dataclass(frozen=True)
class Verdict:
    """The alerts against the truth."""

    missed: list[Crash]
    wrong: list[Alert]
    known_after_ms: list[float]
    """For each crash that was found: from the impact to the alert, in event time."""


def judge(alerts: list[Alert], crashes: list[Crash]) -> Verdict:
    """Find the one alert of each crash; it must be known before the crash is 2 s old."""
    wrong, missed, known_after_ms = list(alerts), [], []
    for crash in crashes:
        mine = [
            alert
            for alert in wrong
            if alert.phone == crash.phone
            and alert.start_ms < crash.end_ms
            and 0 < alert.known_ms - crash.start_ms <= SIZE_MS
        ]
        if mine:
            wrong.remove(mine[0])
            known_after_ms.append(mine[0].known_ms - crash.start_ms)
        else:
            missed.append(crash)
    return Verdict(missed, wrong, known_after_ms)

"""Lengths of time and moments, as numbers or as `datetime` has them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_UNITS_MS = {
    "ms": 1,
    "s": 1000,
    "sec": 1000,
    "min": 60_000,
    "t": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "day": 86_400_000,
}


def milliseconds(value: int | timedelta, name: str, *, least: int = 0) -> int:
    """Give an event-time length in milliseconds.

    Examples
    --------
    >>> milliseconds(timedelta(seconds=2), "duration_ms")
    2000
    """
    if isinstance(value, timedelta):
        value = round(value.total_seconds() * 1000)
    if isinstance(value, bool) or not isinstance(value, int):
        msg = f"{name} must be an int of milliseconds or a timedelta, not {value!r}"
        raise TypeError(msg)
    if value < least:
        msg = f"{name} must be at least {least} ms, not {value}"
        raise ValueError(msg)
    return value


def seconds(value: float | timedelta, name: str) -> float:
    """Give an interval or a time-out of the application in seconds.

    Examples
    --------
    >>> seconds(timedelta(milliseconds=50), "commit_interval")
    0.05
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        msg = f"{name} must be a number of seconds or a timedelta, not {value!r}"
        raise TypeError(msg)
    if not 0 <= value < float("inf"):
        msg = f"{name} must be at least 0 seconds, not {value}"
        raise ValueError(msg)
    return float(value)


def moment_ms(value: int | str | datetime, name: str) -> int:
    """Give a moment in milliseconds since 1970.

    A text is a date or a time as ISO 8601 has it. Without a time zone it is UTC.

    Examples
    --------
    >>> moment_ms("2026-11-27T12:00", "start"), moment_ms("2026-11-27T13:00+01:00", "start")
    (1795780800000, 1795780800000)
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            msg = (
                f'{name} must be a time as ISO 8601 has it, like "2026-11-27T12:00", not {value!r}'
            )
            raise ValueError(msg) from None
    if isinstance(value, datetime):
        if value.tzinfo is None:
            value = value.replace(tzinfo=UTC)
        return round(value.timestamp() * 1000)
    if isinstance(value, bool) or not isinstance(value, int):
        msg = f"{name} must be an int of milliseconds, a datetime or its text, not {value!r}"
        raise TypeError(msg)
    return value


def frequency_ms(value: int | str | timedelta) -> int:
    """Give the milliseconds of a frequency as pandas writes it, ``"15min"``.

    Examples
    --------
    >>> frequency_ms("250ms"), frequency_ms("1h"), frequency_ms("s")
    (250, 3600000, 1000)
    """
    if not isinstance(value, str):
        return milliseconds(value, "freq", least=1)
    matched = re.fullmatch(r"\s*(\d*)\s*([a-zA-Z]+)\s*", value)
    unit = _UNITS_MS.get(matched[2].lower()) if matched else None
    if matched is None or unit is None:
        msg = f'unknown frequency {value!r}; write it as "250ms", "5s", "15min", "1h" or "1d"'
        raise ValueError(msg)
    return milliseconds(int(matched[1] or 1) * unit, "freq", least=1)

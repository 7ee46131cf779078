"""Finds the failures of a machine in a real recording of its temperature.

The recording is a value every five minutes for eighty days, from the Numenta Anomaly
Benchmark, which also says when something was wrong with the machine. A machine that
fails gets cold: an alarm is a window that is cold even several deviations above its mean.

    python examples/machine_temperature.py            # alarms, held against the benchmark
    python examples/machine_temperature.py --check    # besides, every row against pandas
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from headwater import Application, Mean, Std
from headwater.sinks import ListSink
from headwater.sources import CSVSource

SIZE = timedelta(hours=4)
ADVANCE = timedelta(hours=1)
GRACE = timedelta(hours=1)  # the recorder's clock was once set back by 55 minutes
COLD = 60.0  # degrees Fahrenheit; the machine runs at about 90
DEVIATIONS = 3.0

RECORDING = "nab/machine_temperature_system_failure.csv"

Row = dict[str, Any]
Span = tuple[datetime, datetime]


def measure(recording: Path, directory: str) -> list[Row]:
    """Return mean and deviation of every window of the recording."""
    app = Application(name="machine-temperature", directory=directory)
    source = CSVSource(
        recording,
        key_extractor=lambda _row: "machine",
        timestamp_extractor="timestamp",
    )
    windows = (
        app.dataframe(source=source)
        .hopping_window(SIZE, ADVANCE, grace_ms=GRACE)
        .agg(mean=Mean("value"), deviation=Std("value"))
        .final()
    )
    rows = ListSink()
    windows.sink(rows)
    app.run()  # until the end of the file, which closes the last windows
    return list(rows)


def is_alarm(row: Row) -> bool:
    """Whether a window is cold, whatever its ups and downs."""
    highest: float = row["mean"] + DEVIATIONS * (row["deviation"] or 0.0)
    return highest < COLD


def join(spans: list[Span]) -> list[Span]:
    """Join spans that touch or overlap."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def report(rows: list[Row], anomalies: list[Span]) -> None:
    """Print which anomalies the alarms hit, and the alarms that hit none."""
    alarms = join([(utc(row["start"]), utc(row["end"])) for row in rows if is_alarm(row)])
    print(f"{len(rows)} windows, {len(alarms)} alarms, {len(anomalies)} anomalies")
    for anomaly in anomalies:
        hits = [alarm for alarm in alarms if overlap(alarm, anomaly)]
        first = f"alarm from {hits[0][0]:%Y-%m-%d %H:%M}" if hits else "no alarm"
        print(f"  {'hit   ' if hits else 'MISSED'}  {text(anomaly)}  {first}")
    for alarm in alarms:
        if not any(overlap(alarm, anomaly) for anomaly in anomalies):
            print(f"  false   {text(alarm)}")


def check(rows: list[Row], recording: Path) -> None:
    """Compare every row with what pandas makes of the same file.

    They must agree within 1e-14, relatively: Headwater adds in the order of the records,
    pandas sorts them first and compensates rounding.
    """
    import pandas as pd  # only here, so that the example also runs without pandas

    values = pd.read_csv(recording, parse_dates=["timestamp"]).set_index("timestamp")["value"]
    tumbling = [
        values.resample(SIZE, origin="epoch", offset=hop * ADVANCE).agg(["mean", "std"])
        for hop in range(SIZE // ADVANCE)
    ]
    theirs = pd.concat(tumbling).dropna(subset="mean").sort_index()
    ours = pd.DataFrame(rows).set_index("start").sort_index()
    ours.index = pd.to_datetime(ours.index, unit="ms").astype(theirs.index.dtype)
    ours = ours[["mean", "deviation"]].astype(float).rename(columns={"deviation": "std"})
    pd.testing.assert_frame_equal(
        ours, theirs, check_names=False, check_freq=False, rtol=1e-14, atol=0
    )
    print(f"all {len(rows)} rows equal pandas'")


def epoch_ms(text: str) -> int:
    """Return a date and time of the recording, taken for UTC, in milliseconds."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def utc(time_ms: int) -> datetime:
    """Return the date and time of an event time."""
    return datetime.fromtimestamp(time_ms / 1000, UTC)


def overlap(one: Span, other: Span) -> bool:
    """Whether two spans have a moment in common."""
    return one[0] < other[1] and other[0] < one[1]


def text(span: Span) -> str:
    """Return a span as text."""
    return f"{span[0]:%Y-%m-%d %H:%M} to {span[1]:%Y-%m-%d %H:%M}"


def anomalies_of(recording: Path) -> list[Span]:
    """Return when the benchmark says that something was wrong."""
    known = json.loads((recording.parent / "anomaly_windows.json").read_text())
    times = [[utc(epoch_ms(time)) for time in span] for span in known[recording.name]]
    return [(start, end) for start, end in times]


def main() -> int:
    """Run the example."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    data = Path(os.environ.get("HEADWATER_DATA", beside))
    parser = argparse.ArgumentParser(description="Finds a machine's failures.")
    parser.add_argument("recording", nargs="?", type=Path, default=data / RECORDING)
    parser.add_argument("--check", action="store_true", help="compare every row with pandas")
    arguments = parser.parse_args()
    if not arguments.recording.exists():
        print(f"There is no recording at {arguments.recording}; set HEADWATER_DATA, or give a path")
        return 0
    with tempfile.TemporaryDirectory() as directory:
        rows = measure(arguments.recording, directory)
    report(rows, anomalies_of(arguments.recording))
    if arguments.check:
        check(rows, arguments.recording)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A stateful, windowed job from a CSV file to a file; ends with its input."""

import sys
from pathlib import Path

from headwater import Application, Count, State, Sum
from headwater.sinks import JSONLinesSink
from headwater.sources import CSVSource

folder = Path(sys.argv[1])


def number(row: dict, state: State) -> dict:
    """Give each row of a key its number."""
    count = state.get("count", 0) + 1
    state.set("count", count)
    return {**row, "count": count}


app = Application(name="job", directory=folder / "log", loglevel=None, idle_timeout=None)
source = CSVSource(
    folder / "input.csv",
    key_extractor="phone",
    timestamp_extractor="time",
    timestamp_format="ms",
    delay=0.00005,
)
sdf = app.dataframe(source=source)
sdf = sdf.apply(number, stateful=True)
sdf.to_topic("rows")
sdf.sink(JSONLinesSink(folder / "rows.jsonl", metadata=True))
sdf = sdf.hopping_window(1000, 500, grace_ms=100).agg(total=Sum("x"), n=Count()).final()
sdf.sink(JSONLinesSink(folder / "windows.jsonl", metadata=True))
sdf = sdf.to_topic("totals")
print("running", flush=True)
app.run()
print("ended", flush=True)

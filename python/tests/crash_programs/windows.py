"""Pipeline 2: numbers each phone's rows, and adds them up in windows."""

import sys
from pathlib import Path

from headwater import Application, Count, State, Sum
from headwater.sinks import JSONLinesSink

directory = Path(sys.argv[1])


def number(row: dict, state: State) -> dict:
    """Give each row of a key its number."""
    count = state.get("count", 0) + 1
    state.set("count", count)
    return {**row, "count": count}


app = Application(name="windows", directory=directory, loglevel=None, idle_timeout=None)
sdf = app.dataframe("flat")
sdf = sdf.apply(number, stateful=True)
sdf.sink(JSONLinesSink(directory.parent / "rows.jsonl", metadata=True))
sdf = sdf.hopping_window(1000, 500, grace_ms=100).agg(total=Sum("x"), n=Count()).final()
sdf.sink(JSONLinesSink(directory.parent / "windows.jsonl", metadata=True))
sdf = sdf.to_topic("totals")
app.run()

"""Reads what the second pipeline writes, into a file."""

import sys
from pathlib import Path

from headwater import Application
from headwater.sinks import JSONLinesSink

directory = Path(sys.argv[1])
app = Application(name="reader", directory=directory, loglevel=None, idle_timeout=None)
app.dataframe("totals").sink(JSONLinesSink(directory.parent / "read.jsonl", metadata=True))
app.run()

"""Pipeline 1: keeps one sensor and flattens its samples."""

import sys

from headwater import Application

app = Application(name="flatten", directory=sys.argv[1], loglevel=None, idle_timeout=None)
sdf = app.dataframe("raw")
sdf = sdf[sdf["sensor"] == "acc"]
sdf["x"] = sdf["at"]["x"] * 2
sdf = sdf.apply(
    lambda row: [{"n": row["n"], "x": row["x"], "twin": twin} for twin in (0, 1)], expand=True
)
sdf = sdf.to_topic("flat")
app.run()

"""Averages each car's speed over ten seconds and keeps the fast stretches."""

from headwater import Application, First, Mean

app = Application(name="speeds")
sdf = app.dataframe("telemetry")

sdf = sdf[sdf["unit"] == "m/s"]
sdf["kmh"] = sdf["speed"] * 3.6
sdf = sdf.tumbling_window(10_000).agg(car=First("car"), kmh=Mean("kmh")).final()
sdf = sdf[sdf["kmh"] > 100]
sdf = sdf.to_topic("fast")

app.run(timeout=2)  # without `timeout`, it runs until Ctrl-C

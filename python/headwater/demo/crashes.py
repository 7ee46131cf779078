"""Finds car crashes in what phones measure: a pothole hits harder, but a crash lasts."""

from datetime import UTC, datetime
from typing import Any

from headwater import Application, First, Sum

app = Application(name="crash-detection")
rows = app.dataframe("phones-rows")  # a table without an end; the key is the phone

# Rows of the other sensors lack these columns, and what a row lacks is null.
rows = rows[rows["accelerometer_x"].notnull()]

# The time that counts is when the phone measured. Phones give it in nanoseconds.
rows = rows.set_timestamp(rows["time"] // 1_000_000)

# Expressions of columns describe what to do; Rust does it, many rows at a time.
x, y, z = (rows[f"accelerometer_{axis}"] for axis in "xyz")
rows["g"] = (x * x + y * y + z * z) ** 0.5 / 9.80665

# For each phone, a window every 250 ms. It is final when the phone's own time has passed
# its end, so a phone that was cut off for minutes loses nothing.
windows = rows.hopping_window(2000, 250).agg(phone=First("device"), total_g=Sum("g")).final()
alerts = windows[windows["total_g"] > 300]  # 1.5 g on average over two hundred readings
alerts["total_g"] = alerts["total_g"].round(1)


def add_time(alert: dict[str, Any]) -> dict[str, Any]:
    """Make the time readable. Python runs here, once per alert: set a breakpoint."""
    time = datetime.fromtimestamp(alert["start"] / 1000, UTC)
    return {**alert, "time": f"{time:%H:%M:%S.%f}"}


alerts = alerts.apply(add_time)
alerts.print_table(size=12, title="Crashes", columns=["phone", "time", "total_g"], metadata=False)
alerts.to_topic("crash-alerts")

if __name__ == "__main__":
    app.run()

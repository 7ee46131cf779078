"""Makes rows of the phones' messages: one for each reading, of its sensor's own shape.

A message carries a hundred readings in nested JSON. The row of an accelerometer's is::

    {"device": "pixel-71c2", "time": 1746432006000412345,
     "accelerometer_x": 0.12, "accelerometer_y": -0.5, "accelerometer_z": 0.3}

Rows of the gyroscope and of GPS stand in the same topic with columns of their own: no
schema says what a row must have. A row keeps the time that the phone wrote and, as its
key, the phone.
"""

from typing import Any

from headwater import Application

app = Application(name="flatten")
messages = app.dataframe("phones-raw")


def rows_of(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a flat row for each reading of a message."""
    rows = []
    for reading in message["payload"]:
        row = {"device": message["deviceId"], "time": reading["time"]}
        for name, value in reading["values"].items():
            row[f"{reading['name']}_{name}"] = value
        rows.append(row)
    return rows


messages.apply(rows_of, expand=True).to_topic("phones-rows")

if __name__ == "__main__":
    app.run()

"""Reads the alerts, as another program would, and notes when it saw each of them.

An alert can be read once it is committed, so this measures the demo's latency from the
outside, a little too long rather than too short.
"""

import time
from typing import Any

from headwater import Application

app = Application(name="alert-reader")
alerts = app.dataframe("crash-alerts")


def note(alert: dict[str, Any]) -> dict[str, Any]:
    """Return which alert it is, and the wall-clock time."""
    return {"phone": alert["phone"], "start": alert["start"], "seen_ns": time.time_ns()}


alerts.apply(note).to_topic("demo-seen")

if __name__ == "__main__":
    app.run()

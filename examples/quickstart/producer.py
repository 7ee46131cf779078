"""Sends a minute of what two cars measure to the topic `telemetry`."""

import random
import time

from headwater import Application

app = Application(name="cars")
start_ms = int(time.time() * 1000)

with app.get_producer() as producer:
    for second in range(60):
        for car in ("red", "blue"):
            reading = {"car": car, "speed": round(random.uniform(20, 40), 1), "unit": "m/s"}
            producer.produce("telemetry", reading, key=car, timestamp=start_ms + second * 1000)

print("120 records sent")

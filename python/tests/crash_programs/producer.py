"""Writes numbered samples; a restart goes on after the last one that is in the topic.

Arguments: the directory of the log, the number of samples.
"""

import sys
import time

from headwater import Application

BASE_MS = 1_700_000_000_000
PHONES = 5


def sample(number: int) -> dict:
    """Sample `number`: every third is of a sensor that nobody wants."""
    return {
        "phone": f"phone-{number * 7 % PHONES}",
        "sensor": "gyro" if number % 3 == 2 else "acc",
        "n": number,
        "at": {"x": number % 50, "big": 9_007_199_254_740_993},
    }


def time_of(number: int) -> int:
    """Event time: up to 300 ms out of order."""
    return BASE_MS + number * 10 - (number * 37 % 300)


def last_samples(count: int) -> list[tuple[dict, int]]:
    """One sample of each phone far ahead, which closes its windows."""
    ahead = BASE_MS + count * 10 + 60_000
    return [
        ({"phone": f"phone-{phone}", "sensor": "acc", "n": count + phone, "at": {"x": 0}}, ahead)
        for phone in range(PHONES)
    ]


def samples(count: int) -> list[tuple[dict, int]]:
    """Everything that is written, in order."""
    return [(sample(number), time_of(number)) for number in range(count)] + last_samples(count)


def main() -> None:
    directory, count = sys.argv[1], int(sys.argv[2])
    app = Application(name="producer", directory=directory, loglevel=None)
    topic = app.topic("raw")
    with app.get_producer() as producer:
        written = len(app.read_topic(topic))
        for number, (value, timestamp) in enumerate(samples(count)[written:], start=written):
            producer.produce("raw", value, value["phone"], timestamp=timestamp)
            if number % 20 == 19:
                producer.flush()
                time.sleep(0.002)
    print("done", flush=True)
    # Stays until it is ended, as a real producer does.
    while True:
        time.sleep(1)


if __name__ == "__main__":
    main()

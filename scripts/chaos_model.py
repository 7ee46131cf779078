"""What goes into the chaos job, what must come out of it, and who compares.

The model shares no code with Headwater: rows are numbered, so the count of a row's key
and the sum of a window follow from how many there were. The reader is confluent-kafka with
``read_committed``.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from orjson import loads

PARTITIONS = 4
KEYS = 400
CITIES = 7
STEP_MS = 5
WINDOW_MS = 1_000
# So many rows may wait: a job that is restoring is not to be buried.
BACKLOG = 20_000
# Brokers come and go here, and a client need not tell.
CLIENT = {"log_level": 0}


class Failed(Exception):
    """What was wrong."""


def city(number: int) -> int:
    """Return the city of a row: every key has rows of all."""
    return (number // KEYS + number) % CITIES


class Feeder:
    """Writes numbered rows as fast as they are worked off, and at last the end of time."""

    def __init__(self, brokers: str, done: Callable[[], int], start_ms: int) -> None:
        self.count = 0
        self.start_ms = start_ms
        self.done = done
        self.is_ending = threading.Event()
        self.failure: str | None = None
        settings = {**CLIENT, "bootstrap.servers": brokers, "enable.idempotence": True}
        self._producer = Producer(settings)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _told(self, error: Any, _message: Any) -> None:
        if error is not None:
            self.failure = str(error)

    def _produce(self, value: bytes, key: bytes, partition: int, timestamp: int) -> None:
        while True:
            try:
                self._producer.produce(
                    "in", value, key, partition, timestamp=timestamp, on_delivery=self._told
                )
            except BufferError:
                self._producer.poll(0.1)
            else:
                return

    def _run(self) -> None:
        filler = "." * 120
        while not self.is_ending.is_set():
            if self.count - self.done() > BACKLOG:
                self._producer.poll(0.05)
                continue
            for number in range(self.count, self.count + 500):
                value = f'{{"id":{number},"city":"c{city(number)}","x":{number},"text":"{filler}"}}'
                key = number % KEYS
                self._produce(
                    value.encode(), b"k%d" % key, key % PARTITIONS, self.start_ms + number * STEP_MS
                )
            self.count += 500
            self._producer.poll(0.02)
        # Later than all: closes every window.
        after = self.start_ms + self.count * STEP_MS + 3_600_000
        for partition in range(PARTITIONS):
            value = f'{{"id":-1,"city":"end{partition}","x":0}}'
            self._produce(value.encode(), b"end%d" % partition, partition, after)
        self._producer.flush(60)

    def end(self) -> None:
        """Write the end of time and wait until all is stored."""
        self.is_ending.set()
        self._thread.join()
        if self.failure is not None:
            raise Failed(f"the input could not be written: {self.failure}")


class Model:
    """Takes what comes out, and compares it with what must."""

    def __init__(self, start_ms: int, is_exactly_once: bool) -> None:
        self.start_ms = start_ms
        self.is_exactly_once = is_exactly_once
        self.seen = bytearray()
        # Distinct rows and all rows that came out.
        self.distinct = 0
        self.all = 0
        self.ends: set[str] = set()
        self.sums: dict[tuple[str, int], tuple[int, int]] = {}
        self.wrong: list[str] = []

    def _say(self, text: str) -> None:
        if len(self.wrong) < 20:
            self.wrong.append(text)
        elif len(self.wrong) == 20:
            self.wrong.append("and more")

    def take_count(self, row: dict[str, Any]) -> None:
        """Take in a row of `counts`."""
        number, n = row["id"], row["n"]
        self.all += 1
        if number < 0:
            if row["city"] in self.ends and self.is_exactly_once:
                self._say(f"the last row of {row['city']} came out again")
            self.ends.add(row["city"])
            return
        if len(self.seen) <= number:
            self.seen.extend(bytes(number + 100_000 - len(self.seen)))
        before = self.seen[number]
        self.distinct += before == 0
        self.seen[number] = min(before + 1, 255)
        wanted = number // KEYS + 1
        if self.is_exactly_once:
            if before:
                self._say(f"row {number} came out again")
            if n != wanted:
                self._say(f"row {number} has count {n}, not {wanted}")
        elif n < wanted:
            self._say(f"row {number} has count {n}, less than {wanted}")

    def take_sum(self, key: str, row: dict[str, Any]) -> None:
        """Take in a row of `sums`."""
        place = (key, row["start"])
        known = self.sums.get(place)
        if known is not None and self.is_exactly_once:
            self._say(f"window {place} came out again")
        best = (row["rows"], row["total"])
        self.sums[place] = best if known is None else max(known, best)

    def is_complete(self, count: int) -> bool:
        """Whether everything has come out."""
        return (
            count <= self.distinct
            and len(self.ends) == PARTITIONS
            and len(self.sums) >= self._windows(count)
        )

    def _windows(self, count: int) -> int:
        """Return how many windows so many rows fill; none is without a row of every city."""
        first = self.start_ms // WINDOW_MS
        last = (self.start_ms + (count - 1) * STEP_MS) // WINDOW_MS
        return (last - first + 1) * CITIES

    def judge(self, count: int) -> None:
        """Compare with the model of so many rows.

        Raises
        ------
        Failed
            If anything is missing, too much or wrong.
        """
        lost = [
            number for number in range(count) if not self.seen[number : number + 1].strip(b"\0")
        ]
        if lost:
            self._say(f"{len(lost)} rows are lost, the first {lost[:5]}")
        if len(self.ends) != PARTITIONS:
            self._say(f"the last rows are missing: {self.ends}")
        model: dict[tuple[str, int], tuple[int, int]] = {}
        for number in range(count):
            time_ms = self.start_ms + number * STEP_MS
            place = (f"c{city(number)}", time_ms - time_ms % WINDOW_MS)
            rows, total = model.get(place, (0, 0))
            model[place] = (rows + 1, total + number)
        for place in self.sums.keys() - model.keys():
            self._say(f"window {place} should not be there")
        for place, wanted in model.items():
            got = self.sums.get(place)
            if got is None:
                self._say(f"window {place} is missing")
            elif got != wanted if self.is_exactly_once else got[0] < wanted[0]:
                self._say(f"window {place} has {got}, not {wanted}")
        if self.wrong:
            raise Failed("; ".join(self.wrong))


class Oracle(Model):
    """Reads what is committed, all along, for the model."""

    def __init__(self, brokers: str, start_ms: int, is_exactly_once: bool) -> None:
        super().__init__(start_ms, is_exactly_once)
        self._is_over = threading.Event()
        self._consumer = Consumer(
            {
                **CLIENT,
                "bootstrap.servers": brokers,
                "group.id": "oracle",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.queue.backoff.ms": 10,
            }
        )
        places = [
            TopicPartition(topic, partition, 0)
            for topic in ("counts", "sums")
            for partition in range(PARTITIONS)
        ]
        self._consumer.assign(places)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._is_over.is_set():
            for message in self._consumer.consume(2_000, 0.2):
                if message.error() is not None:
                    continue
                row = loads(message.value())
                if message.topic() == "counts":
                    self.take_count(row)
                else:
                    self.take_sum(loads(message.key()), row)

    def end(self) -> None:
        """Stop reading."""
        self._is_over.set()
        self._thread.join()
        self._consumer.close()


def judge_log(brokers: str, count: int, is_exactly_once: bool) -> None:
    """Compare positions and changelog with the model.

    Raises
    ------
    Failed
        If they differ.
    """
    consumer = Consumer(
        {
            **CLIENT,
            "bootstrap.servers": brokers,
            "group.id": "judge",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
        }
    )
    places = [TopicPartition("in", partition) for partition in range(PARTITIONS)]
    admin = AdminClient({**CLIENT, "bootstrap.servers": brokers})
    asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions("chaos", places)])
    for at in asked["chaos"].result(30).topic_partitions:
        _, end = consumer.get_watermark_offsets(TopicPartition(at.topic, at.partition), 30)
        if at.offset != end:
            raise Failed(f"the position of {at.topic}[{at.partition}] is {at.offset} of {end}")
    folded = fold(consumer, "changelog__chaos--in--default")
    consumer.close()
    expected = Counter(count // KEYS + (key < count % KEYS) for key in range(KEYS))
    expected[1] += PARTITIONS
    counted = Counter(folded.values())
    if is_exactly_once and counted != expected:
        raise Failed(f"the changelog folds to {counted}, not {expected}")
    if not is_exactly_once and sum(counted.values()) != sum(expected.values()):
        raise Failed(f"the changelog has {sum(counted.values())} keys")


def fold(consumer: Consumer, topic: str) -> dict[bytes, int]:
    """Return the last number of each key of a changelog."""
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    folded: dict[bytes, int] = {}
    ended: set[int] = set()
    deadline = time.monotonic() + 120
    while len(ended) < PARTITIONS:
        if deadline < time.monotonic():
            raise Failed(f"{topic} cannot be read to its end")
        for message in consumer.consume(5_000, 1.0):
            if message.error() is not None:
                if message.error().code() == -191:
                    ended.add(message.partition())
                continue
            key, value = message.key(), message.value()
            # Kind 1 is a value; the others are clocks.
            if key[0] != 1:
                continue
            if value is None:
                folded.pop(key, None)
            else:
                # A version, an expiry of eight bytes, a length, and `j` before JSON.
                folded[key] = json.loads(value[9:].partition(b"j")[2])
    return folded

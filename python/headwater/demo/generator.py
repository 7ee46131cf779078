"""Plays three phones that drive about, and sends what they measure to the raw topic.

A message is what a phone's sensor logger sends every half second::

    {"messageId": 12, "sessionId": "…", "deviceId": "pixel-71c2", "payload": [
        {"name": "accelerometer", "time": 1746432006000412345,
         "values": {"x": 0.12, "y": -0.5, "z": 0.3}},
        {"name": "gyroscope", …}, {"name": "location", …}]}

The drives take a little more than six minutes of event time and are played twelve
times as fast, in half a minute. One phone has no network for five of the six
minutes; what it measured meanwhile comes in three seconds, in order, as soon as it
is back (36 seconds of event time).

The order of the messages follows from the seed alone. So a generator that was
interrupted counts the messages in the topic and goes on behind them.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from headwater import Application
from headwater.demo import topics
from headwater.demo.drive import CUT_OFF_S, EPOCH_NS, Drive, Reading, plan_drives, readings

if TYPE_CHECKING:
    from collections.abc import Iterator

RAW = "phones-raw"
"""The topic of the phones' messages."""

TRUTH = "demo-truth"
"""The topic that says what really happened; only the report reads it."""

SENT = "demo-sent"
"""The topic that says when messages were handed to the log, by the wall clock."""

SPEED = 12
"""Event time passes so many times as fast as wall-clock time."""

TICKS_PER_MESSAGE = 50
BACKLOG_S = 36.0
"""In event time: at ``SPEED``, the backlog comes within three seconds."""

_BATCH_MESSAGES_MAX = 100


@dataclass(frozen=True)
class Message:
    """What a phone sends at once, and when it gets through."""

    sent_s: float
    phone: str
    value: bytes


def messages(drives: list[Drive]) -> Iterator[Message]:
    """Return the messages of all phones in the order in which they are sent."""
    return heapq.merge(*map(_messages_of, drives), key=lambda message: message.sent_s)


def _messages_of(drive: Drive) -> Iterator[Message]:
    payload: list[dict[str, object]] = []
    sent_s, number, ticks, tick_count = 0.0, 0, 0, drive.tick_count
    for found in readings(drive):
        payload.extend(_as_logged(reading) for reading in found)
        ticks += 1
        if ticks % TICKS_PER_MESSAGE and ticks < tick_count:
            continue
        sent_s = max(sent_s, _gets_through_s(drive, (found[0].time_ns - EPOCH_NS) / 1e9))
        message = {
            "messageId": number,
            "sessionId": f"{drive.phone}-drive",
            "deviceId": drive.phone,
            "payload": payload,
        }
        yield Message(sent_s, drive.phone, json.dumps(message).encode())
        payload, number = [], number + 1


def decode(message: Message) -> dict[str, Any]:
    """Return what a message says."""
    return dict(json.loads(message.value))


def _as_logged(reading: Reading) -> dict[str, object]:
    return {"name": reading.sensor, "time": reading.time_ns, "values": reading.values}


def _gets_through_s(drive: Drive, made_s: float) -> float:
    """Return when a message made then reaches the topic: at once, unless cut off."""
    start_s, end_s = CUT_OFF_S
    if not drive.has_cut_off or not start_s <= made_s < end_s:
        return made_s
    return end_s + (made_s - start_s) / (end_s - start_s) * BACKLOG_S


def truth(seed: int, drives: list[Drive]) -> dict[str, object]:
    """Return what a perfect detector would find, and how much there is to read."""
    return {
        "seed": seed,
        "messages": sum(-(-drive.tick_count // TICKS_PER_MESSAGE) for drive in drives),
        "readings": sum(drive.reading_count for drive in drives),
        "cut_off": next(drive.phone for drive in drives if drive.has_cut_off),
        "cut_off_ns": [EPOCH_NS + int(at_s * 1e9) for at_s in CUT_OFF_S],
        "incidents": [
            {"phone": drive.phone, "epoch_ms": EPOCH_NS // 1_000_000, **asdict(incident)}
            for drive in drives
            for incident in drive.incidents
        ],
    }


def send(app: Application, seed: int, *, is_fast: bool) -> int:
    """Send what has not been sent yet, and return how many messages that were."""
    drives = plan_drives(seed)
    sent = topics.count(app, RAW)
    first = sent
    with app.get_producer() as producer:
        if not topics.rows(app, TRUTH):
            producer.produce(TRUTH, value=json.dumps(truth(seed, drives)))
            producer.flush()
        for batch in in_time(itertools.islice(messages(drives), sent, None), is_fast=is_fast):
            # Taken before the append begins: a latency is rather too long than too short.
            stamp = {"first": sent, "count": len(batch), "sent_ns": time.time_ns()}
            for message in batch:
                time_ms = EPOCH_NS // 1_000_000 + int(message.sent_s * 1000)
                producer.produce(RAW, value=message.value, key=message.phone, timestamp=time_ms)
            producer.produce(SENT, value=json.dumps(stamp))
            producer.flush()
            sent += len(batch)
    return sent - first


def in_time(source: Iterator[Message], *, is_fast: bool) -> Iterator[list[Message]]:
    """Hand out messages when they are due, those that are due together in one list."""
    batch: list[Message] = []
    began: float | None = None
    for message in source:
        if began is None:
            began = time.monotonic() - message.sent_s / SPEED
        due = 0.0 if is_fast else began + message.sent_s / SPEED
        if batch and (due > time.monotonic() or len(batch) >= _BATCH_MESSAGES_MAX):
            yield batch
            batch = []
        time.sleep(max(0.0, due - time.monotonic()))
        batch.append(message)
    if batch:
        yield batch


def main() -> None:
    """Play the drives of ``--seed``; ``--fast`` does not wait between messages."""
    parser = argparse.ArgumentParser(description="Plays three phones that drive about.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fast", action="store_true")
    arguments = parser.parse_args()
    send(Application(name="phones"), arguments.seed, is_fast=arguments.fast)


if __name__ == "__main__":
    main()

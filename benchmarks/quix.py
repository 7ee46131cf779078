"""The same pipelines in Quix Streams, without a broker.

Each record goes through what `Application` does with it: deserialise, the composed
data frame in a context of its own, the offset, the checkpoint when it is due, and
serialise. Only the client is replaced: nothing is read from or sent to a broker, and
stores have no changelog. Only the work on each batch is timed.

    python quix.py filter|sum|lambda ROWS_FILE ROWS
"""

# What stands in for the client has the names and arguments of what it stands for.
# ruff: noqa: D102, ARG002

from __future__ import annotations

import json
import sys
import tempfile
import time
from contextvars import copy_context
from pathlib import Path
from typing import Any

from lines import batches
from quixstreams.context import set_message_context
from quixstreams.dataframe import DataFrameRegistry, StreamingDataFrame
from quixstreams.models.topics import Topic, TopicConfig, TopicManager
from quixstreams.processing import ProcessingContext
from quixstreams.sinks import SinkManager
from quixstreams.state import StateStoreManager

RPM_ABOVE = 12_500
POWER_ABOVE = 3_048_000
WINDOW_MS = 500_000


class Client:
    """Stands where a producer and a consumer would: serialises, and sends nothing."""

    def __init__(self) -> None:
        self.offsets: dict[Any, int] = {}
        self.produced = 0

    def produce_row(self, row: Any, topic: Topic, key: Any, timestamp: int) -> None:
        topic.row_serialize(row=row, key=key)
        self.produced += 1

    def flush(self, timeout: float | None = None) -> int:
        return 0

    def commit(self, **_: Any) -> list[Any]:
        return []


class Message:
    """A record as the client would give it."""

    __slots__ = ("_key", "_offset", "_timestamp", "_value")

    def __init__(self, key: bytes, timestamp: int, value: bytes, offset: int) -> None:
        self._key, self._timestamp, self._value, self._offset = key, timestamp, value, offset

    def key(self) -> bytes:
        return self._key

    def value(self) -> bytes:
        return self._value

    def timestamp(self) -> tuple[int, int]:
        return 1, self._timestamp

    def headers(self) -> None:
        return None

    def topic(self) -> str:
        return "telemetry"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def leader_epoch(self) -> None:
        return None

    def __len__(self) -> int:
        return len(self._value)


def define(name: str, sdf: StreamingDataFrame, output: Topic) -> None:
    """Define a job on the frame."""
    if name == "filter":
        sdf = sdf[sdf["rpm"] > RPM_ABOVE]
        sdf["speed_kmh"] = sdf["speed"] * 3.6
        sdf[["ts", "driver", "lap", "speed_kmh"]].to_topic(output)
    elif name == "sum":
        from quixstreams.dataframe.windows import Sum

        sdf.tumbling_window(WINDOW_MS).agg(total=Sum("speed")).final().to_topic(output)
    else:
        sdf["power"] = sdf.apply(lambda row: row["speed"] * row["rpm"])
        sdf = sdf[sdf["power"] > POWER_ABOVE]
        sdf[["ts", "driver", "power"]].to_topic(output)


def main() -> None:
    """Run the job that the command line names, and print its figures."""
    name, path, rows = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    client, registry, sinks = Client(), DataFrameRegistry(), SinkManager()
    with tempfile.TemporaryDirectory() as state_directory:
        state = StateStoreManager(group_id="bench", state_dir=state_directory)
        context = ProcessingContext(
            commit_interval=5.0,  # its default
            producer=client,
            consumer=client,
            state_manager=state,
            sink_manager=sinks,
            dataframe_registry=registry,
        )
        topic = Topic("telemetry", value_deserializer="json", key_deserializer="bytes")
        # What the broker would say of the topic.
        retention = {"retention.ms": "604800000", "retention.bytes": "-1"}
        topic.broker_config = TopicConfig(1, 1, extra_config=retention)
        output = Topic("output", value_serializer="json", key_serializer="bytes")
        sdf = StreamingDataFrame(
            topic,
            topic_manager=TopicManager(topic_admin=None, consumer_group="bench"),
            registry=registry,
            processing_context=context,
        )
        registry.register_root(sdf)
        define(name, sdf, output)
        execute = registry.compose_all()[topic.name]
        state.on_partition_assign(sdf.stream_id, 0, {})
        context.init_checkpoint()
        result = run(path, rows, topic, execute, context)
        started, cpu_started = time.perf_counter(), time.process_time()
        context.commit_checkpoint(force=True)
        result["cpu"] += time.process_time() - cpu_started
        result["seconds"] += time.perf_counter() - started
    result["records_out"] = client.produced
    print(json.dumps(result))


def run(path: Path, rows: int, topic: Topic, execute: Any, context: Any) -> dict[str, Any]:
    """As `Application._process_message`, for each record."""
    seconds = cpu = 0.0
    offset = 0
    for batch in batches(path, rows):
        messages = [Message(*record, offset + index) for index, record in enumerate(batch)]
        started, cpu_started = time.perf_counter(), time.process_time()
        for message in messages:
            row = topic.row_deserialize(message)
            own = copy_context()
            own.run(set_message_context, row.context)
            own.run(execute, row.value, row.key, row.timestamp, row.headers)
            context.store_offset(topic=row.topic, partition=row.partition, offset=row.offset)
            context.commit_checkpoint()
        cpu += time.process_time() - cpu_started
        seconds += time.perf_counter() - started
        offset += len(batch)
    return {"records": offset, "seconds": seconds, "cpu": cpu}


if __name__ == "__main__":
    main()

"""What a skilled user would write by hand: a loop over batches, with orjson.

It reads and writes no log. Batches of records come from memory and results stay
there, so the loop has neither the cost of a log nor its guarantees, and the sums
are lost when it ends. Only the work on each batch is timed.

    python plain.py filter|sum|lambda ROWS_FILE ROWS
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lines import batches
from orjson import dumps, loads

if TYPE_CHECKING:
    from collections.abc import Callable

    Record = tuple[bytes, int, bytes]
    Job = Callable[[list[Record]], list[Record]]

RPM_ABOVE = 12_500
POWER_ABOVE = 3_048_000
WINDOW_MS = 500_000


def filter_batch(batch: list[Record]) -> list[Record]:
    """Keep a tenth, compute one field, keep four."""
    out = []
    for key, timestamp, value in batch:
        row = loads(value)
        if row["rpm"] > RPM_ABOVE:
            kept = {
                "ts": row["ts"],
                "driver": row["driver"],
                "lap": row["lap"],
                "speed_kmh": row["speed"] * 3.6,
            }
            out.append((key, timestamp, dumps(kept)))
    return out


def make_sum() -> Job:
    """Sum a field for each key and window; a key's next window sends the last one out."""
    sums: dict[bytes, list[float]] = {}

    def sum_batch(batch: list[Record]) -> list[Record]:
        out = []
        for key, timestamp, value in batch:
            speed = loads(value)["speed"]
            start = timestamp - timestamp % WINDOW_MS
            held = sums.get(key)
            if held is None:
                sums[key] = [start, speed]
            elif held[0] == start:
                held[1] += speed
            else:
                result = {"start": held[0], "end": held[0] + WINDOW_MS, "total": held[1]}
                out.append((key, held[0], dumps(result)))
                held[0] = start
                held[1] = speed
        return out

    return sum_batch


def make_lambda() -> Job:
    """Call a function of two fields for each row, keep a tenth."""
    power = lambda row: row["speed"] * row["rpm"]  # noqa: E731

    def lambda_batch(batch: list[Record]) -> list[Record]:
        out = []
        for key, timestamp, value in batch:
            row = loads(value)
            value_of = power(row)
            if value_of > POWER_ABOVE:
                kept = {"ts": row["ts"], "driver": row["driver"], "power": value_of}
                out.append((key, timestamp, dumps(kept)))
        return out

    return lambda_batch


def main() -> None:
    """Run the job that the command line names, and print its figures."""
    name, path, rows = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    job = {"filter": lambda: filter_batch, "sum": make_sum, "lambda": make_lambda}[name]()
    seconds = cpu = 0.0
    records = records_out = 0
    for batch in batches(path, rows):
        started, cpu_started = time.perf_counter(), time.process_time()
        out = job(batch)
        cpu += time.process_time() - cpu_started
        seconds += time.perf_counter() - started
        records += len(batch)
        records_out += len(out)
    result = {"records": records, "records_out": records_out, "seconds": seconds, "cpu": cpu}
    print(json.dumps(result))


if __name__ == "__main__":
    main()

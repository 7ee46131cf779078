"""The input of the programs that read no log: lines of key, timestamp and value."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BATCH_ROWS = 2_000


def batches(path: Path, rows: int) -> Iterator[list[tuple[bytes, int, bytes]]]:
    """Give the first rows in batches, as a consumer would: keys and values are bytes."""
    with path.open("rb") as file:
        lines = islice(file, rows)
        while chunk := list(islice(lines, BATCH_ROWS)):
            parts = (line.rstrip(b"\n").split(b"\t") for line in chunk)
            yield [(key, int(timestamp), value) for key, timestamp, value in parts]

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import headwater as hw

Rows = list[dict[str, Any]]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def app(directory: Path) -> hw.Application:
    return hw.Application(name="test", directory=directory, loglevel=None)


@pytest.fixture
def produce(app: hw.Application) -> Callable[..., None]:
    """Write rows to a topic, one second apart."""

    def write(rows: list[Any], topic: str = "in", key: Any = "k", start: int = 0) -> None:
        with app.get_producer() as producer:
            for index, row in enumerate(rows):
                producer.produce(topic, row, key, timestamp=start + index * 1000)

    return write


@pytest.fixture
def results(app: hw.Application, produce: Callable[..., None]) -> Callable[..., Rows]:
    """Run what a function builds on rows; the rows that come out."""

    def run(
        rows: list[Any],
        build: Callable[[hw.StreamingDataFrame], object],
        **options: Any,
    ) -> Rows:
        produce(rows)
        build(app.dataframe("in"))
        return app.run(**({"timeout": 0.2} | options))

    return run

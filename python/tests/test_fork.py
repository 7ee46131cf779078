"""A forked child cannot use its parent's log: it is told so, and harms nothing."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import headwater as hw

ROUNDS = int(os.environ.get("HEADWATER_FORKS", "12"))

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


def in_child(body: Callable[[], object]) -> str:
    """Run `body` in a forked child; what it raised, or what it returned."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Python warns of a fork beside threads, which is what is tested.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            said = f"returned {body()!r}"
        except BaseException as raised:
            said = f"{type(raised).__name__}: {raised}"
        os.write(writing, said.encode()[:4000])
        os._exit(0)
    os.close(writing)
    deadline = time.monotonic() + 60
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, 9)
            os.waitpid(child, 0)
            pytest.fail("the child hangs")
        time.sleep(0.005)
    with os.fdopen(reading, "rb") as pipe:
        return pipe.read().decode()


def test_a_forked_child_is_refused_and_the_parent_goes_on(
    app: hw.Application, directory: Path
) -> None:
    seed = int(os.environ.get("HEADWATER_SEED", random.randrange(2**32)))
    print(f"HEADWATER_SEED={seed}")
    chance = random.Random(seed)
    app.dataframe("in").to_topic("out")
    written = taken = 0
    with app.get_producer() as producer:

        def produce() -> None:
            producer.produce("in", {"n": written}, "k", timestamp=written)
            producer.flush()

        def run() -> object:
            return app.run(count=1)

        def open_anew() -> object:
            other = hw.Application(name="child", directory=directory, loglevel=None)
            return [row["n"] for row in other.read_topic("in")]

        refused: list[Callable[[], object]] = [
            produce,
            producer.flush,
            run,
            lambda: list(app.read_topic("in")),
            lambda: list(app.read_topic("out")),
        ]
        produce()
        written += 1
        for _ in range(ROUNDS):
            for _ in range(chance.randrange(3)):
                produce()
                written += 1
            if taken < written and chance.randrange(2):
                taken += len(app.run(count=written - taken))
            said = in_child(chance.choice(refused))
            assert "InvalidOperation" in said, said
            assert "open the log after the fork" in said, said
            if chance.randrange(3) == 0:
                # A log of its own is no trouble, and neither is closing it.
                assert in_child(open_anew) == f"returned {list(range(written))!r}"
        assert in_child(producer.close) == "returned None", "a child may let go of it"
        produce()
        written += 1
        app.run(count=written - taken)
    numbers = list(range(written))
    assert [row["n"] for row in app.read_topic("in")] == numbers
    assert [row["n"] for row in app.read_topic("out")] == numbers


def work(app: hw.Application, results: Any) -> None:
    try:
        results.put(len(list(app.read_topic("in"))))
    except Exception as raised:
        results.put(f"{type(raised).__name__}: {raised}")


def test_a_process_of_multiprocessing_by_fork_is_refused(app: hw.Application) -> None:
    with app.get_producer() as producer:
        producer.produce("in", {"n": 0}, "k")
    assert len(list(app.read_topic("in"))) == 1
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        process = context.Process(target=work, args=(app, results))
        process.start()
    said = results.get()
    process.join(60)
    assert process.exitcode == 0
    assert "open the log after the fork" in str(said)
    assert len(list(app.read_topic("in"))) == 1

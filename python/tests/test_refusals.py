"""What a program is refused, with the way out in the message; and what it leaves alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import headwater as hw
from headwater.errors import InternalError, InvalidOperation, UnavailableError
from headwater.sinks import JSONLinesSink

RUNS = """
import sys
from headwater import Application
app = Application(name="test", directory=sys.argv[1], loglevel=None)
app.dataframe("in").update(lambda row: print("runs", flush=True))
app.run()
"""

GOLDEN = Path(__file__).parents[2] / "crates" / "engine" / "tests" / "golden"

FILLS = """
import resource, signal, sys
from headwater import Application
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
app = Application(name="filler", directory=sys.argv[1], loglevel=None)
done = 0
try:
    with app.get_producer() as producer:
        while True:
            producer.produce("in", {"n": done, "text": "x" * 1000}, "k", timestamp=done)
            producer.flush()
            done += 1
except Exception as error:
    print(done, type(error).__name__, error)
"""


def make(directory: Path, **options: Any) -> hw.Application:
    return hw.Application(name="test", directory=directory, loglevel=None, **options)


def write(app: hw.Application, *rows: dict[str, Any]) -> None:
    with app.get_producer() as producer:
        for number, row in enumerate(rows):
            producer.produce("in", row, "k", timestamp=number * 1000)


def test_a_second_process_of_one_application(directory: Path) -> None:
    write(make(directory), {"n": 1})
    first = subprocess.Popen(
        [sys.executable, "-c", RUNS, str(directory)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == "runs\n"
        second = make(directory)
        second.dataframe("in").to_topic("out")
        with pytest.raises(InvalidOperation, match=r"`test`.*[\s\S]*Kafka"):
            second.run(timeout=0.1)
        other = hw.Application(name="other", directory=directory, loglevel=None)
        other.dataframe("in")
        assert other.run(timeout=0.2) == [{"n": 1}], "another application is free to run"
    finally:
        first.kill()
        first.communicate()
    # The lock dies with its process.
    after = make(directory)
    after.dataframe("in")
    after.run(timeout=0.1)


def test_a_log_of_a_newer_version(directory: Path) -> None:
    # A log of version 1: its pages have no checksums, so that SQLite alone may write to it.
    shutil.copytree(GOLDEN / "log-1" / "log", directory)
    # In another process, because SQLite's locks are the process's.
    change = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('PRAGMA user_version=99')"
    subprocess.run([sys.executable, "-c", change, str(directory / "log.db")], check=True)
    script = (
        "import sys, headwater as hw\n"
        "try:\n hw.Application(directory=sys.argv[1], loglevel=None).get_producer()\n"
        "except hw.InvalidOperation as error:\n print(error)"
    )
    said = subprocess.run(
        [sys.executable, "-c", script, str(directory)], capture_output=True, text=True, check=True
    ).stdout
    assert "another version" in said
    assert "version=`99`" in said
    assert "hint:" in said


def test_a_damaged_log(directory: Path) -> None:
    script = (
        "import sys, headwater as hw\n"
        "app = hw.Application(name='test', directory=sys.argv[1], loglevel=None)\n"
        "with app.get_producer() as producer:\n"
        "    for n in range(20000):\n"
        "        producer.produce('in', {'n': n, 'text': 'x' * 100}, 'k', timestamp=n)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(directory)], check=True)
    file = directory / "log.db"
    size = file.stat().st_size
    with file.open("r+b") as damaged:
        damaged.seek(size // 2)
        damaged.write(os.urandom(size // 4))
    app = make(directory)
    app.dataframe("in").to_topic("out")
    with pytest.raises(InternalError, match=r"(damaged|malformed)[\s\S]*"):
        app.run(timeout=0.2)


def test_a_full_disk_keeps_what_was_acknowledged(directory: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-c", FILLS, str(directory)],
        capture_output=True,
        check=True,
        text=True,
        timeout=120,
    )
    number, name, *_ = said.stdout.split() or ["", said.stderr]
    assert name == UnavailableError.__name__, said
    assert "log.db" in said.stdout
    rows = [row["n"] for row in make(directory).read_topic("in")]
    assert rows[: int(number)] == list(range(int(number)))
    assert len(rows) <= int(number) + 1


def test_a_window_that_is_closed_in_another_way(directory: Path) -> None:
    def run(closing: Any, **options: Any) -> None:
        app = make(directory)
        sdf = app.dataframe("in")
        if closing:
            sdf.tumbling_window(1000).agg(n=hw.Count()).final(closing_strategy=closing)
        app.run(timeout=0.1, **options)

    write(make(directory), {"n": 1})
    run("key")
    with pytest.raises(InvalidOperation, match=r"closing=key[\s\S]*closing=partition"):
        run("partition")
    with pytest.raises(InvalidOperation, match="confirm_lost_state=True"):
        run(None)
    run("key")
    run(None, confirm_lost_state=True)


def test_a_run_that_commits_nothing(directory: Path, tmp_path: Path) -> None:
    write(make(directory), {"n": 1}, {"n": 2})
    before = _topics(directory)
    app = make(directory, on_error="dead-letter")
    sdf = app.dataframe("in")
    sdf.sink(JSONLinesSink(tmp_path / "rows.jsonl"))
    sdf = sdf.tumbling_window(1000).agg(n=hw.Count()).final()
    sdf.to_topic("out")
    first = app.run(timeout=0.1, start="earliest", commit=False)
    assert app.run(timeout=0.1, start="earliest", commit=False) == first
    assert not (tmp_path / "rows.jsonl").exists()
    assert _topics(directory) == before == ["in"]


def _topics(directory: Path) -> list[str]:
    script = (
        "import sqlite3, sys\n"
        "for name, in sqlite3.connect(sys.argv[1]).execute('SELECT name FROM topics'):\n"
        "    print(name)"
    )
    said = subprocess.run(
        [sys.executable, "-c", script, str(directory / "log.db")],
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted(said.stdout.split())

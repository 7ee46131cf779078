"""Processes that are killed at random moments lose nothing and repeat nothing.

``HEADWATER_KILLS`` sets how often, ``HEADWATER_SEED`` when. What must come out is
computed here from the input alone, one record at a time.
"""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

import headwater as hw

pytestmark = pytest.mark.crash

PROGRAMS = Path(__file__).parent / "crash_programs"
KILLS = int(os.environ.get("HEADWATER_KILLS", "20"))
SEED = int(os.environ.get("HEADWATER_SEED", "20240"))
SIZE, STEP, GRACE = 1000, 500, 100

Rows = list[dict[str, Any]]
Records = list[tuple[str, int, dict[str, Any]]]


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(PROGRAMS / program), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def windows(records: list[tuple[str, int, int | float]], *, ends: bool = False) -> Rows:
    """The final windows of (key, time, x): each key by its own clock; the end closes all."""
    latest: dict[str, int] = {}
    open_windows: dict[str, dict[int, list[int | float]]] = defaultdict(dict)
    closed: Rows = []

    def close(key: str, until: float) -> None:
        for begin in sorted(open_windows[key]):
            if begin + SIZE + GRACE <= until:
                values = open_windows[key].pop(begin)
                row = {"start": begin, "end": begin + SIZE, "total": sum(values), "n": len(values)}
                closed.append({**row, "_key": key})

    for key, at, x in records:
        begin = at - at % STEP
        while at < begin + SIZE:
            if key not in latest or latest[key] < begin + SIZE + GRACE:
                open_windows[key].setdefault(begin, []).append(x)
            begin -= STEP
        latest[key] = max(latest.get(key, at), at)
        close(key, latest[key])
    for key in sorted(open_windows) if ends else ():
        close(key, float("inf"))
    return closed


def lines(path: Path) -> Rows:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def bare(rows: Rows, *also: str) -> Rows:
    """Rows without metadata, but for some of it."""
    return [
        {name: value for name, value in row.items() if name[0] != "_" or name in also}
        for row in rows
    ]


def by_key(rows: Rows, key: str = "_key") -> dict[str, Rows]:
    grouped: dict[str, Rows] = defaultdict(list)
    for row in rows:
        grouped[row[key]].append(row)
    return grouped


def failed(process: subprocess.Popen[str], name: str) -> str:
    out, err = process.communicate()
    return f"{name} ended with {process.returncode} (HEADWATER_SEED={SEED}):\n{out}\n{err}"


class Processes:
    """Programs that are started again when they are killed."""

    def __init__(self, **programs: tuple[object, ...]) -> None:
        self.programs = programs
        self.running = {name: self._start(name) for name in programs}
        self.kills: dict[str, int] = defaultdict(int)

    def _start(self, name: str) -> subprocess.Popen[str]:
        return start(f"{name}.py", *self.programs[name])

    def kill(self, name: str) -> None:
        process = self.running[name]
        assert process.poll() is None, failed(process, name)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        self.kills[name] += 1
        self.running[name] = self._start(name)

    def check(self) -> None:
        for name, process in self.running.items():
            assert process.poll() is None, failed(process, name)

    def end(self, names: list[str], which: int) -> None:
        for name in names:
            os.kill(self.running[name].pid, which)
        for name in names:
            process = self.running[name]
            begun = time.monotonic()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                raise AssertionError(failed(process, f"{name}, which did not end,")) from None
            assert process.returncode == 0, failed(process, name)
            assert time.monotonic() - begun < 5

    def kill_all(self) -> None:
        for process in self.running.values():
            process.kill()
            process.communicate()


def flattened(count: int) -> list[tuple[str, int, dict[str, int]]]:
    sys.path.insert(0, str(PROGRAMS))
    try:
        import producer
    finally:
        sys.path.pop(0)
    return [
        (value["phone"], at, {"n": value["n"], "x": value["at"]["x"] * 2, "twin": twin})
        for value, at in producer.samples(count)
        if value["sensor"] == "acc"
        for twin in (0, 1)
    ]


def numbered(records: list[tuple[str, int, dict[str, Any]]]) -> Rows:
    counts: dict[str, int] = defaultdict(int)
    rows = []
    for key, _, row in records:
        counts[key] += 1
        rows.append({**row, "count": counts[key], "_key": key})
    return rows


def test_four_processes_on_one_log(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    directory = tmp_path / "log"
    count = KILLS * 1000
    records = flattened(count)
    wanted_windows = windows([(key, at, row["x"]) for key, at, row in records])
    app = hw.Application(name="test", directory=directory, loglevel=None)
    for topic in ("raw", "flat", "totals"):
        app.topic(topic, config=hw.TopicConfig())
    # Makes the topics, so that the processes may start in any order.
    app.get_producer().close()
    processes = Processes(
        producer=(directory, count),
        flatten=(directory,),
        windows=(directory,),
        reader=(directory,),
    )
    names = list(processes.programs)
    try:
        for _ in range(KILLS):
            time.sleep(chance.choice((0.2, 0.5, 1.0)) * chance.random())
            processes.kill(chance.choice(names))
        deadline = time.monotonic() + 60
        read = tmp_path / "read.jsonl"
        while len(lines(read)) < len(wanted_windows) and time.monotonic() < deadline:
            time.sleep(0.1)
            processes.check()
        time.sleep(0.3)
        processes.end(["flatten", "windows", "reader"], signal.SIGTERM)
    finally:
        processes.kill_all()
    print(f"\n{KILLS} kills: {dict(processes.kills)}")
    raw = [row["n"] for row in app.read_topic("raw")]
    assert raw == list(range(count + 5)), "the producer writes every sample once"
    flat = bare(list(app.read_topic("flat")))
    assert flat == [row for _, _, row in records]
    rows = lines(tmp_path / "rows.jsonl")
    assert bare(rows, "_key") == numbered(records)
    assert bare(lines(tmp_path / "windows.jsonl"), "_key") == wanted_windows
    assert bare(lines(read), "_key") == wanted_windows
    assert bare(list(app.read_topic("totals"))) == bare(wanted_windows)
    trust("kill-four-processes", count, KILLS)


def trust(what: str, records: int, faults: int) -> None:
    """Say what was done, for the table of RELIABILITY.md."""
    print(
        f"\ntrust: what={what} count={KILLS} seeds={SEED}..{SEED + 1} "
        f"records={records} faults={faults} failures=0"
    )


def write_csv(
    path: Path, chance: random.Random, count: int
) -> list[tuple[str, int, dict[str, Any]]]:
    records = []
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["phone", "time", "x"])
        for number in range(count):
            phone = f"phone-{chance.randrange(6)}"
            at = 1_700_000_000_000 + number * 5 - chance.randrange(600)
            x: int | float = chance.choice((number, 2**53 + 1, number + 0.5))
            writer.writerow([phone, at, x])
            records.append((phone, at, {"phone": phone, "time": at, "x": x}))
    return records


def check_csv_job(folder: Path, records: Records) -> None:
    rows = lines(folder / "rows.jsonl")
    assert bare(rows, "_key") == numbered(records)
    wanted = by_key(windows([(key, at, row["x"]) for key, at, row in records], ends=True))
    left = bare(lines(folder / "windows.jsonl"), "_key")
    assert by_key(left) == wanted
    app = hw.Application(name="test", directory=folder / "log", loglevel=None)
    assert bare(list(app.read_topic("totals"))) == bare(left)


def finish_csv_job(folder: Path) -> None:
    process = start("csv_job.py", folder)
    try:
        process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
    assert process.returncode == 0, failed(process, "csv_job")
    process.communicate()


def is_flushed_and_not_committed(folder: Path) -> bool:
    """Whether the file of rows holds what the topic of rows, committed with it, lacks."""
    path = folder / "rows.jsonl"
    if not path.exists():
        return False
    app = hw.Application(name="test", directory=folder / "log", loglevel=None)
    committed = sum(1 for _ in app.read_topic("rows"))
    return path.read_bytes().count(b"\n") > committed


def wait_until_it_grows(path: Path, process: subprocess.Popen[str]) -> None:
    """Return right behind a sink's flush, which is before the commit."""
    length = path.stat().st_size if path.exists() else 0
    give_up = time.monotonic() + 5
    while time.monotonic() < give_up and process.poll() is None:
        if path.exists() and path.stat().st_size > length:
            return


def test_a_killed_csv_job(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    records = write_csv(tmp_path / "input.csv", chance, KILLS * 2_500)
    ended = between = 0
    for kill in range(KILLS):
        process = start("csv_job.py", tmp_path)
        # Half of the kills wait until the job runs; the others may meet its start.
        if kill % 2 == 0:
            assert process.stdout is not None
            assert process.stdout.readline() == "running\n", failed(process, "csv_job")
        time.sleep(chance.random() * (0.15 if kill % 2 == 0 else 0.5))
        if kill % 4 == 0:
            wait_until_it_grows(tmp_path / "rows.jsonl", process)
        ended += process.poll() is not None
        process.kill()
        process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), process.returncode
        between += is_flushed_and_not_committed(tmp_path)
    finish_csv_job(tmp_path)
    print(f"\n{KILLS} kills, {ended} after the end, {between} between flush and commit")
    assert ended < KILLS / 2, "the kills came too late to prove anything"
    check_csv_job(tmp_path, records)
    before = (tmp_path / "windows.jsonl").read_bytes()
    finish_csv_job(tmp_path)
    assert (tmp_path / "windows.jsonl").read_bytes() == before, "a finished file adds nothing"
    trust("kill-python-job", len(records), between)


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_busy_job_in_time(tmp_path: Path, which: int) -> None:
    chance = random.Random(SEED)
    records = write_csv(tmp_path / "input.csv", chance, 30_000)
    for _ in range(3):
        process = start("csv_job.py", tmp_path)
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n", failed(process, "csv_job")
        time.sleep(0.1 + chance.random() / 4)
        begun = time.monotonic()
        os.kill(process.pid, which)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0, err
        assert out == "ended\n"
        assert time.monotonic() - begun < 5
    finish_csv_job(tmp_path)
    check_csv_job(tmp_path, records)

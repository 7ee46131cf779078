"""The demo finds every crash and no other, whatever is done to it meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import pytest

from headwater import Application
from headwater.demo import check, drive, generator, topics

TIMEOUT_S = 60.0
DEMO = [sys.executable, "-m", "headwater.demo", "--fast", "--directory"]


def demo(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the demo to its end."""
    command = [*DEMO, str(directory), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def said(run: subprocess.CompletedProcess[str]) -> str:
    """Return all that a run said, for the message of a failed assertion."""
    return run.stdout + run.stderr


def wait_for_messages(directory: Path, count: int) -> None:
    """Wait until the phones have sent so many messages."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        if (directory / "log.db").exists():
            app = Application(name="test", directory=directory)
            if topics.count(app, generator.RAW) >= count:
                return
        time.sleep(0.05)
    raise TimeoutError(f"no {count} messages within {TIMEOUT_S} s")


def children_of(pid: int) -> list[int]:
    """Return the process ids of a process's children."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# The signal: what there is to find, without the engine.


@pytest.mark.parametrize("seed", [11])
def test_only_the_window_tells_crashes_from_bumps_and_shakes(seed: int) -> None:
    peaks: dict[bool, list[float]] = {True: [], False: []}
    for each in drive.plan_drives(seed):
        found = dict.fromkeys(each.incidents, 0.0)
        for accelerometer, *_ in drive.readings(each):
            seconds = (accelerometer.time_ns - drive.EPOCH_NS) / 1e9
            g = sum(value**2 for value in accelerometer.values.values()) ** 0.5 / drive.G
            for incident in each.incidents:
                if incident.start_s <= seconds < incident.end_s:
                    found[incident] = max(found[incident], g)
        for incident, peak in found.items():
            peaks[incident.kind == "crash"].append(peak)
    assert max(peaks[True]) < min(peaks[False])


@pytest.mark.parametrize("seed", [21])
def test_a_plain_loop_finds_exactly_the_crashes(seed: int) -> None:
    drives = drive.plan_drives(seed)
    sent = [generator.decode(message) for message in generator.messages(drives)]
    truth = generator.truth(seed, drives)
    expected = check.expect(sent)
    verdict = check.judge(check.merge(expected.total_g), check.crashes_of(truth))
    assert (len(sent), expected.reading_count) == (truth["messages"], truth["readings"])
    assert (verdict.missed, verdict.wrong, expected.late_count) == ([], [], 0)


def test_a_drive_follows_from_its_seed() -> None:
    def first(seed: int) -> list[generator.Message]:
        return list(islice(generator.messages(drive.plan_drives(seed)), 20))

    assert first(1) == first(1)
    assert first(1) != first(2)


def test_the_phone_that_was_cut_off_sends_its_backlog_within_five_seconds() -> None:
    drives = drive.plan_drives(3)
    phone = next(each.phone for each in drives if each.has_cut_off)
    own = [message for message in generator.messages(drives) if message.phone == phone]
    start_s, end_s = drive.CUT_OFF_S
    assert not [message for message in own if start_s + 1 <= message.sent_s < end_s]
    backlog_s = [m.sent_s for m in own if end_s <= m.sent_s <= end_s + generator.BACKLOG_S]
    assert len(backlog_s) >= (end_s - start_s) * 2
    assert (max(backlog_s) - min(backlog_s)) / generator.SPEED < 5
    assert own == sorted(own, key=lambda message: message.sent_s)


# The demo: the real thing, sent without pauses.


@pytest.mark.slow
@pytest.mark.parametrize("seed", [31])
def test_every_crash_of_a_seed_is_found(tmp_path: Path, seed: int) -> None:
    run = demo(tmp_path / "demo", "--seed", str(seed))
    assert run.returncode == 0, said(run)
    assert "0 missed, 0 wrong" in run.stdout
    assert "Crashes" in run.stdout


@pytest.mark.slow
def test_an_interrupted_demo_goes_on_and_then_has_nothing_new(tmp_path: Path) -> None:
    directory = tmp_path / "demo"
    # At its own pace, so that it cannot be over before the signal comes.
    paced = [part for part in DEMO if part != "--fast"]
    with subprocess.Popen([*paced, str(directory)], stdout=subprocess.PIPE, text=True) as first:
        wait_for_messages(directory, 300)
        first.send_signal(signal.SIGINT)
        output, _ = first.communicate(timeout=TIMEOUT_S)
    assert first.returncode == 130, output
    assert "start again to go on" in output
    app = Application(name="test", directory=directory)
    assert topics.count(app, generator.RAW) < topics.rows(app, generator.TRUTH)[0]["messages"]

    second = demo(directory)
    assert second.returncode == 0, said(second)
    assert "Going on after" in second.stdout

    third = demo(directory)
    assert third.returncode == 0, said(third)
    assert "Nothing new" in third.stdout

    refused = demo(directory, "--seed", "2")
    assert refused.returncode == 2
    assert "seed 1" in refused.stderr


@pytest.mark.slow
def test_a_killed_demo_leaves_no_process_and_can_start_afresh(tmp_path: Path) -> None:
    directory = tmp_path / "demo"
    paced = [part for part in DEMO if part != "--fast"]
    with subprocess.Popen([*paced, str(directory)], stdout=subprocess.DEVNULL) as first:
        wait_for_messages(directory, 200)
        children = children_of(first.pid)
        first.kill()
    assert len(children) == 4
    # The new one waits until the programs of the killed one have ended.
    again = demo(directory, "--reset", "--seed", "5")
    assert not [child for child in children if is_running(child)]
    assert again.returncode == 0, said(again)
    assert "Going on" not in again.stdout


def test_reset_leaves_a_folder_alone_that_holds_no_log(tmp_path: Path) -> None:
    precious = tmp_path / "thesis.txt"
    precious.write_text("years")
    run = demo(tmp_path, "--reset")
    assert run.returncode == 2
    assert "leaves it alone" in run.stderr
    assert precious.read_text() == "years"


def test_python_runs_only_where_the_user_wrote_a_function() -> None:
    script = "from headwater.demo.crashes import app; print(app.explain())"
    environment = {**os.environ, "HEADWATER_DIR": "unused"}
    explained = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=environment,
        timeout=TIMEOUT_S,
        check=True,
    ).stdout
    assert "add_time" in explained
    assert explained.count("record function") == 1, explained

"""How a run begins and ends, and what comes back."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any, Self

import pytest

import headwater as hw
from headwater.errors import InvalidOperation, TopicNotFoundError


def test_count_counts_rows_at_the_end_of_frames(app: hw.Application, produce: Any) -> None:
    produce([{"a": index} for index in range(10)])
    sdf = app.dataframe("in")
    sdf[sdf["a"] % 2 == 1]
    assert app.run(count=2) == [{"a": 1}, {"a": 3}]
    assert app.run(count=2) == [{"a": 5}, {"a": 7}]
    assert app.run(timeout=0.1) == [{"a": 9}]


def test_without_count_or_timeout_nothing_is_collected(app: hw.Application, produce: Any) -> None:
    produce([{"a": 1}])
    app.dataframe("in").update(lambda row: app.stop())
    assert app.run() == []
    assert app.last_run is not None
    assert app.last_run.ended == "stopped"
    assert app.last_run.records_in == 1


def test_collect_false_returns_nothing(app: hw.Application, produce: Any) -> None:
    produce([{"a": 1}])
    app.dataframe("in")
    assert app.run(count=1, collect=False) == []


def test_metadata_comes_under_names_with_a_line_in_front(app: hw.Application, produce: Any) -> None:
    with app.get_producer() as producer:
        producer.produce("in", {"a": 1}, b"k", headers={"h": b"1"}, timestamp=5)
        producer.produce("in", [2], None, timestamp=6)
    app.dataframe("in")
    assert app.run(count=2, metadata=True) == [
        {
            "a": 1,
            "_key": b"k",
            "_timestamp": 5,
            "_headers": [("h", b"1")],
            "_topic": "in",
            "_partition": 0,
            "_offset": 0,
        },
        {
            "_value": [2],
            "_key": None,
            "_timestamp": 6,
            "_headers": None,
            "_topic": "in",
            "_partition": 0,
            "_offset": 1,
        },
    ]


def test_a_look_without_a_commit_gives_the_same_rows_every_time(
    app: hw.Application, produce: Any
) -> None:
    produce([{"a": 1}, {"a": 2}])
    app.dataframe("in").to_topic("out")
    for _ in range(2):
        assert app.run(count=2, start="earliest", commit=False) == [{"a": 1}, {"a": 2}]
    with pytest.raises(TopicNotFoundError):
        app.read_topic("out")
    assert len(app.run(count=2)) == 2
    assert list(app.read_topic("out")) == [{"a": 1}, {"a": 2}]


def test_start_earliest_does_not_repeat_what_is_committed(app: hw.Application) -> None:
    app.dataframe("in")
    with pytest.raises(InvalidOperation, match="commit=False"):
        app.run(count=1, start="earliest")


def test_an_application_without_frames_says_how_to_begin(app: hw.Application) -> None:
    with pytest.raises(InvalidOperation, match="app.dataframe"):
        app.run()


def test_clear_state_begins_anew(app: hw.Application, produce: Any) -> None:
    produce([{"a": 1}])
    app.dataframe("in")
    assert app.run(count=1) == [{"a": 1}]
    assert app.run(timeout=0.1) == []
    app.clear_state()
    assert app.run(timeout=0.1) == [{"a": 1}]


def test_stop_works_from_another_thread(app: hw.Application, produce: Any) -> None:
    produce([{"a": 1}])
    app.dataframe("in")
    timer = threading.Timer(0.2, app.stop)
    timer.start()
    app.run()
    timer.join()


def test_a_keyboard_interrupt_in_a_function_is_no_data_error(
    app: hw.Application, produce: Any
) -> None:
    produce([{"a": 1}])

    def interrupt(row: Any) -> None:
        raise KeyboardInterrupt

    app.dataframe("in").update(interrupt)
    with pytest.raises(KeyboardInterrupt):
        app.run(timeout=1)


def test_an_exit_in_a_function_is_no_data_error(directory: Any) -> None:
    app = hw.Application(name="test", directory=directory, on_error="skip", loglevel=None)
    with app.get_producer() as producer:
        producer.produce("in", {"a": 1})
    app.dataframe("in").update(lambda row: sys.exit(3))
    with pytest.raises(SystemExit) as raised:
        app.run(timeout=1)
    assert raised.value.code == 3


def test_handlers_of_signals_are_put_back(app: hw.Application, produce: Any) -> None:
    produce([{"a": 1}])
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    app.dataframe("in")
    app.run(count=1)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_signal_before_the_engine_has_the_run_ends_it(
    app: hw.Application, produce: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headwater._signals import StopOnSignal

    class Terminated(StopOnSignal):
        def __enter__(self) -> Self:
            entered = super().__enter__()
            signal.raise_signal(signal.SIGTERM)
            return entered

    produce([{"a": 1}])
    app.dataframe("in")
    with monkeypatch.context() as patched:
        patched.setattr("headwater.app.StopOnSignal", Terminated)
        assert app.run() == []
    assert app.run(count=1) == [{"a": 1}], "it is the end of that run only"
    app.stop()
    produce([{"a": 2}])
    assert app.run(count=1) == [{"a": 2}], "there was nothing to stop"


SCRIPT = """
import headwater as hw
app = hw.Application(name="script", directory={directory!r})
with app.get_producer() as producer:
    for n in range(3):
        producer.produce("in", {{"n": n}})
{frame}
print("running", flush=True)
app.run()
print("done", app.last_run.records_in, flush=True)
"""


def start(directory: Path, frame: str, *flags: str) -> subprocess.Popen[str]:
    program = SCRIPT.format(directory=str(directory / "log"), frame=textwrap.dedent(frame))
    path = directory / "script.py"
    path.write_text(program)
    process = subprocess.Popen(
        [sys.executable, *flags, str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_epoch_and_the_script_goes_on(
    tmp_path: Path, number: signal.Signals
) -> None:
    process = start(tmp_path, 'sdf = app.dataframe("in").to_topic("out")')
    time.sleep(0.7)
    process.send_signal(number)
    out, errors = process.communicate(timeout=10)
    assert process.returncode == 0, errors
    assert out == "done 3\n"
    app = hw.Application(name="reader", directory=tmp_path / "log", loglevel=None)
    assert [row["n"] for row in app.read_topic("out")] == [0, 1, 2]


def test_a_second_signal_ends_a_function_that_hangs(tmp_path: Path) -> None:
    frame = """
    def hang(row):
        while True:
            pass
    app.dataframe("in").update(hang)
    """
    process = start(tmp_path, frame)
    time.sleep(0.7)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert process.returncode != 0
    assert "KeyboardInterrupt" in errors


def test_at_a_prompt_ctrl_c_comes_back_as_an_interrupt(tmp_path: Path) -> None:
    process = start(tmp_path, 'sdf = app.dataframe("in").to_topic("out")', "-i")
    time.sleep(0.7)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=10)
    assert "KeyboardInterrupt" in errors
    assert "done" not in out
    app = hw.Application(name="reader", directory=tmp_path / "log", loglevel=None)
    assert len(app.read_topic("out")) == 3


def test_the_start_says_what_is_read_and_from_where(
    app: hw.Application, produce: Any, caplog: pytest.LogCaptureFixture
) -> None:
    produce([{"a": 1}])
    app.dataframe("in")
    with caplog.at_level("INFO", logger="headwater"):
        app.run(count=1)
    (line,) = [record.message for record in caplog.records if "reading" in record.message]
    assert "`in`" in line
    assert "1 records waiting" in line
    assert 'start="earliest", commit=False' in line


def test_print_goes_to_pythons_output(
    app: hw.Application, produce: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    produce([{"a": 1}])
    app.dataframe("in").print(pretty=False).print_table(title="rows", live=False)
    app.run(timeout=0.2)
    shown = capsys.readouterr().out
    assert "'a': 1" in shown or '"a": 1' in shown or '"a":1' in shown
    assert "rows" in shown


def test_explain_says_who_runs_what(app: hw.Application) -> None:
    sdf = app.dataframe("in")
    sdf["b"] = sdf["a"] * 2
    sdf.apply(lambda row: row["b"]).to_topic("out")
    text = app.explain()
    assert "rust" in text.lower()
    assert "python" in text.lower()
    assert "test_run.py" in text
    assert sdf.explain() != text


def test_two_applications_of_one_name_do_not_run_at_once(
    app: hw.Application, produce: Any, directory: Any
) -> None:
    produce([{"a": 1}])
    app.dataframe("in")
    other = hw.Application(name="test", directory=directory, loglevel=None)
    other.dataframe("in")
    raised: list[BaseException] = []

    def second(row: Any) -> None:
        try:
            other.run(timeout=0.1)
        except hw.HeadwaterError as error:
            raised.append(error)

    app._frames.forget(app._roots.pop("in"))
    app.dataframe("in").update(second)
    app.run(count=1)
    assert len(raised) == 1
    assert "test" in str(raised[0])


def test_workers_share_partitions(directory: Any) -> None:
    app = hw.Application(name="test", directory=directory, workers=2, loglevel=None)
    app.topic("in", config=hw.TopicConfig(num_partitions=4))
    with app.get_producer() as producer:
        for n in range(400):
            producer.produce("in", {"n": n}, f"k{n % 50}", timestamp=n)
    threads: set[str] = set()

    def note(row: dict[str, Any]) -> int:
        threads.add(threading.current_thread().name)
        return row["n"]  # type: ignore[no-any-return]

    app.dataframe("in").apply(note)
    rows = app.run(timeout=0.5)
    assert sorted(row["_value"] for row in rows) == list(range(400))
    assert len(threads) == 2

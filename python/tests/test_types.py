"""The package is typed: its stub is the extension's, and programs check."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PROGRAM = """
from typing import assert_type

import headwater as hw
from headwater.sinks import ListSink
from headwater.windows import Count, Mean

app = hw.Application(name="types", on_error="skip", commit_interval=0.1)
sdf = app.dataframe(app.topic("in", key_deserializer="str"))
assert_type(sdf["x"], hw.StreamingSeries)
assert_type(sdf[["x", "y"]], hw.StreamingDataFrame)
assert_type(sdf[sdf["x"] > 3], hw.StreamingDataFrame)
assert_type(sdf[sdf.apply(lambda row: row["x"] > 3)], hw.StreamingDataFrame)
assert_type(1 + sdf["x"] * 2 - sdf["y"], hw.StreamingSeries)
assert_type((sdf["x"] == 3) & ~sdf["y"].isnull(), hw.StreamingSeries)
assert_type(sdf["name"].str.lower(), hw.StreamingSeries)
assert_type(sdf["time"].dt.hour, hw.StreamingSeries)
sdf["z"] = sdf["x"] + 1
sdf["w"] = sdf.apply(lambda row: row["z"] * 2)
sdf = sdf.update(print).to_topic("out", key=sdf["name"])
windows = sdf.tumbling_window(1000).agg(n=Count(), mean=Mean("x")).final()
assert_type(windows, hw.StreamingDataFrame)
windows.sink(ListSink())


def count(row: dict[str, int], state: hw.State) -> int:
    state.set("n", state.get("n", 0) + 1)
    return row["x"]


sdf.apply(count, stateful=True)
with app.get_producer() as producer:
    producer.produce("in", value={"x": 1}, key="k")
assert_type(len(app.read_topic("in")), int)
rows = app.run(count=1)
print(rows[0]["x"])
"""

MISTAKES = """
import headwater as hw

app = hw.Application()
sdf = app.dataframe("in")
sdf.drop("x", inplace=True)
sdf.tumbling_window("1s")
app.run(count="3")
hw.Application(on_error="ignore")
"""


def check(command: list[str], program: str, tmp_path: Path) -> tuple[int, str]:
    path = tmp_path / "program.py"
    path.write_text(program)
    done = subprocess.run(
        [sys.executable, "-m", *command, str(path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_the_stub_is_that_of_the_extension() -> None:
    pytest.importorskip("mypy")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy.stubtest",
            "headwater._native",
            "--mypy-config-file",
            str(ROOT / "pyproject.toml"),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_programs_check_strictly(checker: str, tmp_path: Path) -> None:
    pytest.importorskip(checker)
    command = ["mypy", "--strict"] if checker == "mypy" else ["pyright"]
    if checker == "pyright" and shutil.which("node") is None:
        pytest.skip("pyright would download node")
    code, output = check(command, PROGRAM, tmp_path)
    assert code == 0, output


@pytest.mark.slow
def test_reflexes_and_wrong_options_are_found_by_the_checker(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    code, output = check(["mypy", "--strict"], MISTAKES, tmp_path)
    assert code == 1
    for line in (6, 7, 8, 9):
        assert f"program.py:{line}: error" in output, output

"""The README shows the quick start as it is, and type checkers accept what it shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("name", ["producer", "pipeline", "read"])
def test_the_quick_start_stands_in_the_readme_as_it_runs(name):
    text = (ROOT / "examples" / "quickstart" / f"{name}.py").read_text()
    assert text in blocks()


def test_mypy_accepts_the_programs_of_the_readme(tmp_path):
    for index, block in enumerate(blocks()):
        (tmp_path / f"program_{index}.py").write_text(block)
    programs = sorted(str(path) for path in tmp_path.glob("*.py"))
    assert programs
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", *programs]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_first_program_of_the_readme_says_what_it_does(tmp_path):
    program = blocks()[0].replace("app.run()", "print(app.explain())")
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "hopping window of 2000 ms every 250 ms" in done.stdout
    assert "to_topic alerts" in done.stdout

"""The examples run as they stand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
DATA = Path(os.environ.get("HEADWATER_DATA", ROOT.parent / "shared" / "data"))
TIMEOUT_S = 60.0


def run(script: Path, *arguments: str, cwd: Path, **environment: str) -> str:
    """Run a script in a folder of its own and return its output."""
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_quick_start_shows_the_fast_stretches(tmp_path: Path) -> None:
    quickstart = EXAMPLES / "quickstart"
    assert "120 records" in run(quickstart / "producer.py", cwd=tmp_path)
    run(quickstart / "pipeline.py", cwd=tmp_path)
    output = run(quickstart / "read.py", cwd=tmp_path)
    header, *rows = output.splitlines()
    assert "kmh" in header
    # Six windows of each car, the last of which is still open; most are fast.
    assert 1 <= len(rows) <= 14
    assert (tmp_path / ".headwater" / "log.db").exists()


@pytest.mark.skipif(not DATA.exists(), reason="the recordings are not beside the checkout")
def test_every_row_of_the_machine_temperature_equals_pandas(tmp_path: Path) -> None:
    output = run(EXAMPLES / "machine_temperature.py", "--check", cwd=tmp_path)
    assert "rows equal pandas'" in output
    assert output.count("  hit ") == 4
    assert output.count("  false ") == 1


def test_without_the_recording_the_example_says_so(tmp_path: Path) -> None:
    script = EXAMPLES / "machine_temperature.py"
    output = run(script, cwd=tmp_path, HEADWATER_DATA=str(tmp_path / "nowhere"))
    assert "There is no recording" in output

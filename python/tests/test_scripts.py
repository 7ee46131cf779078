"""The scripts that judge: a leak is one, a flat line is none, a table goes on."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


def script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def samples(soak: Any, leak_mib_per_hour: float, **others: int) -> list[Any]:
    """Samples of 45 minutes with the noise of an allocator."""
    chance = random.Random(1)
    return [
        soak.Sample(
            second=second,
            rss=int((100 + second / 3600 * leak_mib_per_hour + chance.random()) * 2**20),
            disk=2**30 + chance.randrange(2**20),
            **({"descriptors": 20, "threads": 4} | others),
        )
        for second in range(45 * 60)
    ]


@pytest.mark.parametrize(("leak", "is_good"), [(0, True), (8, False), (-3, True)])
def test_a_soak_tells_a_leak_from_noise(leak: float, is_good: bool) -> None:
    soak = script("soak")
    lines, judged = soak.judge(samples(soak, leak))
    assert judged is is_good, lines


def test_a_soak_sees_descriptors_that_are_not_closed() -> None:
    soak = script("soak")
    taken = samples(soak, 0)
    taken[-1].descriptors += 1
    assert not soak.judge(taken)[1]


def test_a_table_goes_on_at_the_next_seed_and_counts_since_the_new_total(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reliability = script("reliability")
    table = tmp_path / "RELIABILITY.md"
    marks = [reliability.TOTALS, reliability.TOTALS_END, reliability.ROWS, reliability.ROWS_END]
    empty = "a\n{}\n{}\nb\n{}\n{}\nc\n".format(*marks)
    table.write_text(empty)
    monkeypatch.setattr(reliability, "TABLE", table)
    for about in ("seeds=1..501 faults=40 failures=0", "seeds=501..2501 faults=9 failures=1"):
        line = reliability.LINE.search(f"test x ... trust: what=sim count=1000 {about}\nok")
        document = reliability.Document.load()
        row = reliability.Row("sim", when="today", commit="abc")
        row.add(line)
        document.rows.append(row)
        document.save()
    document = reliability.Document.load()
    assert document.next_seed("sim") == 2501
    assert document.next_seed("fuzz") == 1
    assert "| seeds of the simulator | 2,000 | 100,000 | 1 |" in table.read_text()
    assert document.rows[1].cells() in table.read_text()
    document.rows.append(reliability.Row(f"{reliability.NEW_TOTAL}: the log has changed"))
    document.save()
    assert "| seeds of the simulator | 0 | 100,000 | 0 |" in table.read_text()
    assert reliability.Document.load().next_seed("sim") == 2501, "no seed is tried twice"


def test_a_session_has_one_row_a_kind_which_grows_slice_by_slice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reliability, trust = script("reliability"), script("trust")
    marks = [reliability.TOTALS, reliability.TOTALS_END, reliability.ROWS, reliability.ROWS_END]
    table = tmp_path / "RELIABILITY.md"
    table.write_text("a\n{}\n{}\nb\n{}\n{}\nc\n".format(*marks))
    monkeypatch.setattr(reliability, "TABLE", table)
    printed = 'import os; n = int(os.environ["N"]); s = int(os.environ["S"]); '
    printed += 'print(f"trust: what=sim count={n} seeds={s}..{s + n} faults=1 failures=0")'
    kind = trust.Kind("sim", 1, "", [sys.executable, "-c", printed], "N", 10, "S")
    trust.Session()._slice(kind, 10, 1)
    session = trust.Session()
    session._slice(kind, 5, 11)
    session._slice(kind, 5, 16)
    rows = reliability.Document.load().rows
    assert [(row.count, row.seeds, row.faults) for row in rows] == [
        (10, (1, 11), 1),
        (10, (11, 21), 2),
    ]

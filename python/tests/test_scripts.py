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


def outputs(model: Any, rows: int) -> tuple[list[dict[str, Any]], list[tuple[str, dict[str, Any]]]]:
    """What so many rows must give."""
    counts = [{"id": n, "city": f"c{model.city(n)}", "n": n // model.KEYS + 1} for n in range(rows)]
    counts += [{"id": -1, "city": f"end{n}", "n": 1} for n in range(model.PARTITIONS)]
    windows: dict[tuple[str, int], list[int]] = {}
    for n in range(rows):
        time_ms = n * model.STEP_MS
        place = (f"c{model.city(n)}", time_ms - time_ms % model.WINDOW_MS)
        windows.setdefault(place, []).append(n)
    sums = [
        (city, {"start": start, "rows": len(held), "total": sum(held)})
        for (city, start), held in windows.items()
    ]
    return counts, sums


def without(rows: list[Any]) -> list[Any]:
    return rows[:3] + rows[4:]


def again(rows: list[Any]) -> list[Any]:
    return [*rows, rows[3]]


def end_again(rows: list[Any]) -> list[Any]:
    return [*rows, rows[-1]]


def one_more(rows: list[Any]) -> list[Any]:
    return [*rows[:3], {**rows[3], "n": rows[3]["n"] + 1}, *rows[4:]]


def window_less(rows: list[Any]) -> list[Any]:
    city, row = rows[3]
    return [*rows[:3], (city, {**row, "rows": row["rows"] - 1}), *rows[4:]]


def window_other(rows: list[Any]) -> list[Any]:
    return [*rows, ("c0", {"start": 99_000, "rows": 1, "total": 1})]


def same(rows: list[Any]) -> list[Any]:
    return rows


@pytest.mark.parametrize(
    ("of_counts", "of_sums", "said_once", "said_at_least_once"),
    [
        (same, same, None, None),
        (without, same, "rows are lost", "rows are lost"),
        (again, same, "came out again", None),
        (end_again, same, "last row of end3 came out again", None),
        (one_more, same, "has count 2, not 1", None),
        (same, without, "is missing", "is missing"),
        (same, again, "came out again", None),
        (same, window_less, "not", "not"),
        (same, window_other, "should not be there", "should not be there"),
    ],
)
def test_the_model_of_chaos_sees_what_is_wrong(
    of_counts: Any, of_sums: Any, said_once: str | None, said_at_least_once: str | None
) -> None:
    model = script("chaos_model")
    rows = 3 * model.KEYS
    counts, sums = outputs(model, rows)
    for is_exactly_once, said in ((True, said_once), (False, said_at_least_once)):
        judge = model.Model(0, is_exactly_once)
        for row in of_counts(counts):
            judge.take_count(row)
        for city, row in of_sums(sums):
            judge.take_sum(city, row)
        if said is None:
            assert judge.is_complete(rows)
            judge.judge(rows)
        else:
            with pytest.raises(model.Failed, match=said):
                judge.judge(rows)


@pytest.mark.parametrize(
    ("printed", "failures"), [("NOT TESTED: no loop devices", 0), ("running 0 tests", 1)]
)
def test_a_test_that_says_nothing_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str, failures: int
) -> None:
    reliability, trust = script("reliability"), script("trust")
    marks = [reliability.TOTALS, reliability.TOTALS_END, reliability.ROWS, reliability.ROWS_END]
    table = tmp_path / "RELIABILITY.md"
    table.write_text("a\n{}\n{}\nb\n{}\n{}\nc\n".format(*marks))
    monkeypatch.setattr(reliability, "TABLE", table)
    monkeypatch.setattr(trust, "LOGS", tmp_path)
    kind = trust.Kind("cut", 1, "", [sys.executable, "-c", f"print({printed!r})"], "N", 10, "S")
    session = trust.Session()
    session._slice(kind, 10, 1)
    assert sum(row.failures for row in session.rows.values()) == failures

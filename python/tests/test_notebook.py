"""A notebook: cells in a real IPython shell, run again and interrupted."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

SHELL = '''
import json, os, signal, sys, threading
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()


def interrupt_soon():
    """Interrupt like a notebook's stop button, once the cell's run has given rows."""
    def press():
        while len(shell.user_ns["seen"]) < 3:
            pause.wait(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    pause = threading.Event()
    threading.Thread(target=press, daemon=True).start()


shell.user_ns["interrupt_soon"] = interrupt_soon
for cell in json.loads(sys.argv[1]):
    result = shell.run_cell(cell)
    raised = result.error_in_exec or result.error_before_exec
    print("RESULT", json.dumps([repr(result.result), type(raised).__name__]), flush=True)
'''


def run_cells(*cells: str) -> list[list[Any]]:
    """Run cells one after the other; each one's value and what it raised."""
    plain = [textwrap.dedent(cell) for cell in cells]
    process = subprocess.run(
        [sys.executable, "-c", SHELL, json.dumps(plain)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    lines = [line for line in process.stdout.splitlines() if line.startswith("RESULT ")]
    return [json.loads(line.removeprefix("RESULT ")) for line in lines]


def define(directory: Path) -> str:
    return f"""
    import headwater as hw
    app = hw.Application(name="notebook", directory={str(directory)!r}, loglevel=None)
    with app.get_producer() as producer:
        for n in range(3):
            producer.produce("in", {{"n": n}}, "k", timestamp=n)
    seen = []
    """


PIPELINE = """
sdf = app.dataframe("in")
sdf["twice"] = sdf["n"] * 2
sdf = sdf.update(lambda row: seen.append(row["n"]))
sdf.to_topic("out")
"""


def test_a_cell_that_runs_again_replaces_its_pipeline(directory: Path) -> None:
    broken = PIPELINE.replace("* 2", "* 2 / 0").replace('seen.append(row["n"])', "1 / 0")
    cells = run_cells(
        define(directory),
        broken,
        PIPELINE,
        PIPELINE,
        "app.run(timeout=0.3)",
        "(seen, list(app.read_topic('out')))",
        # The cell with everything in it, once more: the run goes on where it was.
        textwrap.dedent(define(directory)) + PIPELINE + "\napp.run(count=3)",
    )
    assert [raised for _, raised in cells] == ["NoneType"] * 7
    rows = [{"n": n, "twice": 2 * n} for n in range(3)]
    assert cells[4][0] == repr(rows)
    assert cells[5][0] == repr(([0, 1, 2], rows)), "one pipeline, not three"
    assert cells[6][0] == repr(rows)


def test_an_interrupted_cell_has_committed_and_the_next_one_goes_on(directory: Path) -> None:
    cells = run_cells(
        define(directory),
        PIPELINE,
        "interrupt_soon(); app.run()",
        "(seen, list(app.read_topic('out')))",
        """
        with app.get_producer() as producer:
            producer.produce("in", {"n": 3}, "k", timestamp=3)
        app.run(count=1)
        """,
        "[row['n'] for row in app.read_topic('out')]",
    )
    raised = [raised for _, raised in cells]
    assert raised == ["NoneType", "NoneType", "KeyboardInterrupt", *["NoneType"] * 3]
    rows = [{"n": n, "twice": 2 * n} for n in range(3)]
    assert cells[3][0] == repr(([0, 1, 2], rows))
    assert cells[4][0] == repr([{"n": 3, "twice": 6}])
    assert cells[5][0] == repr([0, 1, 2, 3]), "nothing is lost, nothing comes twice"

"""Runs one program of the demo, and ends it when the demo is gone.

``python -m headwater.demo.child crashes`` runs ``crashes.py`` as a script. The programs
themselves know nothing of this: each also runs on its own. When a pipeline has ended,
what its run counted goes to the topic ``demo-runs``.

A killed parent cannot end its children, so they see to it themselves: on Linux the
kernel sends them SIGTERM; elsewhere a thread looks for the parent. SIGTERM lets a
pipeline finish its epoch.
"""

from __future__ import annotations

import ctypes
import json
import os
import runpy
import signal
import sys
import threading
import time
from dataclasses import asdict

from headwater import Application

PARENT = "HEADWATER_DEMO_PARENT"
"""The environment variable with the process id of the demo."""

RUNS = "demo-runs"
"""The topic that says what the runs of the pipelines counted."""

_PR_SET_PDEATHSIG = 1
_LOOK_EVERY_S = 0.5


def end_with(parent: int) -> None:
    """Arrange for SIGTERM when the process ``parent``, which started this one, ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            sys.exit(1)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)


def tell(program: str, app: Application) -> None:
    """Write what the program's run counted to the log."""
    if app.last_run is not None:
        with app.get_producer() as producer:
            counted = {"program": program, **asdict(app.last_run)}
            producer.produce(RUNS, value=json.dumps(counted))


if __name__ == "__main__":
    end_with(int(os.environ[PARENT]))
    name = sys.argv.pop(1)
    made = runpy.run_module(f"headwater.demo.{name}", run_name="__main__", alter_sys=True)
    if isinstance(made.get("app"), Application):
        tell(name, made["app"])

"""Starts and ends the programs of the demo.

Each is a process of its own in a process group of its own, so that Ctrl-C reaches the
demo alone, which then ends its children in order. They are ended by SIGTERM, by process
id. What they say goes to a file beside the log, but for the live table.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from typing import IO, TYPE_CHECKING

from headwater.demo.child import PARENT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CLAIM = "demo.lock"

STOP_S = 10.0
"""How long a program may take to finish its epoch."""


def hold(directory: Path) -> IO[str] | None:
    """Claim a directory for one demo, for as long as the file or a child is open.

    The children inherit the claim, so a demo that is started right after another was
    killed waits until the last of that one's programs has ended. None if it takes too long.
    """
    claim = (directory / CLAIM).open("w")
    deadline = time.monotonic() + STOP_S
    while True:
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                claim.close()
                return None
            time.sleep(0.05)
        else:
            return claim


def start(
    program: str,
    directory: Path,
    claim: IO[str],
    arguments: Sequence[str] = (),
    *,
    is_shown: bool = False,
) -> subprocess.Popen[bytes]:
    """Start ``headwater.demo.<program>`` on the log in ``directory``."""
    environment = {
        **os.environ,
        "HEADWATER_DIR": str(directory),
        PARENT: str(os.getpid()),
    }
    command = [sys.executable, "-m", "headwater.demo.child", program, *arguments]
    with log_of(program, directory).open("ab") as said:
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=None if is_shown else said,
            stderr=said,
            process_group=0,
            pass_fds=(claim.fileno(),),
        )


def log_of(program: str, directory: Path) -> Path:
    """Return the file that takes what a program says."""
    return directory / f"{program}.log"


def stop(process: subprocess.Popen[bytes]) -> int:
    """End a program, let it finish what it is at, and return its exit code."""
    if process.poll() is None:
        process.terminate()
    try:
        return process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def wait_for(process: subprocess.Popen[bytes], others: Sequence[subprocess.Popen[bytes]]) -> bool:
    """Wait until ``process`` ends well; False if it, or before it another one, fails."""
    while process.poll() is None:
        if any(other.poll() is not None for other in others):
            return False
        time.sleep(0.05)
    return process.returncode == 0


def last_words(program: str, directory: Path, line_count: int = 15) -> str:
    """Return the end of what a program said."""
    try:
        lines = log_of(program, directory).read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return "\n".join(lines[-line_count:])

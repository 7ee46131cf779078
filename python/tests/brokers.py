"""Brokers for tests: `scripts/kafka run` as a child process that obeys commands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import TracebackType

SCRIPT = Path(__file__).parents[2] / "scripts" / "kafka"


class Brokers:
    """A cluster of brokers on loopback; leaving the context stops them.

    They end too when this process dies, because their script's input ends then.
    """

    def __init__(self, *options: str) -> None:
        self._options = options

    def __enter__(self) -> Brokers:
        self._script = subprocess.Popen(
            [sys.executable, str(SCRIPT), "run", *self._options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._script.stdout is not None
        words = self._script.stdout.readline().split()
        if words[:1] != ["ready"]:
            self._script.wait()
            raise RuntimeError("no broker could be started; the reason stands above")
        self.addresses, self.listening = words[1:3]
        return self

    def tell(self, command: str) -> None:
        """Give a command: `kill 1`, `stop 1`, `start 1`, `freeze 1`, `thaw 1`."""
        assert self._script.stdin is not None
        assert self._script.stdout is not None
        print(command, file=self._script.stdin, flush=True)
        answer = self._script.stdout.readline().strip()
        if answer != "ok":
            raise RuntimeError(f"{command}: {answer}")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Its streams are closed too.
        self._script.communicate()

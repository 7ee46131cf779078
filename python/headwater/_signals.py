"""Ctrl-C and SIGTERM while an application runs.

The first signal lets the run finish its epoch; the second ends it at once. In a
script the run then returns as if it had been stopped; at a prompt or in a notebook
`KeyboardInterrupt` follows, so that the rest of the cell isn't run.
"""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any, Self

from headwater._interactive import is_interactive

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

__all__ = ["StopOnSignal"]


class StopOnSignal:
    """Handles signals while it is entered; elsewhere than in the main thread, nothing."""

    def __init__(self, stop: Callable[[], object]) -> None:
        self._stop = stop
        self._count = 0
        self._interrupted = False
        self._before: dict[int, Any] = {}
        self._is_interactive = is_interactive()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self._count += 1
        if self._count > 1:
            raise KeyboardInterrupt
        self._interrupted = number == signal.SIGINT
        self._stop()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            numbers = [signal.SIGINT] if self._is_interactive else [signal.SIGINT, signal.SIGTERM]
            for number in numbers:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        if kind is None and self._interrupted and self._is_interactive:
            raise KeyboardInterrupt

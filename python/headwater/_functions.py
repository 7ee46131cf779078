"""Users' callables on their way into the plan."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from headwater import _native
from headwater._reads import reads_of

_PACKAGE = str(Path(__file__).parent)
_DEMO = os.path.join(_PACKAGE, "demo")


def _is_ours(filename: str) -> bool:
    """Whether a file is the package's own; the demo's pipelines are a user's."""
    return filename.startswith(_PACKAGE) and not filename.startswith(_DEMO)


def user_line() -> str | None:
    """Give the line of the program that called into this package, ``file.py:12``."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_ours(frame.f_code.co_filename):
        frame = frame.f_back
    if frame is None:
        return None
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"


def line_of(function: object) -> str | None:
    """Give the line at which a function is defined, ``file.py:12``."""
    code = getattr(function, "__code__", None)
    if code is None:
        code = getattr(getattr(function, "func", None), "__code__", None)
    if code is None:
        return None
    return f"{os.path.basename(code.co_filename)}:{code.co_firstlineno}"


def name_of(function: object) -> str:
    """Give the name of a function, for people."""
    name = getattr(function, "__qualname__", None) or getattr(function, "__name__", None)
    if name is None:
        return type(function).__name__
    return str(name).rpartition("<locals>.")[2]


def native(
    function: Callable[..., Any],
    *,
    expand: bool = False,
    metadata: bool = False,
    stateful: bool = False,
    key_format: str = "bytes",
    wraps: Callable[..., Any] | None = None,
    takes_row: bool = True,
) -> _native.Function:
    """Make the engine's handle on a function.

    Parameters
    ----------
    wraps
        The user's own function, where `function` only passes its arguments on.
    takes_row
        Whether the first argument is a row, which may then be a lazy one.
    """
    if not callable(function):
        msg = f"expected a function, got {type(function).__name__}"
        raise TypeError(msg)
    own = wraps or function
    return _native.Function(
        function,
        name=name_of(own),
        line=line_of(own) or user_line(),
        reads=reads_of(function) if takes_row else None,
        expand=expand,
        metadata=metadata,
        stateful=stateful,
        key_format=key_format,
        wraps=wraps,
    )

"""Which fields of its row a function reads, found in its bytecode.

A function that only ever reads its row by constant names gets a lazy row, which
decodes nothing else. "Only" is what matters: the row must not be passed on,
returned, kept, changed, unpacked or asked for its type, because then it has to be
a real dict. So the rule is one of permission: every use of the row must be one of
the three forms below, and whatever is not understood, in this version of Python
or a later one, makes the function get a dict.

==================  ====================================================
``row["name"]``     load row, load constant, subscript
``row.get("n")``    load row, load method ``get``, load constant
``"name" in row``   load constant, load row, contains
==================  ====================================================
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, MethodType
from typing import Any

# Functions that see local variables without naming them.
_SEES_LOCALS = frozenset({"locals", "vars", "eval", "exec", "dir", "breakpoint", "set_trace"})
_LOAD = frozenset({"LOAD_FAST", "LOAD_FAST_BORROW", "LOAD_FAST_CHECK"})
# Each loads two variables; the second is then on top of the stack.
_LOAD_TWO = frozenset(
    {
        "LOAD_FAST_LOAD_FAST",
        "LOAD_FAST_BORROW_LOAD_FAST_BORROW",
        "STORE_FAST_LOAD_FAST",
    }
)
_IGNORED = frozenset({"CACHE", "EXTENDED_ARG", "NOP", "PRECALL", "NOT_TAKEN", "RESUME"})


def reads_of(function: Callable[..., Any]) -> list[str] | None:
    """Give the top-level fields that a function reads, or None if it needs a dict.

    Examples
    --------
    >>> reads_of(lambda row: row["speed"] * 3.6 if "speed" in row else row.get("kmh"))
    ['kmh', 'speed']
    >>> reads_of(lambda row: {**row}) is None
    True
    """
    if _is_debugged():
        return None
    found = _code_of(function)
    if found is None:
        return None
    code, position = found
    if code.co_argcount <= position or _SEES_LOCALS.intersection(code.co_names):
        return None
    row = code.co_varnames[position]
    if row in code.co_cellvars:
        return None
    reads: set[str] = set()
    if not all(_is_permitted(row, window, reads) for window in _windows(code)):
        return None
    return sorted(reads)


def _is_debugged() -> bool:
    """Say whether a debugger may show rows to a person, who expects a dict."""
    return sys.gettrace() is not None or "pydevd" in sys.modules


def _code_of(function: Callable[..., Any]) -> tuple[CodeType, int] | None:
    """Give the code of a plain function or method, and where its row stands."""
    if isinstance(function, MethodType):
        inner = function.__func__
        return (inner.__code__, 1) if isinstance(inner, FunctionType) else None
    if isinstance(function, FunctionType):
        return function.__code__, 0
    return None


_Window = tuple[dis.Instruction | None, dis.Instruction, list[dis.Instruction]]


def _windows(code: CodeType) -> Iterator[_Window]:
    """Give each instruction with the one before it and the two after it."""
    instructions = [each for each in dis.get_instructions(code) if each.opname not in _IGNORED]
    for index, instruction in enumerate(instructions):
        before = instructions[index - 1] if index else None
        yield before, instruction, instructions[index + 1 : index + 3]


def _is_permitted(row: str, window: _Window, reads: set[str]) -> bool:
    before, instruction, after = window
    named = instruction.argval
    if instruction.opname in _LOAD:
        if named != row:
            return True
    elif instruction.opname in _LOAD_TWO:
        if row not in named:
            return True
        if named[0] == row:
            return False
    else:
        # Any other instruction that names the row stores it, deletes it or
        # makes a cell of it.
        names = named if isinstance(named, tuple) else (named,)
        is_local = "FAST" in instruction.opname or "DEREF" in instruction.opname
        return not (is_local and row in names)
    return _is_read(before, after, reads)


def _is_read(before: dis.Instruction | None, after: list[dis.Instruction], reads: set[str]) -> bool:
    if not after:
        return False
    follows = after[0]
    if follows.opname == "CONTAINS_OP":
        if before is None or not _is_name(before):
            return False
        reads.add(before.argval)
        return True
    if len(after) < 2:
        return False
    if _is_name(follows) and _is_subscript(after[1]):
        reads.add(follows.argval)
        return True
    if _is_method_get(follows) and _is_name(after[1]):
        reads.add(after[1].argval)
        return True
    return False


def _is_name(instruction: dis.Instruction) -> bool:
    return instruction.opname == "LOAD_CONST" and isinstance(instruction.argval, str)


def _is_subscript(instruction: dis.Instruction) -> bool:
    return instruction.opname == "BINARY_SUBSCR" or (
        instruction.opname == "BINARY_OP" and instruction.argrepr == "[]"
    )


def _is_method_get(instruction: dis.Instruction) -> bool:
    if instruction.opname == "LOAD_METHOD":
        return bool(instruction.argval == "get")
    # From 3.12 on the lowest bit of the argument says that a call follows.
    is_call = instruction.arg is not None and bool(instruction.arg & 1)
    is_attribute = instruction.opname == "LOAD_ATTR" and sys.version_info >= (3, 12)
    return is_attribute and is_call and instruction.argval == "get"

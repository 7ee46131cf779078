"""Whether a person types the program, in a notebook or at a prompt."""

from __future__ import annotations

import sys


def is_interactive() -> bool:
    """Say whether cells may be run again and Ctrl-C must come back to a prompt."""
    if "IPython" in sys.modules:
        from IPython import get_ipython  # type: ignore[attr-defined, unused-ignore]

        if get_ipython() is not None:  # type: ignore[no-untyped-call, unused-ignore]
            return True
    return hasattr(sys, "ps1") or bool(sys.flags.interactive)

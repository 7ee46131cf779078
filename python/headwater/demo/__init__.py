"""The demo: three phones, two pipelines and a reader on one embedded log.

Each program is a process of its own, and they share nothing but the log::

    generator ─▶ phones-raw ─▶ flatten ─▶ phones-rows ─▶ crashes ─▶ crash-alerts ─▶ reader
                                                            ╰▶ live table

``crashes.py`` is the one to read. To stop in it with a debugger, let the demo run once,
give ``crashes.py`` the last line ``app.run(start="earliest", commit=False)``, which reads
everything again and leaves no trace, and debug it with ``HEADWATER_DIR=.demo``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code: 0 if every crash was found, and no other."""
    # Here, because each program of the demo imports this package first.
    from headwater.demo.run import main as run_demo

    return run_demo(argv)

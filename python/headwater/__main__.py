"""The command ``headwater``."""

from __future__ import annotations

import signal
import sys

from headwater import _native


def main(argv: list[str] | None = None) -> int:
    """Run the command line; the demo is Python, everything else is Rust."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] == ["demo"]:
        from headwater.demo import main as demo

        return demo(arguments[1:])
    # Rust waits for input there: Ctrl-C must end it without Python's help.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _native.cli_main(["headwater", *arguments])


if __name__ == "__main__":
    raise SystemExit(main())

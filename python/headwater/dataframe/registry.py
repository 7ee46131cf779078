"""All steps of an application's frames, in the order in which they were written.

A branch that nobody keeps still runs, so the application remembers every step.
Steps are in order of creation; shared ones run once, and branches run in the
order in which they were taken. A frame that served only as a condition or as an
assigned value is taken out again: its functions have become an expression.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.errors import InvalidOperation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headwater import _native
    from headwater.sinks import BaseSink

__all__ = ["FrameRegistry"]


class FrameRegistry:
    """The steps and the sinks of an application."""

    def __init__(self) -> None:
        self._steps: list[_native.Frame] = []
        self._sinks: list[tuple[_native.Frame, str, BaseSink]] = []

    def add(self, step: _native.Frame) -> _native.Frame:
        """Remember a step."""
        self._steps.append(step)
        return step

    def sink_name(self, sink: BaseSink) -> str:
        """Name a sink: the same object always the same, by its own name else."""
        base = sink._sink_name()
        taken = {name: known for _, name, known in self._sinks}
        name, number = base, 2
        while name in taken and taken[name] is not sink:
            name, number = f"{base}-{number}", number + 1
        return name

    def add_sink(self, step: _native.Frame, name: str, sink: BaseSink) -> None:
        """Remember the sink of a step."""
        self.add(step)
        self._sinks.append((step, name, sink))

    def steps(self) -> list[_native.Frame]:
        """Give all steps in order."""
        return list(self._steps)

    def sinks(self) -> list[tuple[str, BaseSink]]:
        """Give the sinks by name, each once."""
        return list({name: (name, sink) for _, name, sink in self._sinks}.values())

    def forget(self, root: _native.Frame) -> None:
        """Forget a frame with everything made from it."""
        self._steps = [step for step in self._steps if root not in lineage(step)]
        self._sinks = [known for known in self._sinks if root not in lineage(known[0])]

    def take_applied(self, base: _native.Frame, frame: _native.Frame) -> list[_native.Function]:
        """Take out the applies that lead from one frame to another, in order.

        They become an expression over the rows of `base`.
        """
        steps: list[_native.Frame] = []
        for step in lineage(frame):
            if step is base:
                break
            steps.append(step)
        else:
            msg = "the data frame must be made from this one by apply(), after its last change"
            raise InvalidOperation(msg)
        functions = [step.applied for step in reversed(steps)]
        known = [function for function in functions if function is not None]
        if not known or len(known) < len(functions):
            msg = (
                "only what apply() makes can be a condition or a column; assign the rest to a "
                "column before"
            )
            raise InvalidOperation(msg)
        self._steps = [step for step in self._steps if step not in steps]
        return known


def lineage(step: _native.Frame) -> Iterator[_native.Frame]:
    """Give a step and those before it, newest first."""
    here: _native.Frame | None = step
    while here is not None:
        yield here
        here = here.parent

"""Windows on their way into the plan: length, then aggregation, then emission."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias

from headwater import _functions, _native
from headwater._durations import milliseconds
from headwater.dataframe.windows.aggregations import (
    Aggregation,
    Collect,
    Count,
    Max,
    Mean,
    Min,
    Reduce,
    Sum,
)
from headwater.errors import InvalidOperation

if TYPE_CHECKING:
    from datetime import timedelta

    from headwater.dataframe.dataframe import StreamingDataFrame

__all__ = [
    "AggregatedWindow",
    "HoppingWindow",
    "OnLate",
    "Trigger",
    "TumblingWindow",
    "WindowDefinition",
]

OnLate: TypeAlias = Callable[[Any, Any, int, int, int, int, str, str, int, Any], Any]
"""Takes value, key, timestamp_ms, late_by_ms, start, end, name, topic, partition, offset."""

Trigger: TypeAlias = Callable[[Any, Any, Any, int, Any], Any]
"""Takes the window's outputs so far, value, key, timestamp and headers."""

ClosingStrategy: TypeAlias = Literal["key", "partition"]


class WindowDefinition:
    """A window before it is known what to compute; see `agg`."""

    def __init__(
        self,
        sdf: StreamingDataFrame,
        duration_ms: int | timedelta,
        step_ms: int | timedelta | None,
        *,
        grace_ms: int | timedelta,
        name: str | None,
        on_late: OnLate | None,
        before_update: Trigger | None,
        after_update: Trigger | None,
        key_timeout: int | timedelta | None,
        key_retention: int | timedelta | None,
    ) -> None:
        self._sdf = sdf
        self._line = _functions.user_line()
        self._size_ms = milliseconds(duration_ms, "duration_ms", least=1)
        self._step_ms = None if step_ms is None else milliseconds(step_ms, "step_ms", least=1)
        if self._step_ms is not None and self._step_ms >= self._size_ms:
            msg = (
                f"step_ms must be below duration_ms, {self._step_ms} is not below "
                f"{self._size_ms}; for windows that do not overlap use tumbling_window()"
            )
            raise ValueError(msg)
        self._grace_ms = milliseconds(grace_ms, "grace_ms")
        self._name = name
        self._key_timeout_ms = _optional(key_timeout, "key_timeout")
        self._key_retention_ms = _optional(key_retention, "key_retention")
        self._callbacks = (on_late, before_update, after_update)

    def agg(self, **aggregations: Aggregation) -> AggregatedWindow:
        """Say what to compute: one output for each keyword.

        Examples
        --------
        >>> from headwater.windows import Count, Mean
        >>> window = sdf.tumbling_window(60_000).agg(n=Count(), mean=Mean("speed"))
        """
        for name, aggregation in aggregations.items():
            if not isinstance(aggregation, Aggregation):
                made = f'{name}=Mean("x")'
                msg = f"agg() takes aggregators, {made}, not {type(aggregation).__name__}"
                raise TypeError(msg)
            if name in ("start", "end"):
                msg = f"{name!r} is the window's own; give the output another name"
                raise InvalidOperation(msg)
        if not aggregations:
            msg = 'name at least one output: agg(n=Count(), mean=Mean("x"))'
            raise InvalidOperation(msg)
        return AggregatedWindow(self, aggregations, is_single=False)

    def _single(self, aggregation: Aggregation) -> AggregatedWindow:
        return AggregatedWindow(self, {"value": aggregation}, is_single=True)

    def count(self) -> AggregatedWindow:
        """Count rows into ``value``; `agg` names its outputs."""
        return self._single(Count())

    def sum(self) -> AggregatedWindow:
        """Sum values into ``value``; `agg` names its outputs."""
        return self._single(Sum())

    def mean(self) -> AggregatedWindow:
        """Average values into ``value``; `agg` names its outputs."""
        return self._single(Mean())

    def min(self) -> AggregatedWindow:
        """Take the smallest value into ``value``; `agg` names its outputs."""
        return self._single(Min())

    def max(self) -> AggregatedWindow:
        """Take the largest value into ``value``; `agg` names its outputs."""
        return self._single(Max())

    def collect(self) -> AggregatedWindow:
        """Collect values into ``value``; `agg` names its outputs."""
        return self._single(Collect())

    def reduce(
        self, reducer: Callable[[Any, Any], Any], initializer: Callable[[Any], Any]
    ) -> AggregatedWindow:
        """Fold values into ``value``; `agg` names its outputs."""
        return self._single(Reduce(reducer, initializer))

    def __getattr__(self, name: str) -> NoReturn:
        if name in ("final", "current"):
            msg = f'say first what to compute: .agg(mean=Mean("x")).{name}()'
        else:
            msg = f"a window has no {name!r}; it has agg()"
        raise AttributeError(msg)


class TumblingWindow(WindowDefinition):
    """Windows of fixed length that follow each other."""


class HoppingWindow(WindowDefinition):
    """Windows of fixed length that overlap."""


class AggregatedWindow:
    """A window and what it computes; `final` or `current` says when results leave."""

    def __init__(
        self,
        definition: WindowDefinition,
        aggregations: dict[str, Aggregation],
        *,
        is_single: bool,
    ) -> None:
        self._definition = definition
        self._aggregations = aggregations
        self._is_single = is_single

    def final(self, closing_strategy: ClosingStrategy = "key") -> StreamingDataFrame:
        """Emit each window once, when it closes.

        Parameters
        ----------
        closing_strategy
            ``"key"``: a window closes, and a record is late, by the clock of its
            own key, so that a device that comes back with a backlog loses nothing.
            ``"partition"``: by the time of the whole partition, which closes
            sooner and drops more.

        Returns
        -------
        StreamingDataFrame
            A new frame of ``start``, ``end`` and the outputs.

        Examples
        --------
        >>> from headwater.windows import Mean
        >>> means = sdf.tumbling_window(60_000).agg(mean=Mean("speed")).final()
        >>> means = sdf.tumbling_window(60_000, name="soon").agg(mean=Mean("speed")).final(
        ...     closing_strategy="partition")
        """
        return self._emit(closing_strategy, current=False)

    def current(self, closing_strategy: ClosingStrategy = "key") -> StreamingDataFrame:
        """Emit a window at every update.

        Parameters
        ----------
        closing_strategy
            As of `final`.

        Returns
        -------
        StreamingDataFrame
            A new frame of ``start``, ``end`` and the outputs.

        Examples
        --------
        >>> from headwater.windows import Mean
        >>> running = sdf.tumbling_window(60_000).agg(mean=Mean("speed")).current()
        >>> running = sdf.tumbling_window(60_000, name="soon").agg(mean=Mean("speed")).current(
        ...     closing_strategy="partition")
        """
        return self._emit(closing_strategy, current=True)

    def _emit(self, closing_strategy: str, *, current: bool) -> StreamingDataFrame:
        if closing_strategy not in ("key", "partition"):
            msg = f'closing_strategy must be "key" or "partition", not {closing_strategy!r}'
            raise ValueError(msg)
        window = self._definition
        key_format = window._sdf._topic.key_deserializer
        on_late, before_update, after_update = window._callbacks
        spec = _native.Window(
            size_ms=window._size_ms,
            advance_ms=window._step_ms,
            grace_ms=window._grace_ms,
            name=window._name,
            current=current,
            by_partition=closing_strategy == "partition",
            key_timeout_ms=window._key_timeout_ms,
            key_retention_ms=window._key_retention_ms,
            aggregates=[(name, each._aggregate()) for name, each in self._aggregations.items()],
            on_late=on_late and _late_callback(on_late, key_format),
            before_update=before_update and self._trigger(before_update, key_format),
            after_update=after_update and self._trigger(after_update, key_format),
        )
        return window._sdf._new(window._sdf._frame.window(spec, window._line))

    def _trigger(self, trigger: Trigger, key_format: str) -> _native.Function:
        is_single = self._is_single

        def call(outputs: Any, value: Any, key: Any, timestamp: int, headers: Any) -> bool:
            so_far = outputs.get("value") if is_single else outputs
            pairs = [
                (name, text.encode() if isinstance(text, str) else text)
                for name, text in headers or ()
            ]
            key = _native.deserialize(key_format, key)
            return bool(trigger(so_far, value, key, timestamp, pairs or None))

        return _functions.native(call, wraps=trigger, takes_row=False)


def _late_callback(on_late: OnLate, key_format: str) -> _native.Function:
    def call(value: Any, key: Any, timestamp: int, late_by: int, *place: Any) -> bool:
        start, end, name, topic, partition, offset = place
        key = _native.deserialize(key_format, key)
        return bool(
            on_late(value, key, timestamp, late_by, start, end, name, topic, partition, offset)
        )

    return _functions.native(call, wraps=on_late, takes_row=False)


def _optional(value: int | timedelta | None, name: str) -> int | None:
    return None if value is None else milliseconds(value, name)

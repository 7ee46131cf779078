"""What a window computes.

The built-in aggregators run in Rust. Null is skipped by all of them but `Collect`
and `Count` without a column; over nothing the result is null, and 0 for `Count`
and `Sum`.
A class of your own, derived from `Aggregator` or `Collector`, is called in Python
once a record.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from headwater import _functions, _native

__all__ = [
    "Aggregation",
    "Aggregator",
    "Collect",
    "Collector",
    "Count",
    "Earliest",
    "First",
    "Last",
    "Latest",
    "Max",
    "Mean",
    "Min",
    "Reduce",
    "Std",
    "Sum",
    "Variance",
]


class Aggregation(ABC):
    """One output of a window.

    Parameters
    ----------
    column
        The column to aggregate; the whole value where it is None.
    """

    def __init__(self, column: str | None = None) -> None:
        if column is not None and not isinstance(column, str):
            msg = (
                f"an aggregation takes the name of a column, not {type(column).__name__}; assign "
                "an expression to a column before"
            )
            raise TypeError(msg)
        self.column = column

    def _input(self) -> _native.Expr | None:
        return None if self.column is None else _native.Expr.field([self.column])

    @abstractmethod
    def _aggregate(self) -> _native.Aggregate:
        """Make the engine's form of it."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.column!r})"


class _BuiltIn(Aggregation):
    _name: str

    def _aggregate(self) -> _native.Aggregate:
        return _native.Aggregate.builtin(self._name, self._input())


class Count(_BuiltIn):
    """The number of rows, or of values that are not null.

    Examples
    --------
    >>> counts = sdf.tumbling_window(1000).agg(rows=Count(), drivers=Count("driver")).final()
    """

    _name = "count"


class Sum(_BuiltIn):
    """The sum; integers stay integers.

    Examples
    --------
    >>> sums = sdf.tumbling_window(1000).agg(total=Sum("speed")).final()
    """

    _name = "sum"


class Mean(_BuiltIn):
    """The mean.

    Examples
    --------
    >>> means = sdf.tumbling_window(1000).agg(mean=Mean("speed")).final()
    """

    _name = "mean"


class Min(_BuiltIn):
    """The smallest value; NaN if any value is NaN.

    Examples
    --------
    >>> lowest = sdf.tumbling_window(1000).agg(lowest=Min("speed")).final()
    """

    _name = "min"


class Max(_BuiltIn):
    """The largest value; NaN if any value is NaN.

    Examples
    --------
    >>> highest = sdf.tumbling_window(1000).agg(highest=Max("speed")).final()
    """

    _name = "max"


class First(_BuiltIn):
    """The first value by arrival.

    Examples
    --------
    >>> firsts = sdf.tumbling_window(1000).agg(first=First("speed")).final()
    """

    _name = "first"


class Last(_BuiltIn):
    """The last value by arrival.

    Examples
    --------
    >>> lasts = sdf.tumbling_window(1000).agg(last=Last("speed")).final()
    """

    _name = "last"


class Earliest(_BuiltIn):
    """The value of the smallest event time; the first of equals.

    Examples
    --------
    >>> earliest = sdf.tumbling_window(1000).agg(speed=Earliest("speed")).final()
    """

    _name = "earliest"


class Latest(_BuiltIn):
    """The value of the largest event time; the last of equals.

    Examples
    --------
    >>> latest = sdf.tumbling_window(1000).agg(speed=Latest("speed")).final()
    """

    _name = "latest"


class Std(_BuiltIn):
    """The sample standard deviation (n - 1), as in pandas.

    Examples
    --------
    >>> spread = sdf.tumbling_window(1000).agg(spread=Std("speed")).final()
    """

    _name = "std"


class Variance(_BuiltIn):
    """The sample variance (n - 1), as in pandas.

    Examples
    --------
    >>> spread = sdf.tumbling_window(1000).agg(spread=Variance("speed")).final()
    """

    _name = "variance"


class Collect(_BuiltIn):
    """All values in a list, by event time. Only with ``.final()``.

    Examples
    --------
    >>> speeds = sdf.tumbling_window(1000).agg(speeds=Collect("speed")).final()
    """

    _name = "collect"


class Reduce(Aggregation):
    """A fold by two functions of yours.

    Parameters
    ----------
    reducer
        Takes the accumulator and a row, returns the next accumulator.
    initializer
        Makes the first accumulator of the first row.

    Examples
    --------
    >>> fold = Reduce(
    ...     reducer=lambda so_far, row: so_far + row["speed"],
    ...     initializer=lambda row: row["speed"],
    ... )
    >>> sums = sdf.tumbling_window(1000).agg(total=fold).final()
    """

    def __init__(
        self, reducer: Callable[[Any, Any], Any], initializer: Callable[[Any], Any]
    ) -> None:
        super().__init__()
        self.reducer = reducer
        self.initializer = initializer

    def _aggregate(self) -> _native.Aggregate:
        return _native.Aggregate.reduce(
            _functions.native(self.initializer, takes_row=False),
            _functions.native(self.reducer, takes_row=False),
        )


class Aggregator(Aggregation):
    """An aggregator of your own.

    Its accumulator must have a JSON form: None, numbers, text, lists, dicts.

    Examples
    --------
    >>> class Range(Aggregator):
    ...     def initialize(self):
    ...         return [None, None]
    ...     def agg(self, old, new, timestamp):
    ...         low, high = old
    ...         return [new if low is None else min(low, new),
    ...                 new if high is None else max(high, new)]
    ...     def result(self, state):
    ...         return state[1] - state[0]
    >>> ranges = sdf.tumbling_window(1000).agg(range=Range("speed")).final()
    """

    @abstractmethod
    def initialize(self) -> Any:
        """Make the accumulator of nothing."""

    @abstractmethod
    def agg(self, old: Any, new: Any, timestamp: int) -> Any:
        """Give the accumulator after a value."""

    @abstractmethod
    def result(self, state: Any) -> Any:
        """Give the result of an accumulator."""

    def _aggregate(self) -> _native.Aggregate:
        return _native.Aggregate.user(_object(self), False, self._input())


class Collector(Aggregation):
    """A collector of your own: gets all values of a window when it closes.

    Examples
    --------
    >>> class Median(Collector):
    ...     def result(self, items):
    ...         ordered = sorted(items)
    ...         return ordered[len(ordered) // 2]
    >>> medians = sdf.tumbling_window(1000).agg(median=Median("speed")).final()
    """

    @abstractmethod
    def result(self, items: list[Any]) -> Any:
        """Give the result of the values."""

    def _aggregate(self) -> _native.Aggregate:
        return _native.Aggregate.user(_object(self), True, self._input())


def _object(aggregation: Aggregation) -> _native.Function:
    """Make the engine's handle on an object whose methods it calls."""
    return _native.Function(
        aggregation, name=type(aggregation).__name__, line=_functions.user_line()
    )

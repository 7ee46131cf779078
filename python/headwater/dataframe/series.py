"""One column of a stream: an expression that the engine runs on whole batches.

Nothing here calls Python per record, but `apply` and a `map` by a function.
"""

from __future__ import annotations

import builtins
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from headwater import _functions, _native
from headwater.dataframe import reflexes
from headwater.dataframe.accessors import DateTimeMethods, StringMethods
from headwater.errors import ColumnDoesNotExist, InvalidOperation

if TYPE_CHECKING:
    from headwater.dataframe.dataframe import StreamingDataFrame

__all__ = ["StreamingSeries"]

_CASTS = {
    int: "int",
    float: "float",
    str: "str",
    bool: "bool",
    "int": "int",
    "int64": "int",
    "float": "float",
    "float64": "float",
    "str": "str",
    "string": "str",
    "bool": "bool",
    "boolean": "bool",
}
# A dict beyond this size is looked up by Python rather than compared entry by entry.
_MAP_ENTRIES_MAX = 32


class StreamingSeries:
    """A column of a stream, or what is computed from columns.

    Made by ``sdf["x"]``. Operators work as in pandas, value by value: null
    propagates, a missing field is null, integers stay integers, and comparisons
    with null are null, which a filter drops. Use it in a filter, assign it to a
    column, or compute on.

    Examples
    --------
    >>> sdf["kmh"] = sdf["speed"] * 3.6
    >>> fast = sdf[(sdf["kmh"] > 130) & sdf["driver"].notnull()]
    """

    __slots__ = ("_expr", "_sdf")
    _expr: _native.Expr
    _sdf: StreamingDataFrame

    def __init__(self, sdf: StreamingDataFrame, expr: _native.Expr) -> None:
        object.__setattr__(self, "_sdf", sdf)
        object.__setattr__(self, "_expr", expr)

    # -- building ---------------------------------------------------------

    def _new(self, expr: _native.Expr) -> StreamingSeries:
        return StreamingSeries(self._sdf, expr)

    def _operand(self, other: object) -> _native.Expr:
        """Make the expression of an operand: another column, or a constant."""
        if isinstance(other, StreamingSeries):
            if other._sdf is not self._sdf:
                msg = (
                    "the columns belong to two data frames; take both from the same one, after "
                    "the filter or apply that made it"
                )
                raise InvalidOperation(msg)
            return other._expr
        if hasattr(other, "_frame") and hasattr(other, "_app"):
            msg = 'an operand is a column or a constant, not a data frame; use sdf["x"]'
            raise InvalidOperation(msg)
        try:
            return _native.Expr.literal(other)
        except TypeError as error:
            msg = f"an operand is a column or a constant: {error}"
            raise TypeError(msg) from None

    def _binary(self, op: builtins.str, other: object) -> StreamingSeries:
        return self._new(self._expr.binary(op, self._operand(other)))

    def _reflected(self, op: builtins.str, other: object) -> StreamingSeries:
        return self._new(self._operand(other).binary(op, self._expr))

    def _unary(self, op: builtins.str) -> StreamingSeries:
        return self._new(self._expr.unary(op))

    # -- fields -----------------------------------------------------------

    def __getitem__(self, key: builtins.str | int) -> StreamingSeries:
        """Take a field of an object, or an element of an array.

        Examples
        --------
        >>> front_left = sdf["tyre"]["fl"]
        >>> last = sdf["laps"][-1]
        """
        if isinstance(key, bool) or not isinstance(key, (str, int)):
            if isinstance(key, slice):
                msg = "a slice of text is .str.slice(start, stop)"
                raise TypeError(msg)
            msg = f"a field is named by a str or an int, not {type(key).__name__}"
            raise ColumnDoesNotExist(msg)
        stepped = self._expr.step(key)
        if stepped is not None:
            return self._new(stepped)
        return self.apply(operator.itemgetter(key))

    # -- arithmetic -------------------------------------------------------

    def __add__(self, other: object) -> StreamingSeries:
        return self._binary("add", other)

    def __radd__(self, other: object) -> StreamingSeries:
        return self._reflected("add", other)

    def __sub__(self, other: object) -> StreamingSeries:
        return self._binary("subtract", other)

    def __rsub__(self, other: object) -> StreamingSeries:
        return self._reflected("subtract", other)

    def __mul__(self, other: object) -> StreamingSeries:
        return self._binary("multiply", other)

    def __rmul__(self, other: object) -> StreamingSeries:
        return self._reflected("multiply", other)

    def __truediv__(self, other: object) -> StreamingSeries:
        return self._binary("divide", other)

    def __rtruediv__(self, other: object) -> StreamingSeries:
        return self._reflected("divide", other)

    def __floordiv__(self, other: object) -> StreamingSeries:
        return self._binary("floor_divide", other)

    def __rfloordiv__(self, other: object) -> StreamingSeries:
        return self._reflected("floor_divide", other)

    def __mod__(self, other: object) -> StreamingSeries:
        return self._binary("modulo", other)

    def __rmod__(self, other: object) -> StreamingSeries:
        return self._reflected("modulo", other)

    def __pow__(self, other: object) -> StreamingSeries:
        return self._binary("power", other)

    def __rpow__(self, other: object) -> StreamingSeries:
        return self._reflected("power", other)

    def __neg__(self) -> StreamingSeries:
        return self._unary("negate")

    def __pos__(self) -> StreamingSeries:
        return self

    def __abs__(self) -> StreamingSeries:
        return self.abs()

    def abs(self) -> StreamingSeries:
        """Take the absolute value.

        Examples
        --------
        >>> sdf["magnitude"] = sdf["x"].abs()
        """
        return self._unary("abs")

    # -- comparison -------------------------------------------------------

    def __eq__(self, other: object) -> StreamingSeries:  # type: ignore[override]
        if other is None:
            return self.isnull()
        return self._binary("equal", other)

    def __ne__(self, other: object) -> StreamingSeries:  # type: ignore[override]
        if other is None:
            return self.notnull()
        return self._binary("not_equal", other)

    def __lt__(self, other: object) -> StreamingSeries:
        return self._binary("less", other)

    def __le__(self, other: object) -> StreamingSeries:
        return self._binary("less_or_equal", other)

    def __gt__(self, other: object) -> StreamingSeries:
        return self._binary("greater", other)

    def __ge__(self, other: object) -> StreamingSeries:
        return self._binary("greater_or_equal", other)

    __hash__ = None  # type: ignore[assignment]

    def is_(self, other: object) -> StreamingSeries:
        """Whether the value equals another; null is null.

        Examples
        --------
        >>> idle = sdf[sdf["driver"].is_(None)]
        """
        return self._binary("is", other)

    def isnot(self, other: object) -> StreamingSeries:
        """Whether the value differs from another; null is null.

        Examples
        --------
        >>> driven = sdf[sdf["driver"].isnot(None)]
        """
        return self._binary("is", other)._unary("not")

    def between(
        self, left: object, right: object, inclusive: builtins.str = "both"
    ) -> StreamingSeries:
        """Whether the value lies between two others.

        Parameters
        ----------
        inclusive
            Which ends count: ``"both"``, ``"neither"``, ``"left"`` or ``"right"``.

        Examples
        --------
        >>> town = sdf[sdf["speed"].between(0, 50, inclusive="left")]
        """
        if inclusive not in ("both", "neither", "left", "right"):
            msg = f'inclusive must be "both", "neither", "left" or "right", not {inclusive!r}'
            raise ValueError(msg)
        low = self >= left if inclusive in ("both", "left") else self > left
        high = self <= right if inclusive in ("both", "right") else self < right
        return low & high

    def isin(self, container: Iterable[object]) -> StreamingSeries:
        """Whether the value is one of several constants.

        Examples
        --------
        >>> front = sdf[sdf["grid"].isin([1, 2, 3])]
        """
        if isinstance(container, (str, bytes)):
            msg = "isin() takes a list of values; for a part of a text use .str.contains(...)"
            raise TypeError(msg)
        if isinstance(container, StreamingSeries):
            msg = "isin() takes constants; to look into a column use sdf['list'].contains(sdf['x'])"
            raise TypeError(msg)
        return self._new(self._expr.is_in(list(container)))

    def contains(self, other: object) -> StreamingSeries:
        """Whether something is in the value: text, an element, or a name.

        Examples
        --------
        >>> tagged = sdf[sdf["tags"].contains("urgent")]
        """
        return self._binary("contains", other)

    def isnull(self) -> StreamingSeries:
        """Whether the value is null or missing.

        Examples
        --------
        >>> unknown = sdf[sdf["driver"].isnull()]
        """
        return self._unary("is_null")

    isna = isnull

    def notnull(self) -> StreamingSeries:
        """Whether the value is there and not null.

        Examples
        --------
        >>> known = sdf[sdf["driver"].notnull()]
        """
        return self._unary("not_null")

    notna = notnull

    # -- logic ------------------------------------------------------------

    def __and__(self, other: object) -> StreamingSeries:
        return self._binary("and", other)

    def __rand__(self, other: object) -> StreamingSeries:
        return self._reflected("and", other)

    def __or__(self, other: object) -> StreamingSeries:
        return self._binary("or", other)

    def __ror__(self, other: object) -> StreamingSeries:
        return self._reflected("or", other)

    def __invert__(self) -> StreamingSeries:
        return self._unary("not")

    # -- values -----------------------------------------------------------

    def fillna(self, value: object) -> StreamingSeries:
        """Take another value where this one is null.

        Parameters
        ----------
        value
            A constant or another column.

        Examples
        --------
        >>> sdf["name"] = sdf["nickname"].fillna(sdf["driver"])
        """
        return self._new(self._expr.coalesce(self._operand(value)))

    def astype(self, dtype: type | builtins.str, errors: builtins.str = "raise") -> StreamingSeries:
        """Cast to `int`, `float`, `str` or `bool`.

        Parameters
        ----------
        errors
            ``"raise"`` makes a value that cannot be cast a data error,
            ``"coerce"`` makes it null.

        Examples
        --------
        >>> sdf["speed"] = sdf["speed"].astype(float)
        >>> sdf["lap"] = sdf["lap"].astype(int, errors="coerce")
        """
        to = _CASTS.get(dtype) if isinstance(dtype, (type, str)) else None
        if to is None:
            msg = f"astype() takes int, float, str or bool, not {dtype!r}"
            raise TypeError(msg)
        if errors not in ("raise", "coerce"):
            msg = f'errors must be "raise" or "coerce", not {errors!r}'
            raise ValueError(msg)
        return self._new(self._expr.cast(to, errors == "coerce"))

    def clip(self, lower: object = None, upper: object = None) -> StreamingSeries:
        """Replace values beyond a bound by the bound.

        Examples
        --------
        >>> sdf["speed"] = sdf["speed"].clip(0, 400)
        >>> sdf["gear"] = sdf["gear"].clip(lower=1)
        """
        clipped = self
        if lower is not None:
            clipped = clipped.mask(clipped < lower, lower)
        if upper is not None:
            clipped = clipped.mask(clipped > upper, upper)
        return clipped

    def round(self, decimals: int = 0) -> StreamingSeries:
        """Round, halves to even.

        Parameters
        ----------
        decimals
            The number of decimals to keep.

        Examples
        --------
        >>> sdf["speed"] = sdf["speed"].round(1)
        """
        return self._new(self._expr.scalar("round", decimals))

    def where(self, condition: StreamingSeries, other: object = None) -> StreamingSeries:
        """Keep the value where a condition is true, else take another.

        Examples
        --------
        >>> sdf["speed"] = sdf["speed"].where(sdf["speed"] >= 0, 0)
        """
        then, otherwise = self._expr, self._operand(other)
        return self._new(_native.Expr.choose(self._condition(condition), then, otherwise))

    def mask(self, condition: StreamingSeries, other: object = None) -> StreamingSeries:
        """Take another value where a condition is true, else keep this one.

        Examples
        --------
        >>> sdf["speed"] = sdf["speed"].mask(sdf["speed"] < 0)
        """
        then, otherwise = self._operand(other), self._expr
        return self._new(_native.Expr.choose(self._condition(condition), then, otherwise))

    def _condition(self, condition: StreamingSeries) -> _native.Expr:
        if not isinstance(condition, StreamingSeries):
            msg = f'a condition is a column such as sdf["x"] > 3, not {type(condition).__name__}'
            raise TypeError(msg)
        return self._operand(condition)

    def map(self, arg: Mapping[Any, object] | Callable[[Any], Any]) -> StreamingSeries:
        """Replace each value by its entry in a dict, or by a function's result.

        A value without an entry becomes null, as in pandas.

        Examples
        --------
        >>> sdf["side"] = sdf["wheel"].map({"fl": "left", "fr": "right"})
        """
        if callable(arg):
            return self.apply(arg)
        if not isinstance(arg, Mapping):
            msg = f"map() takes a dict or a function, not {type(arg).__name__}"
            raise TypeError(msg)
        if len(arg) > _MAP_ENTRIES_MAX or not all(isinstance(key, str) for key in arg):
            return self.apply(dict(arg).get)
        mapped = _native.Expr.literal(None)
        for key, value in arg.items():
            condition = self._expr.binary("equal", _native.Expr.literal(key))
            mapped = _native.Expr.choose(condition, self._operand(value), mapped)
        return self._new(mapped)

    def apply(self, func: Callable[[Any], Any]) -> StreamingSeries:
        """Call a function of the value for each record.

        This is Python once a record; an expression is many times faster.

        Examples
        --------
        >>> sdf["length"] = sdf["text"].apply(len)
        """
        return self._new(self._expr.call(_functions.native(func, takes_row=False)))

    @property
    def str(self) -> StringMethods:
        """Functions of text.

        Examples
        --------
        >>> sdf["driver"] = sdf["driver"].str.strip().str.upper()
        """
        return StringMethods(self)

    @property
    def dt(self) -> DateTimeMethods:
        """Functions of time: of milliseconds since 1970 (UTC), or of ISO 8601 text.

        Examples
        --------
        >>> sdf["hour"] = sdf["time"].dt.hour
        """
        return DateTimeMethods(self)

    # -- what a column of a stream cannot do --------------------------------

    def __bool__(self) -> NoReturn:
        reflexes.no_truth_of_series()

    def __len__(self) -> NoReturn:
        reflexes.no_length()

    def __iter__(self) -> NoReturn:
        reflexes.no_iteration()

    def __contains__(self, _: object) -> NoReturn:
        msg = "`in` cannot be answered for a stream; use series.contains(x) or series.isin([...])"
        raise TypeError(msg)

    def __setitem__(self, _key: object, _value: object) -> NoReturn:
        msg = 'a nested field cannot be assigned; use sdf.update(f), or assign all of sdf["x"]'
        raise TypeError(msg)

    def __setattr__(self, name: builtins.str, _value: object) -> NoReturn:
        reflexes.no_attribute_assignment(name)

    def __getattr__(self, name: builtins.str) -> NoReturn:
        reflexes.series_attribute(name)

    def __repr__(self) -> builtins.str:
        return f"StreamingSeries({self._expr!r})"

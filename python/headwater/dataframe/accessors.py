"""`series.str` and `series.dt`: built-in functions of text and time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from headwater._durations import frequency_ms

if TYPE_CHECKING:
    from datetime import timedelta

    from headwater.dataframe.series import StreamingSeries


class _Methods:
    __slots__ = ("_series",)
    _series: StreamingSeries
    _name = ""

    def __init__(self, series: StreamingSeries) -> None:
        self._series = series

    def _scalar(self, function: str, *arguments: object) -> StreamingSeries:
        return self._series._new(self._series._expr.scalar(function, *arguments))

    def __getattr__(self, name: str) -> NoReturn:
        known = ", ".join(sorted(known for known in dir(type(self)) if not known.startswith("_")))
        msg = f"`.{self._name}` has no {name!r}; it has {known}; for anything else use .apply(f)"
        raise AttributeError(msg)


class StringMethods(_Methods):
    """Functions of text; anything else but null is a data error.

    Examples
    --------
    >>> sdf["initial"] = sdf["driver"].str.slice(0, 1).str.upper()
    """

    __slots__ = ()
    _name = "str"

    def lower(self) -> StreamingSeries:
        """Make it lower case.

        Examples
        --------
        >>> sdf["driver"] = sdf["driver"].str.lower()
        """
        return self._scalar("lower")

    def upper(self) -> StreamingSeries:
        """Make it upper case.

        Examples
        --------
        >>> sdf["driver"] = sdf["driver"].str.upper()
        """
        return self._scalar("upper")

    def strip(self) -> StreamingSeries:
        """Remove white space at both ends.

        Examples
        --------
        >>> sdf["driver"] = sdf["driver"].str.strip()
        """
        return self._scalar("strip")

    def len(self) -> StreamingSeries:
        """Count characters; elements of an array, fields of an object.

        Examples
        --------
        >>> sdf["length"] = sdf["driver"].str.len()
        """
        return self._scalar("length")

    def startswith(self, pat: str) -> StreamingSeries:
        """Whether it starts with a text.

        Examples
        --------
        >>> mcs = sdf[sdf["driver"].str.startswith("Mc")]
        """
        return self._scalar("starts_with", pat)

    def endswith(self, pat: str) -> StreamingSeries:
        """Whether it ends with a text.

        Examples
        --------
        >>> juniors = sdf[sdf["driver"].str.endswith("Jr.")]
        """
        return self._scalar("ends_with", pat)

    def contains(self, pat: str, *, regex: bool = False) -> StreamingSeries:
        """Whether it has a text in it.

        Parameters
        ----------
        regex
            Regular expressions are not built in; use ``.apply(...)`` with `re`.

        Examples
        --------
        >>> hams = sdf[sdf["driver"].str.contains("ham")]
        """
        if regex:
            msg = "a regular expression runs in Python: .apply(lambda t: bool(re.search(pat, t)))"
            raise NotImplementedError(msg)
        return self._scalar("has_text", pat)

    def replace(self, pat: str, repl: str, *, regex: bool = False) -> StreamingSeries:
        """Replace every occurrence of a text by another.

        Parameters
        ----------
        regex
            Regular expressions are not built in; use ``.apply(...)`` with `re`.

        Examples
        --------
        >>> sdf["driver"] = sdf["driver"].str.replace("_", " ")
        """
        if regex:
            msg = (
                "a regular expression runs in Python: .apply(lambda text: re.sub(pat, repl, text))"
            )
            raise NotImplementedError(msg)
        return self._scalar("replace", pat, repl)

    def slice(self, start: int | None = None, stop: int | None = None) -> StreamingSeries:
        """Take the characters from `start` up to, not including, `stop`.

        Examples
        --------
        >>> sdf["code"] = sdf["driver"].str.slice(stop=3)
        >>> sdf["end"] = sdf["driver"].str.slice(-2)
        """
        return self._scalar("slice", start, stop)


class DateTimeMethods(_Methods):
    """Functions of time, in UTC.

    Examples
    --------
    >>> sdf["day"] = sdf["time"].dt.floor("1d").dt.to_iso()
    """

    __slots__ = ()
    _name = "dt"

    @property
    def year(self) -> StreamingSeries:
        """The year."""
        return self._scalar("year")

    @property
    def month(self) -> StreamingSeries:
        """The month, 1 to 12."""
        return self._scalar("month")

    @property
    def day(self) -> StreamingSeries:
        """The day of the month, 1 to 31."""
        return self._scalar("day")

    @property
    def hour(self) -> StreamingSeries:
        """The hour, 0 to 23."""
        return self._scalar("hour")

    @property
    def minute(self) -> StreamingSeries:
        """The minute, 0 to 59."""
        return self._scalar("minute")

    @property
    def second(self) -> StreamingSeries:
        """The second, 0 to 59."""
        return self._scalar("second")

    @property
    def millisecond(self) -> StreamingSeries:
        """The millisecond, 0 to 999."""
        return self._scalar("millisecond")

    @property
    def dayofweek(self) -> StreamingSeries:
        """The day of the week, Monday 0."""
        return self._scalar("day_of_week")

    weekday = dayofweek

    def floor(self, freq: int | str | timedelta) -> StreamingSeries:
        """Round down to a multiple of a length of time, in milliseconds.

        Parameters
        ----------
        freq
            Milliseconds, a timedelta, or text such as ``"250ms"`` and ``"1h"``.

        Examples
        --------
        >>> sdf["quarter"] = sdf["time"].dt.floor("15min")
        """
        return self._scalar("floor_to", frequency_ms(freq))

    def to_ms(self) -> StreamingSeries:
        """Give milliseconds since 1970: an ISO 8601 text is read, a number stays.

        Examples
        --------
        >>> sdf["time"] = sdf["time"].dt.to_ms()
        """
        return self._scalar("to_timestamp_ms")

    def to_iso(self) -> StreamingSeries:
        """Give an ISO 8601 text.

        Examples
        --------
        >>> sdf["time"] = sdf["time"].dt.to_iso()
        """
        return self._scalar("to_iso_format")

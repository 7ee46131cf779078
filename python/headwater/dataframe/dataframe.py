"""The user's handle on a stream: a lazy data frame.

A `StreamingDataFrame` holds one step of an immutable plan. Methods that change
the frame in place move the handle to a new step; the others return a new handle
and leave this one where it is, which makes a branch. Both remember the step in
the application, so that a branch that nobody keeps still runs.

In place: `update`, `print`, `print_table`, `drop`, `fill`, `to_topic` and
``sdf["x"] = ...``. Everything else returns a new frame.
"""

# tidy: long because each method of a data frame is documented with examples.
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, Never, NoReturn, overload

from headwater import _functions, _native
from headwater.dataframe import reflexes
from headwater.dataframe.series import StreamingSeries
from headwater.dataframe.windows.definitions import HoppingWindow, TumblingWindow
from headwater.errors import InvalidOperation
from headwater.models import Topic

if TYPE_CHECKING:
    from datetime import timedelta

    from headwater.app import Application
    from headwater.dataframe.windows.definitions import OnLate, Trigger
    from headwater.sinks import BaseSink

__all__ = ["StreamingDataFrame"]


class StreamingDataFrame:
    """A topic as an infinite table: each record is a row, each property a column.

    Made by `Application.dataframe`. Operations are written once and run on every
    record when `Application.run` is called.

    Examples
    --------
    >>> sdf = sdf[sdf["speed"] > 100]
    >>> sdf["kmh"] = sdf["speed"] * 3.6
    >>> sdf = sdf[["driver", "kmh"]]
    """

    __slots__ = ("__weakref__", "_app", "_frame", "_topic")
    _app: Application
    _topic: Topic
    _frame: _native.Frame

    def __init__(self, app: Application, topic: Topic, frame: _native.Frame) -> None:
        object.__setattr__(self, "_app", app)
        object.__setattr__(self, "_topic", topic)
        object.__setattr__(self, "_frame", frame)

    # -- steps ------------------------------------------------------------

    def _new(self, frame: _native.Frame) -> StreamingDataFrame:
        """Return a new frame; this one stays where it is."""
        return StreamingDataFrame(self._app, self._topic, self._app._frames.add(frame))

    def _move(self, frame: _native.Frame) -> StreamingDataFrame:
        """Change this frame in place."""
        object.__setattr__(self, "_frame", self._app._frames.add(frame))
        return self

    def _function(
        self,
        func: Callable[..., Any],
        *,
        expand: bool = False,
        metadata: bool = False,
        stateful: bool = False,
    ) -> _native.Function:
        return _functions.native(
            func,
            expand=expand,
            metadata=metadata,
            stateful=stateful,
            key_format=self._topic.key_deserializer,
        )

    def _value(self, value: object) -> _native.Expr:
        """Make the expression of a column, of applied functions, or of a constant."""
        if isinstance(value, StreamingSeries):
            if value._sdf is not self:
                msg = (
                    "the column belongs to another data frame; take it from the one it is used "
                    "on, after the filter or apply that made it"
                )
                raise InvalidOperation(msg)
            return value._expr
        if isinstance(value, StreamingDataFrame):
            expr = _native.Expr.field([])
            for function in self._app._frames.take_applied(self._frame, value._frame):
                expr = expr.call(function)
            return expr
        if callable(value):
            msg = 'a column by a function is sdf["y"] = sdf.apply(f), or sdf["x"].apply(f)'
            raise TypeError(msg)
        return _native.Expr.literal(value)

    # -- functions --------------------------------------------------------

    def apply(
        self,
        func: Callable[..., Any],
        *,
        stateful: bool = False,
        expand: bool = False,
        metadata: bool = False,
    ) -> StreamingDataFrame:
        """Replace each row by what a function returns.

        Parameters
        ----------
        func
            Called with the row; with key, timestamp and headers too if `metadata`;
            with the key's `State` last if `stateful`.
        stateful
            Whether `func` keeps state by key.
        expand
            Whether each item of the result becomes a row of its own.
        metadata
            Whether `func` takes key, timestamp and headers.

        Returns
        -------
        StreamingDataFrame
            A new frame.

        Examples
        --------
        >>> kmh = sdf.apply(lambda row: {"kmh": row["speed"] * 3.6})

        Several rows of one:

        >>> words = sdf.apply(lambda row: row["text"].split(), expand=True)

        With the record's key and time:

        >>> stamped = sdf.apply(lambda row, key, timestamp, headers: {**row, "at": timestamp},
        ...     metadata=True)

        With state:

        >>> def count(row: dict, state: State) -> dict:
        ...     total = state.get("total", 0) + 1
        ...     state.set("total", total)
        ...     return {"total": total}
        >>> totals = sdf.apply(count, stateful=True)
        """
        function = self._function(func, expand=expand, metadata=metadata, stateful=stateful)
        return self._new(self._frame.apply(function, _functions.user_line()))

    def update(
        self,
        func: Callable[..., object],
        *,
        stateful: bool = False,
        metadata: bool = False,
    ) -> StreamingDataFrame:
        """Call a function for its effect on the row. In place.

        Parameters
        ----------
        func
            Called as by `apply`; its result is ignored, and what it changed in
            the row stays.
        stateful
            Whether `func` keeps state by key.
        metadata
            Whether `func` takes key, timestamp and headers.

        Returns
        -------
        StreamingDataFrame
            This frame.

        Examples
        --------
        >>> sdf = sdf.update(lambda row: row.update(source="car"))

        With the key:

        >>> def stamp(row: dict, key: bytes, timestamp: int, headers: object) -> None:
        ...     row["car"] = key.decode()
        >>> sdf = sdf.update(stamp, metadata=True)

        With state:

        >>> sdf = sdf.update(lambda row, state: state.set("last", row["speed"]), stateful=True)
        """
        function = self._function(func, metadata=metadata, stateful=stateful)
        return self._move(self._frame.update(function, _functions.user_line()))

    def filter(
        self,
        func: Callable[..., object],
        *,
        stateful: bool = False,
        metadata: bool = False,
    ) -> StreamingDataFrame:
        """Keep the rows for which a function's result is true.

        A condition on columns, ``sdf[sdf["x"] > 3]``, is many times faster.

        Parameters
        ----------
        func
            Called as by `apply`.
        stateful
            Whether `func` keeps state by key.
        metadata
            Whether `func` takes key, timestamp and headers.

        Returns
        -------
        StreamingDataFrame
            A new frame.

        Examples
        --------
        >>> fast = sdf.filter(lambda row: row["speed"] > 100)

        By the record's key:

        >>> mine = sdf.filter(lambda row, key, timestamp, headers: key == b"car-7", metadata=True)

        With state:

        >>> def is_new(row: dict, state: State) -> bool:
        ...     seen = state.exists(row["id"])
        ...     state.set(row["id"], True)
        ...     return not seen
        >>> unique = sdf.filter(is_new, stateful=True)
        """
        function = self._function(func, metadata=metadata, stateful=stateful)
        return self._new(self._frame.filter_by(function, _functions.user_line()))

    def apply_batch(
        self,
        func: Callable[[Any], Any],
        columns: Sequence[str] | None = None,
        form: Literal["pandas", "arrow", "numpy"] = "pandas",
    ) -> StreamingDataFrame:
        """Call a function once for many rows, with columns.

        The columns that it returns are set in the rows. It must return as many
        values as it got, each by its own row alone: how many rows come together
        is not promised.

        Parameters
        ----------
        func
            Called with a `pandas.DataFrame`, a `pyarrow.RecordBatch` or a dict of
            NumPy arrays; returns one of them.
        columns
            The columns to pass, or None for one column ``value`` with each row's
            JSON text.
        form
            What `func` is called with.

        Returns
        -------
        StreamingDataFrame
            A new frame.

        Examples
        --------
        >>> def score(frame):
        ...     return {"score": frame["speed"] * 2 + frame["lap"]}
        >>> scored = sdf.apply_batch(score, columns=["speed", "lap"])

        With NumPy arrays:

        >>> def magnitude(arrays):
        ...     return {"g": (arrays["x"] ** 2 + arrays["y"] ** 2) ** 0.5}
        >>> shaken = sdf.apply_batch(magnitude, columns=["x", "y"], form="numpy")
        """
        _check_form(form)
        function = _functions.native(func, takes_row=False)
        names = _names(columns or (), "columns")
        return self._new(self._frame.apply_batch(function, names, form, _functions.user_line()))

    # -- columns ----------------------------------------------------------

    @overload
    def __getitem__(self, item: str) -> StreamingSeries: ...

    @overload
    def __getitem__(
        self, item: list[str] | StreamingSeries | StreamingDataFrame
    ) -> StreamingDataFrame: ...

    def __getitem__(
        self, item: str | list[str] | StreamingSeries | StreamingDataFrame
    ) -> StreamingSeries | StreamingDataFrame:
        """Take a column, some columns, or the rows where a condition is true.

        Examples
        --------
        >>> speed = sdf["speed"]
        >>> small = sdf[["driver", "speed"]]
        >>> fast = sdf[sdf["speed"] > 100]
        """
        line = _functions.user_line()
        if isinstance(item, str):
            return StreamingSeries(self, _native.Expr.field([item]))
        if isinstance(item, (StreamingSeries, StreamingDataFrame)):
            return self._new(self._frame.filter(self._value(item), line))
        if isinstance(item, (list, tuple)):
            names = _names(item, "columns")
            if not names:
                msg = 'name at least one column: sdf[["a", "b"]]'
                raise InvalidOperation(msg)
            return self._new(self._frame.project(names, line))
        if isinstance(item, (slice, int)):
            msg = f"a stream has no row numbers; {reflexes._FILTER}"
            raise TypeError(msg)
        msg = (
            "a data frame is indexed by a column's name, a list of names or a condition, not "
            f"{type(item).__name__}"
        )
        raise TypeError(msg)

    def __setitem__(self, name: str, value: object) -> None:
        """Assign a column: an expression, what `apply` makes, or a constant.

        Examples
        --------
        >>> sdf["kmh"] = sdf["speed"] * 3.6
        >>> sdf["label"] = sdf.apply(lambda row: f"{row['driver']}: {row['lap']}")
        >>> sdf["source"] = "car"
        """
        if not isinstance(name, str):
            msg = f"one column is assigned at a time, by its name, not {name!r}"
            raise TypeError(msg)
        expr = self._value(value)
        self._move(self._frame.assign([(name, expr)], _functions.user_line()))

    def contains(self, keys: str | list[str]) -> StreamingSeries:
        """Whether a row has all the named columns, null or not.

        Examples
        --------
        >>> gps = sdf[sdf.contains(["latitude", "longitude"])]
        """
        names = _names([keys] if isinstance(keys, str) else keys, "keys")
        return StreamingSeries(self, _native.Expr.has_fields(names))

    def fill(self, *columns: str, **mapping: object) -> StreamingDataFrame:
        """Set columns where they are missing or null. In place.

        Parameters
        ----------
        columns
            Columns that become null where they are missing.
        mapping
            Columns with the values that they are given.

        Returns
        -------
        StreamingDataFrame
            This frame.

        Examples
        --------
        >>> sdf = sdf.fill("latitude", "longitude", gear=1)
        """
        reflexes.refuse_options("fill", {k: v for k, v in mapping.items() if k == "inplace"})
        wanted: dict[str, object] = dict.fromkeys(_names(columns, "columns")) | mapping
        if not wanted:
            msg = 'name the columns to fill: sdf.fill("a", b=0)'
            raise InvalidOperation(msg)
        fields = [
            (name, _native.Expr.field([name]).coalesce(_native.Expr.literal(value)))
            for name, value in wanted.items()
        ]
        return self._move(self._frame.assign(fields, _functions.user_line()))

    def drop(
        self,
        columns: str | list[str],
        errors: Literal["raise", "ignore"] = "raise",
        **unsupported: Never,
    ) -> StreamingDataFrame:
        """Remove columns. In place.

        Parameters
        ----------
        columns
            A name, or several.
        errors
            ``"raise"`` makes a row without the column a data error, ``"ignore"``
            lets it pass.

        Returns
        -------
        StreamingDataFrame
            This frame.

        Examples
        --------
        >>> sdf = sdf.drop(["x", "y"])
        >>> sdf = sdf.drop("debug", errors="ignore")
        """
        reflexes.refuse_options("drop", unsupported)
        if errors not in ("raise", "ignore"):
            msg = f'errors must be "raise" or "ignore", not {errors!r}'
            raise ValueError(msg)
        names = _names([columns] if isinstance(columns, str) else columns, "columns")
        return self._move(self._frame.drop(names, errors == "ignore", _functions.user_line()))

    # -- records ----------------------------------------------------------

    def set_timestamp(
        self, func: Callable[[Any, Any, int, Any], int] | StreamingSeries
    ) -> StreamingDataFrame:
        """Set the event time of each row, in milliseconds.

        Parameters
        ----------
        func
            A column, or a function of value, key, timestamp and headers.

        Returns
        -------
        StreamingDataFrame
            A new frame.

        Examples
        --------
        >>> timed = sdf.set_timestamp(sdf["time_ns"] // 1_000_000)
        >>> timed = sdf.set_timestamp(lambda row, key, timestamp, headers: row["time"])
        """
        line = _functions.user_line()
        if isinstance(func, StreamingSeries):
            return self._new(self._frame.set_timestamp(self._value(func), line))
        function = self._function(func, metadata=True)
        return self._new(self._frame.set_timestamp_by(function, line))

    def set_headers(
        self, func: Callable[[Any, Any, int, Any], Iterable[tuple[str, Any]]]
    ) -> StreamingDataFrame:
        """Set the headers of each row.

        Parameters
        ----------
        func
            A function of value, key, timestamp and headers; returns pairs of a
            name and bytes.

        Returns
        -------
        StreamingDataFrame
            A new frame.

        Examples
        --------
        >>> traced = sdf.set_headers(lambda row, key, timestamp, headers: [("car", key)])
        """
        function = self._function(func, metadata=True)
        return self._new(self._frame.set_headers(function, _functions.user_line()))

    # -- another key ------------------------------------------------------

    def group_by(
        self,
        key: str | StreamingSeries | Callable[[Any], Any],
        name: str | None = None,
        value_deserializer: str = "json",
        key_deserializer: str = "json",
        value_serializer: str = "json",
        key_serializer: str = "json",
    ) -> StreamingDataFrame:
        """Go on under another key, so that rows of equal keys meet.

        The rows pass an internal topic, ``repartition__<application>--...``, with
        their timestamps and headers. Windows and state after it are those of the
        new key. It may be used more than once.

        Parameters
        ----------
        key
            The new key: a column's name, a column, or a function of the value.
        name
            Tells this change of key from others of the stream; its topic and its
            state go by it. By default the column's name.
        value_deserializer, key_deserializer, value_serializer, key_serializer
            How the internal topic is written and read: ``"json"`` keeps the kind
            of a key, so 1 and "1" are two keys.

        Returns
        -------
        StreamingDataFrame
            A new frame.

        Raises
        ------
        InvalidOperation
            If a column or function that is not given by name has no `name`.

        Examples
        --------
        >>> by_driver = sdf.group_by("driver")
        >>> sums = by_driver.tumbling_window(1_000).agg(n=Count()).final()

        By a function, and with plain text as the key:

        >>> by_team = sdf.group_by(
        ...     lambda row: row["driver"][:2],
        ...     name="team",
        ...     key_serializer="str",
        ...     key_deserializer="str",
        ... )
        """
        if (value_serializer, key_serializer) != (value_deserializer, key_deserializer):
            msg = "what writes the internal topic reads it: give both the same format"
            raise InvalidOperation(msg)
        if isinstance(key, str):
            name, key = name or key, self[key]
        if not name:
            msg = 'a change of key needs a name that stays the same: group_by(..., name="team")'
            raise InvalidOperation(msg)
        by_column = self._value(key) if isinstance(key, StreamingSeries) else None
        by_function = None if isinstance(key, StreamingSeries) else self._function(key)
        topic = Topic(
            name,
            value_deserializer=value_deserializer,
            key_deserializer=key_deserializer,
            value_serializer=value_serializer,
            key_serializer=key_serializer,
        )
        line = _functions.user_line()
        frame = self._frame.group_by(name, topic._writing, by_function, by_column, line)
        return StreamingDataFrame(self._app, topic, self._app._frames.add(frame))

    # -- ways out ---------------------------------------------------------

    def to_topic(
        self,
        topic: Topic | str | Callable[[Any, Any, int, Any], Topic],
        key: Callable[[Any], Any] | StreamingSeries | None = None,
    ) -> StreamingDataFrame:
        """Write each row to a topic. In place; the row goes on.

        Parameters
        ----------
        topic
            The topic or its name, or a function of value, key, timestamp and
            headers that chooses one.
        key
            The new key, a column or a function of the value; otherwise the row's
            own.

        Returns
        -------
        StreamingDataFrame
            This frame.

        Examples
        --------
        >>> alerts = app.topic("alerts")
        >>> sdf = sdf.to_topic(alerts)

        With another key:

        >>> sdf = sdf.to_topic(alerts, key=sdf["driver"])
        >>> sdf = sdf.to_topic(alerts, key=lambda row: row["driver"])

        To one of several topics:

        >>> quiet = app.topic("quiet")
        >>> def choose(row: dict, key: bytes, timestamp: int, headers: object) -> Topic:
        ...     return alerts if row["speed"] > 100 else quiet
        >>> sdf = sdf.to_topic(choose)
        """
        line = _functions.user_line()
        formats, choose = None, None
        if isinstance(topic, str):
            topic = self._app.topic(topic)
        if callable(topic):
            choose = self._function(topic, metadata=True)
        else:
            formats = self._app._topic_of(topic)._writing
        by_column = self._value(key) if isinstance(key, StreamingSeries) else None
        by_function = None
        if key is not None and by_column is None:
            if not callable(key):
                msg = 'key is a column, key=sdf["x"], or a function, key=lambda row: row["x"]'
                raise TypeError(msg)
            by_function = self._function(key)
        return self._move(self._frame.to_topic(formats, choose, by_function, by_column, line))

    def sink(self, sink: BaseSink) -> None:
        """Hand each row to a sink. The end of this branch.

        Examples
        --------
        >>> from headwater.sinks import ListSink
        >>> rows = ListSink()
        >>> sdf.sink(rows)
        """
        for method in ("add", "flush", "_sink_name"):
            if not hasattr(sink, method):
                kind = type(sink).__name__
                msg = f"sink() takes an object of a class derived from BaseSink, not {kind}"
                raise TypeError(msg)
        frames = self._app._frames
        name = frames.sink_name(sink)
        frames.add_sink(self._frame.sink(name, _functions.user_line()), name, sink)

    def print(self, pretty: bool = True, metadata: bool = False) -> StreamingDataFrame:
        """Print each row. In place.

        Parameters
        ----------
        pretty
            Over several lines where a row is long.
        metadata
            Key, timestamp and headers too.

        Returns
        -------
        StreamingDataFrame
            This frame.

        Examples
        --------
        >>> sdf = sdf.print()
        >>> sdf = sdf.print(pretty=False)
        >>> sdf = sdf.print(metadata=True)
        """
        return self._move(self._frame.print(pretty, metadata, _functions.user_line()))

    def print_table(
        self,
        size: int = 5,
        title: str | None = None,
        metadata: bool = True,
        timeout: float = 5.0,
        live: bool = True,
        columns: list[str] | None = None,
        column_widths: dict[str, int] | None = None,
    ) -> StreamingDataFrame:
        """Show the newest rows as a table. In place.

        Parameters
        ----------
        size
            The number of rows.
        title
            A line above the table.
        metadata
            Key and timestamp too.
        timeout
            Where the output is no terminal: print what there is after this many
            seconds.
        live
            Redraw the table in place on a terminal.
        columns
            The columns to show, or all.
        column_widths
            Widths in characters.

        Returns
        -------
        StreamingDataFrame
            This frame.

        Examples
        --------
        >>> sdf = sdf.print_table(size=10, title="fast cars", columns=["driver", "speed"])
        >>> sdf = sdf.print_table(metadata=False, live=False, timeout=1.0)
        >>> sdf = sdf.print_table(column_widths={"driver": 20})
        """
        if size < 1:
            msg = f"a table has at least 1 row, not {size}"
            raise ValueError(msg)
        widths = list((column_widths or {}).items())
        line = _functions.user_line()
        frame = self._frame.print_table(size, title, metadata, columns, live, timeout, widths, line)
        return self._move(frame)

    # -- windows ----------------------------------------------------------

    def tumbling_window(
        self,
        duration_ms: int | timedelta,
        grace_ms: int | timedelta = 0,
        name: str | None = None,
        on_late: OnLate | None = None,
        before_update: Trigger | None = None,
        after_update: Trigger | None = None,
        *,
        key_timeout: int | timedelta | None = None,
        key_retention: int | timedelta | None = None,
    ) -> TumblingWindow:
        """Aggregate over windows of fixed length that follow each other.

        Parameters
        ----------
        duration_ms
            The length of a window, in milliseconds or as a timedelta.
        grace_ms
            How long after its end a window still takes records.
        name
            A name for its state, where two windows of one stream are alike.
        on_late
            Called for each window that a late record missed; if its result is
            true, a warning is logged too.
        before_update, after_update
            Called for each update of a window; if the result is true, the window
            is emitted and starts anew.
        key_timeout
            Event time after which the windows of a silent key close (15 minutes).
        key_retention
            Event time after which a silent key is forgotten (7 days).

        Examples
        --------
        >>> from headwater.windows import Mean
        >>> speeds = sdf.tumbling_window(60_000).agg(mean=Mean("speed")).final()

        Records may be up to 10 seconds late, and a silent key closes after a minute:

        >>> from datetime import timedelta
        >>> speeds = sdf.tumbling_window(timedelta(minutes=1), grace_ms=10_000, name="by minute",
        ...     key_timeout=60_000).agg(mean=Mean("speed")).final()
        """
        return TumblingWindow(
            self,
            duration_ms,
            None,
            grace_ms=grace_ms,
            name=name,
            on_late=on_late,
            before_update=before_update,
            after_update=after_update,
            key_timeout=key_timeout,
            key_retention=key_retention,
        )

    def hopping_window(
        self,
        duration_ms: int | timedelta,
        step_ms: int | timedelta,
        grace_ms: int | timedelta = 0,
        name: str | None = None,
        on_late: OnLate | None = None,
        before_update: Trigger | None = None,
        after_update: Trigger | None = None,
        *,
        key_timeout: int | timedelta | None = None,
        key_retention: int | timedelta | None = None,
    ) -> HoppingWindow:
        """Aggregate over windows of fixed length that overlap.

        Parameters
        ----------
        duration_ms
            The length of a window, in milliseconds or as a timedelta.
        step_ms
            The distance between the starts of windows, below their length.
        grace_ms, name, on_late, before_update, after_update, key_timeout, key_retention
            As of `tumbling_window`.

        Examples
        --------
        >>> from headwater.windows import Sum
        >>> shakes = sdf.hopping_window(2_000, 250).agg(total=Sum("g_force")).final()
        """
        return HoppingWindow(
            self,
            duration_ms,
            step_ms,
            grace_ms=grace_ms,
            name=name,
            on_late=on_late,
            before_update=before_update,
            after_update=after_update,
            key_timeout=key_timeout,
            key_retention=key_retention,
        )

    # -- looking ----------------------------------------------------------

    def explain(self) -> str:
        """Say what leads to this frame, step by step, and what runs each step.

        Examples
        --------
        >>> print(sdf.explain())  # doctest: +SKIP
        """
        return _native.explain([self._frame])

    @property
    def stream_id(self) -> str:
        """The name of the stream that state belongs to: its topic's."""
        return self._topic.name

    @property
    def topics(self) -> tuple[Topic, ...]:
        """The topics that the frame reads."""
        return (self._topic,)

    def __repr__(self) -> str:
        return f"StreamingDataFrame(topic={self._topic.name!r})"

    # -- what a stream cannot do --------------------------------------------

    def __bool__(self) -> NoReturn:
        reflexes.no_truth_of_frame()

    def __len__(self) -> NoReturn:
        reflexes.no_length()

    def __iter__(self) -> NoReturn:
        reflexes.no_iteration()

    def __contains__(self, _: object) -> NoReturn:
        msg = "`in` cannot be answered for a stream; use sdf.contains(name)"
        raise TypeError(msg)

    def __delitem__(self, name: str) -> None:
        self.drop(name)

    def __setattr__(self, name: str, _value: object) -> NoReturn:
        reflexes.no_attribute_assignment(name)

    def __getattr__(self, name: str) -> NoReturn:
        reflexes.frame_attribute(name)


def _check_form(form: str) -> None:
    """Check that what a batch function is called with can be had."""
    package = {"pandas": "pandas", "arrow": "pyarrow", "numpy": "numpy"}.get(form)
    if package is None:
        msg = f'form must be "pandas", "arrow" or "numpy", not {form!r}'
        raise ValueError(msg)
    if find_spec(package) is None:
        msg = f'form="{form}" needs {package}: pip install headwater[{form}]'
        raise ImportError(msg)


def _names(names: Iterable[object], what: str) -> list[str]:
    """Check that names are texts."""
    if isinstance(names, str):
        msg = f"{what} is a list of names: [{names!r}]"
        raise TypeError(msg)
    checked = []
    for name in names:
        if not isinstance(name, str):
            msg = f"{what} are named by str, not {type(name).__name__}"
            raise TypeError(msg)
        checked.append(name)
    return checked

"""Habits of pandas that cannot work on a stream, and what to write instead.

A table can be counted, sorted and indexed; a stream has no end. Each of these
habits meets one sentence that names the replacement, at the line where it was
written and not somewhere inside a run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from headwater.errors import InvalidOperation

_COUNT = "count in a window: sdf.tumbling_window(...).agg(n=Count())"
_PREVIEW = "look at a few rows with app.run(count=5), or print them with sdf.print_table()"
_WINDOW = "aggregate over time: sdf.tumbling_window(...) or sdf.hopping_window(...), then .agg(...)"
_FILTER = 'filter with a condition: sdf[sdf["x"] > 3]'

_FRAME = {
    "head": _PREVIEW,
    "tail": _PREVIEW,
    "sample": _PREVIEW,
    "describe": _WINDOW,
    "info": "see the pipeline with sdf.explain()",
    "iloc": _FILTER,
    "loc": _FILTER,
    "iat": _FILTER,
    "at": _FILTER,
    "query": _FILTER,
    "where": 'choose values in a column: sdf["x"].where(condition, other)',
    "groupby": 'change the key: sdf.group_by("x"), then aggregate in a window',
    "merge": "joins arrive in a later release; until then keep the other side in state: "
    "sdf.apply(f, stateful=True)",
    "join": "joins arrive in a later release; until then keep the other side in state: "
    "sdf.apply(f, stateful=True)",
    "join_asof": "joins arrive in a later release; until then keep the other side in state: "
    "sdf.apply(f, stateful=True)",
    "join_interval": "joins arrive in a later release; until then keep the other side in state: "
    "sdf.apply(f, stateful=True)",
    "join_lookup": "look the value up in a function: sdf.apply(f)",
    "concat": "reading several topics as one arrives in a later release; write them to one topic",
    "append": "write to a topic: sdf.to_topic(topic)",
    "sort_values": "a stream has no end to sort to; collect a window and sort that",
    "sort_index": "a stream has no end to sort to; records come in the order of their topic",
    "rolling": "use sdf.hopping_window(duration_ms, step_ms), then .agg(...)",
    "resample": "use sdf.tumbling_window(duration_ms), then .agg(...)",
    "expanding": "keep the running value in state: sdf.apply(f, stateful=True)",
    "ewm": "keep the running value in state: sdf.apply(f, stateful=True)",
    "cumsum": "keep the running value in state: sdf.apply(f, stateful=True)",
    "shift": "keep the previous row in state: sdf.apply(f, stateful=True)",
    "diff": "keep the previous value in state: sdf.apply(f, stateful=True)",
    "drop_duplicates": "remember seen values in state with a ttl: sdf.filter(f, stateful=True)",
    "duplicated": "remember seen values in state with a ttl: sdf.filter(f, stateful=True)",
    "nunique": "collect a window: .agg(values=Collect(...))",
    "value_counts": _COUNT,
    "count": _COUNT,
    "sum": _WINDOW,
    "mean": _WINDOW,
    "min": _WINDOW,
    "max": _WINDOW,
    "std": _WINDOW,
    "var": _WINDOW,
    "agg": _WINDOW,
    "aggregate": _WINDOW,
    "shape": _COUNT,
    "size": _COUNT,
    "empty": _COUNT,
    "columns": "records may differ in their fields; look at one with app.run(count=1)",
    "dtypes": 'records may differ in their types; cast a column with sdf["x"].astype(float)',
    "values": "get rows with app.run(count=5)",
    "index": "a record has a key, a timestamp and an offset: sdf.apply(f, metadata=True)",
    "set_index": "write to a topic with the key you need: sdf.to_topic(topic, key=...)",
    "reset_index": 'put the key into the row: sdf["key"] = sdf.apply(lambda v, key, t, h: key, '
    "metadata=True)",
    "iterrows": "handle each row in a function: sdf.apply(f), or sdf.update(f) for its effect",
    "itertuples": "handle each row in a function: sdf.apply(f), or sdf.update(f) for its effect",
    "items": "handle each row in a function: sdf.apply(f)",
    "assign": 'assign a column: sdf["y"] = sdf["x"] * 2',
    "eval": 'assign a column: sdf["y"] = sdf["x"] * 2',
    "insert": 'assign a column: sdf["y"] = sdf["x"] * 2',
    "rename": 'assign the new name and drop the old one: sdf["b"] = sdf["a"]; sdf.drop("a")',
    "fillna": "use sdf.fill(column=value)",
    "dropna": 'filter: sdf[sdf["x"].notnull()]',
    "isnull": 'ask a column: sdf["x"].isnull()',
    "notnull": 'ask a column: sdf["x"].notnull()',
    "astype": 'cast a column: sdf["x"] = sdf["x"].astype(float)',
    "map": "use sdf.apply(f)",
    "applymap": "use sdf.apply(f)",
    "transform": "use sdf.apply(f), or sdf.apply_batch(f) for whole columns",
    "pipe": "call the function: f(sdf)",
    "copy": "a frame that another name keeps is a branch already: other = sdf.apply(f)",
    "melt": "make several rows of one: sdf.apply(f, expand=True)",
    "explode": 'make several rows of one: sdf.apply(lambda row: row["items"], expand=True)',
    "pivot": _WINDOW,
    "pivot_table": _WINDOW,
    "to_csv": 'use sdf.sink(CSVSink("out.csv")), from headwater.sinks',
    "to_json": 'use sdf.sink(JSONLinesSink("out.jsonl")), from headwater.sinks',
    "to_dict": "get rows with app.run(count=5)",
    "to_pandas": 'get rows with app.run(count=5), or a topic with app.read_topic("t").to_pandas()',
    "to_numpy": 'get whole columns in sdf.apply_batch(f, form="numpy")',
    "to_parquet": "collect rows in a sink of your own: headwater.sinks.BatchingSink",
    "plot": 'plot what a topic holds: app.read_topic("t").to_pandas().plot()',
}

_SERIES = {
    "sum": _WINDOW,
    "mean": _WINDOW,
    "min": _WINDOW,
    "max": _WINDOW,
    "count": _COUNT,
    "std": _WINDOW,
    "var": _WINDOW,
    "median": _WINDOW,
    "quantile": _WINDOW,
    "cumsum": "keep the running value in state: sdf.apply(f, stateful=True)",
    "shift": "keep the previous value in state: sdf.apply(f, stateful=True)",
    "diff": "keep the previous value in state: sdf.apply(f, stateful=True)",
    "rolling": "use sdf.hopping_window(duration_ms, step_ms), then .agg(...)",
    "head": _PREVIEW,
    "tail": _PREVIEW,
    "iloc": _FILTER,
    "loc": _FILTER,
    "values": _PREVIEW,
    "to_numpy": 'get whole columns in sdf.apply_batch(f, form="numpy")',
    "tolist": _PREVIEW,
    "unique": "collect a window: .agg(values=Collect(...))",
    "nunique": "collect a window: .agg(values=Collect(...))",
    "value_counts": _COUNT,
    "sort_values": "a stream has no end to sort to; collect a window and sort that",
    "dropna": 'filter: sdf[sdf["x"].notnull()]',
    "fill": "use .fillna(value)",
    "replace": 'use .str.replace("old", "new") for text, or .map({...}) for values',
    "any": "filter and count in a window",
    "all": "filter and count in a window",
    "item": _PREVIEW,
    "dtype": "records may differ in their types; cast with .astype(float)",
    "shape": _COUNT,
    "size": _COUNT,
    "transform": "use .apply(f)",
    "to_frame": 'use sdf[["x"]]',
    "notin": "use ~series.isin([...])",
    "len": "use .str.len()",
    "lower": "use .str.lower()",
    "upper": "use .str.upper()",
    "startswith": "use .str.startswith(...)",
    "year": "use .dt.year",
    "hour": "use .dt.hour",
}


def frame_attribute(name: str) -> NoReturn:
    """Refuse an attribute that a frame doesn't have."""
    if name in _FRAME:
        msg = f"a stream has no `.{name}`: {_FRAME[name]}"
    else:
        msg = f'a StreamingDataFrame has no attribute {name!r}; a column is sdf["{name}"]'
    raise AttributeError(msg)


def series_attribute(name: str) -> NoReturn:
    """Refuse an attribute that a column doesn't have."""
    if name in _SERIES:
        msg = f"a column of a stream has no `.{name}`: {_SERIES[name]}"
    else:
        msg = f'a StreamingSeries has no attribute {name!r}; a nested field is sdf["x"]["{name}"]'
    raise AttributeError(msg)


def refuse_options(method: str, options: Mapping[str, object]) -> None:
    """Refuse keyword arguments that pandas has and a stream doesn't."""
    if not options:
        return
    name = next(iter(options))
    if name == "inplace":
        msg = f"{method}() changes the frame in place already; leave out inplace="
    elif name == "axis":
        msg = f"{method}() works on columns or rows by its nature; leave out axis="
    else:
        msg = f"{method}() got an unexpected keyword argument {name!r}"
    raise TypeError(msg)


def no_length() -> NoReturn:
    """Refuse `len()`."""
    msg = f"a stream has no length; {_COUNT}"
    raise TypeError(msg)


def no_iteration() -> NoReturn:
    """Refuse `for row in sdf`."""
    msg = (
        "a stream cannot be iterated; handle each row with sdf.apply(f) or sdf.update(f), or get "
        "rows with app.run(count=5)"
    )
    raise TypeError(msg)


def no_truth_of_frame() -> NoReturn:
    """Refuse `if sdf`, and `sdf1 and sdf2`."""
    msg = "a stream is neither true nor false; filter it with sdf[condition]"
    raise InvalidOperation(msg)


def no_truth_of_series() -> NoReturn:
    """Refuse `if sdf["x"] > 3`, `and`, `or`, `not` and chained comparisons."""
    msg = (
        "a column of a stream is neither true nor false; filter rows with sdf[condition], write "
        "& | ~ for and, or, not, and `(0 < x) & (x < 9)` for `0 < x < 9`"
    )
    raise InvalidOperation(msg)


def no_attribute_assignment(name: str) -> NoReturn:
    """Refuse `sdf.x = ...`."""
    msg = f'a column is assigned as sdf["{name}"] = ...'
    raise AttributeError(msg)

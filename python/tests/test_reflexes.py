"""Habits of pandas that cannot work meet a sentence that names the replacement."""

from __future__ import annotations

from typing import Any

import pytest

import headwater as hw
from headwater.errors import InvalidOperation


@pytest.fixture
def sdf(app: hw.Application) -> Any:
    return app.dataframe("in")


@pytest.mark.parametrize(
    ("raised", "says", "habit"),
    [
        (TypeError, "tumbling_window", len),
        (TypeError, "sdf.apply(f)", lambda sdf: [row for row in sdf]),
        (TypeError, "sdf.apply(f)", iter),
        (AttributeError, 'sdf["speed"]', lambda sdf: sdf.speed),
        (AttributeError, "app.run(count=5)", lambda sdf: sdf.head()),
        (AttributeError, "app.run(count=5)", lambda sdf: sdf.tail()),
        (AttributeError, "filter with a condition", lambda sdf: sdf.iloc[0]),
        (AttributeError, "filter with a condition", lambda sdf: sdf.loc[0]),
        (AttributeError, "sdf.group_by", lambda sdf: sdf.groupby("a")),
        (AttributeError, "state", lambda sdf: sdf.merge(sdf)),
        (AttributeError, "no end to sort to", lambda sdf: sdf.sort_values("a")),
        (AttributeError, "hopping_window", lambda sdf: sdf.rolling(3)),
        (AttributeError, "sdf.fill", lambda sdf: sdf.fillna(0)),
        (AttributeError, "notnull", lambda sdf: sdf.dropna()),
        (AttributeError, "explain", lambda sdf: sdf.info()),
        (AttributeError, "app.run(count=1)", lambda sdf: sdf.columns),
        (AttributeError, 'sdf["speed"] = ...', lambda sdf: setattr(sdf, "speed", 1)),
        (InvalidOperation, "sdf[condition]", bool),
        (InvalidOperation, "sdf[condition]", lambda sdf: bool(sdf["x"] > 3)),
        (InvalidOperation, "& | ~", lambda sdf: sdf["x"] > 3 and sdf["y"] < 1),
        (InvalidOperation, "& | ~", lambda sdf: sdf["x"] > 3 or sdf["y"] < 1),
        (InvalidOperation, "& | ~", lambda sdf: not sdf["x"]),
        (InvalidOperation, "(0 < x) & (x < 9)", lambda sdf: 0 < sdf["x"] < 9),
        (TypeError, "inplace", lambda sdf: sdf.drop("a", inplace=True)),
        (TypeError, "axis", lambda sdf: sdf.drop("a", axis=1)),
        (TypeError, "inplace", lambda sdf: sdf.fill("a", inplace=True)),
        (TypeError, "row numbers", lambda sdf: sdf[0]),
        (TypeError, "row numbers", lambda sdf: sdf[1:3]),
        (TypeError, "sdf.contains", lambda sdf: "x" in sdf),
        (TypeError, "series.contains", lambda sdf: 3 in sdf["x"]),
        (TypeError, "tumbling_window", lambda sdf: len(sdf["x"])),
        (TypeError, "sdf.apply(f)", lambda sdf: list(sdf["x"])),
        (AttributeError, "tumbling_window", lambda sdf: sdf["x"].mean()),
        (AttributeError, 'sdf["x"]["y"]', lambda sdf: sdf["x"].y),
        (TypeError, ".str.contains", lambda sdf: sdf["x"].isin("abc")),
        (TypeError, ".str.slice", lambda sdf: sdf["x"][1:2]),
        (TypeError, "sdf.update(f)", lambda sdf: sdf["x"].__setitem__("y", 1)),
        (TypeError, "sdf.apply(f)", lambda sdf: sdf.__setitem__("y", lambda row: 1)),
        (AttributeError, ".apply(f)", lambda sdf: sdf["x"].str.split(",")),
        (TypeError, "int, float, str or bool", lambda sdf: sdf["x"].astype("datetime64[ns]")),
        (TypeError, "aggregators", lambda sdf: sdf.tumbling_window(10).agg(x="mean")),
        (AttributeError, ".agg(", lambda sdf: sdf.tumbling_window(10).final()),
        (ValueError, "tumbling_window", lambda sdf: sdf.hopping_window(10, 10)),
    ],
)
def test_a_habit_that_cannot_work_names_its_replacement(
    sdf: Any, raised: type[BaseException], says: str, habit: Any
) -> None:
    with pytest.raises(raised) as error:
        habit(sdf)
    message = str(error.value)
    assert says in message
    assert "\n" not in message


def test_a_typo_in_a_name_of_a_method_is_told_from_a_column(sdf: Any) -> None:
    with pytest.raises(AttributeError, match=r'a column is sdf\["aply"\]'):
        sdf.aply


@pytest.mark.parametrize(
    "use",
    [
        lambda a, b: a.__setitem__("z", b["x"]),
        lambda a, b: a[b["x"] > 1],
        lambda a, b: a["x"] + b["x"],
        lambda a, b: a[b.apply(len)],
    ],
)
def test_columns_of_two_frames_do_not_mix(app: hw.Application, use: Any) -> None:
    with pytest.raises(InvalidOperation):
        use(app.dataframe("a"), app.dataframe("b"))


def test_options_that_do_not_exist_are_refused() -> None:
    with pytest.raises(TypeError, match="the engine sets it"):
        hw.Application(consumer_poll_timeout=1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
        hw.Application(nonsense=1)

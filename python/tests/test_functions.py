"""Users' functions: arguments, results, rows that behave as dicts."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest

import headwater as hw
from headwater import DataError

ROW = {"a": 1, "b": 2.5, "c": "text", "d": None, "e": {"f": [1, {"g": True}]}, "h": 2**70}


def outcome(results: Any, function: Callable[..., Any], row: Any = ROW, **options: Any) -> Any:
    (result,) = results([row], lambda sdf: sdf.apply(function, **options))
    return result.get("_value", result)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda row: row["a"], 1),
        (lambda row: row["b"], 2.5),
        (lambda row: row["c"], "text"),
        (lambda row: row["d"], None),
        (lambda row: row["e"]["f"][1]["g"], True),
        (lambda row: row["h"], 2**70),
        (lambda row: row.get("missing"), None),
        (lambda row: row.get("missing", 7), 7),
        (lambda row: row.get("d", 7), None),
        (lambda row: "d" in row, True),
        (lambda row: "missing" in row, False),
        (lambda row: row, ROW),
        (lambda row: {**row}, ROW),
        (lambda row: dict(row), ROW),
        (lambda row: row.copy(), ROW),
        (lambda row: row | {"z": 1}, ROW | {"z": 1}),
        (lambda row: json.loads(json.dumps(row)), ROW),
        (lambda row: pickle.loads(pickle.dumps(row)), ROW),
        (lambda row: type(row) is dict, True),
        (lambda row: isinstance(row, dict), True),
        (lambda row: row == ROW, True),
        (lambda row: len(row), 6),
        (lambda row: list(row), list(ROW)),
        (lambda row: [value for value in row.values()][:2], [1, 2.5]),
        (lambda row: "{a} {c}".format(**row), "1 text"),
        (lambda row: row.pop("a"), 1),
        (lambda row: row.setdefault("z", 3), 3),
        (lambda row: (lambda: row["a"])(), 1),
        (lambda row: repr(row), repr(ROW)),
    ],
)
def test_a_row_behaves_as_a_dict(results: Any, function: Any, expected: Any) -> None:
    assert outcome(results, function) == expected


@pytest.mark.parametrize("value", [1, 1.5, "x", True, [1, 2], None, {"a": {"b": []}}, 2**80, -0.0])
def test_a_result_may_be_any_value_that_json_has(results: Any, value: Any) -> None:
    result = outcome(results, lambda row: value)
    assert result == value
    assert type(result) is type(value)


def test_keys_times_and_headers_come_with_metadata(app: hw.Application) -> None:
    with app.get_producer() as producer:
        producer.produce("in", {"a": 1}, "key", headers=[("h", b"1"), ("h", None)], timestamp=5)
        producer.produce("in", {"a": 2}, None, timestamp=6)
    seen: list[Any] = []
    sdf = app.dataframe(app.topic("in", key_deserializer="str"))
    sdf.update(lambda *arguments: seen.append(arguments), metadata=True)
    app.run(count=2)
    assert seen == [
        ({"a": 1}, "key", 5, [("h", b"1"), ("h", None)]),
        ({"a": 2}, None, 6, None),
    ]


def test_the_flags_of_apply_combine(results: Any) -> None:
    def repeat(
        row: dict[str, Any], key: bytes, timestamp: int, headers: Any, state: hw.State
    ) -> list[Any]:
        state.set("n", state.get("n", 0) + 1)
        return [{"n": state.get("n"), "key": key.decode(), "t": timestamp}] * row["times"]

    rows = results(
        [{"times": 2}, {"times": 0}, {"times": 1}],
        lambda sdf: sdf.apply(repeat, expand=True, metadata=True, stateful=True),
    )
    assert rows == [
        {"n": 1, "key": "k", "t": 0},
        {"n": 1, "key": "k", "t": 0},
        {"n": 3, "key": "k", "t": 2000},
    ]


def test_expand_takes_any_iterable(results: Any) -> None:
    def build(sdf: Any) -> None:
        sdf.apply(lambda row: "ab", expand=True)
        sdf.apply(lambda row: (n for n in range(2)), expand=True)

    assert [row["_value"] for row in results([{}], build)] == ["a", "b", 0, 1]


def test_update_keeps_what_the_function_changed_and_ignores_its_result(results: Any) -> None:
    def change(row: dict[str, Any]) -> str:
        row["z"] = row.pop("a")
        return "ignored"

    assert results([{"a": 1}], lambda sdf: sdf.update(change)) == [{"z": 1}]


def test_filter_keeps_what_is_true_for_python(results: Any) -> None:
    rows = [{"a": value} for value in (0, 1, "", "x", None, [], [0], 0.0, {})]
    kept = results(rows, lambda sdf: sdf.filter(lambda row: row["a"]))
    assert [row["a"] for row in kept] == [1, "x", [0]]


def test_an_object_that_the_function_keeps_does_not_change_earlier_rows(results: Any) -> None:
    total = {"sum": 0, "seen": []}

    def add(row: dict[str, Any]) -> dict[str, Any]:
        total["sum"] += row["a"]
        total["seen"].append(row["a"])  # type: ignore[attr-defined]
        return total

    rows = results([{"a": 1}, {"a": 2}], lambda sdf: sdf.apply(add))
    assert rows == [{"sum": 1, "seen": [1]}, {"sum": 3, "seen": [1, 2]}]


def test_what_a_function_left_alone_goes_out_as_it_came(app: hw.Application) -> None:
    texts = [
        b'{"a": 1E+2, "b":-0,  "c": 0.50, "a": 100}',
        b'{ "x" : 12345678901234567890123, "y" : "\\u0041" }',
    ]
    with app.get_producer() as producer:
        for text in texts:
            producer.produce("in", text)
    sdf = app.dataframe("in")
    sdf.update(lambda row: len(row)).to_topic("same")

    def change(row: dict[str, Any]) -> None:
        row["new"] = 1

    sdf.update(change).to_topic("changed")
    app.run(count=2)
    same = app.read_topic(app.topic("same", value_deserializer="bytes"))
    assert [row["_value"] for row in same] == texts
    changed = app.read_topic(app.topic("changed", value_deserializer="bytes"))
    assert [row["_value"] for row in changed] == [
        b'{"a":100,"b":-0,"c":0.50,"new":1}',
        b'{"x":12345678901234567890123,"y":"\\u0041","new":1}',
    ]


def test_adjacent_functions_hand_each_other_objects(results: Any) -> None:
    class Money:
        def __init__(self, cents: int) -> None:
            self.cents = cents

    def build(sdf: Any) -> None:
        sdf.apply(lambda row: Money(row["a"])).apply(lambda money: {"cents": money.cents})

    assert results([{"a": 5}], build) == [{"cents": 5}]


def test_columns_can_be_taken_of_what_a_function_made(results: Any) -> None:
    def build(sdf: Any) -> None:
        made = sdf.apply(lambda row: {"x": {"y": [row["a"], 2]}, "z": 1})
        made = made[made["x"]["y"][0] > 1]
        made["w"] = made["x"]["y"][-1] + made["z"]
        made[["w"]]

    assert results([{"a": 1}, {"a": 2}], build) == [{"w": 3}]


def test_a_missing_key_names_the_row_the_line_and_the_likely_field(results: Any) -> None:
    def typo(row: dict[str, Any]) -> float:
        return row["sped"] * 2  # the line

    with pytest.raises(DataError) as raised:
        outcome(results, typo, {"speed": 1, "lap": 2})
    error = raised.value
    assert isinstance(error.__cause__, KeyError)
    assert error.hint == "did you mean `speed`?"
    assert error.field == "sped"
    assert error.line == f"test_functions.py:{typo.__code__.co_firstlineno + 1}"
    assert (error.topic, error.partition, error.offset) == ("in", 0, 0)
    assert "did you mean `speed`?" in str(error)
    traceback = error.__cause__.__traceback__
    assert traceback is not None


def test_a_missing_key_of_a_dict_is_told_alike(results: Any) -> None:
    with pytest.raises(DataError, match=r"did you mean `speed`\?"):
        outcome(results, lambda row: {**row}["a"] or row["sped"], {"speed": 1, "a": 0})


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (float("nan"), "NaN cannot be written as JSON"),
        (float("inf"), "infinity cannot be written as JSON"),
        ({1, 2}, "sorted"),
        (b"bytes", "decode"),
        (object(), "object"),
    ],
)
def test_what_json_has_no_form_for_is_a_data_error_that_names_the_field(
    app: hw.Application, produce: Any, value: Any, says: str
) -> None:
    produce([{"a": 1}])
    app.dataframe("in").apply(lambda row: {"x": {"y": [value]}}).to_topic("out")
    with pytest.raises(DataError) as raised:
        app.run(timeout=0.2)
    assert says in str(raised.value)
    assert raised.value.field == "x.y[0]"


def test_a_datetime_is_refused_with_both_replacements(app: hw.Application, produce: Any) -> None:
    from datetime import UTC, datetime

    produce([{"a": 1}])
    app.dataframe("in").apply(lambda row: {"t": datetime.now(UTC)}).to_topic("out")
    with pytest.raises(DataError, match=r"isoformat\(\).*timestamp\(\) \* 1000"):
        app.run(timeout=0.2)


def test_numbers_of_numpy_are_numbers(results: Any) -> None:
    np = pytest.importorskip("numpy")
    rows = results(
        [{"a": 1}],
        lambda sdf: sdf.apply(
            lambda row: {"f": np.float32(0.5), "i": np.int64(3), "b": np.bool_(True)}
        ).to_topic("out"),
    )
    assert rows[0]["f"] == 0.5


def test_message_context_is_there_while_a_record_is_processed(results: Any) -> None:
    rows = results([{"a": 1}], lambda sdf: sdf.apply(lambda row: hw.message_context()._asdict()))
    assert rows == [{"topic": "in", "partition": 0, "offset": 0}]
    with pytest.raises(hw.HeadwaterError):
        hw.message_context()


@pytest.mark.parametrize("form", ["pandas", "numpy", "arrow"])
def test_a_batch_function_gets_and_gives_columns(results: Any, form: str) -> None:
    pytest.importorskip("pandas")
    compute = pytest.importorskip("pyarrow.compute")
    kinds: set[str] = set()

    def double(columns: Any) -> Any:
        kinds.add(type(columns).__name__)
        if form == "arrow":
            return {"c": compute.multiply(columns.column("a"), 2)}
        return {"c": columns["a"] * 2}

    rows = results(
        [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}],
        lambda sdf: sdf.apply_batch(double, ["a", "b"], form=form),  # type: ignore[arg-type]
    )
    assert rows == [{"a": 1, "b": "x", "c": 2}, {"a": 2, "b": "y", "c": 4}]
    assert kinds == {{"pandas": "DataFrame", "numpy": "dict", "arrow": "RecordBatch"}[form]}


def test_a_missing_value_of_a_batch_function_stays_missing(results: Any) -> None:
    rows = results(
        [{"a": 1.5}, {"a": None}, {}],
        lambda sdf: sdf.apply_batch(lambda frame: frame * 2, ["a"]),
    )
    assert [row.get("a") for row in rows] == [3.0, None, None]


def test_a_batch_function_that_returns_no_columns_is_told_what_to_return(results: Any) -> None:
    with pytest.raises(DataError, match="pandas.DataFrame"):
        results([{"a": 1}], lambda sdf: sdf.apply_batch(lambda frame: 3, ["a"]))


def test_functions_of_a_column_get_its_value(results: Any) -> None:
    def build(sdf: Any) -> None:
        sdf["length"] = sdf["text"].apply(len)
        sdf["first"] = sdf["list"].apply(lambda items: items[0])["x"]

    rows = results([{"text": "abc", "list": [{"x": 5}]}], build)
    assert rows[0]["length"] == 3
    assert rows[0]["first"] == 5


def test_values_that_are_no_objects_pass_through_functions(app: hw.Application) -> None:
    with app.get_producer() as producer:
        producer.produce("words", "hello world")
    words = app.topic("words", value_deserializer="str")
    app.dataframe(words).apply(str.split, expand=True).apply(str.upper)
    assert app.run(count=2) == [{"_value": "HELLO"}, {"_value": "WORLD"}]


def test_a_form_whose_package_is_missing_says_what_to_install(
    app: hw.Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headwater.dataframe.dataframe.find_spec", lambda name: None)
    sdf = app.dataframe("in")
    with pytest.raises(ImportError, match=r"pip install headwater\[arrow\]"):
        sdf.apply_batch(lambda batch: batch, ["a"], form="arrow")
    with pytest.raises(ValueError, match="form must be"):
        sdf.apply_batch(lambda batch: batch, ["a"], form="polars")  # type: ignore[arg-type]

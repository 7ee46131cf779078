"""What happens to a record that cannot be processed."""

from __future__ import annotations

from typing import Any

import pytest

import headwater as hw
from headwater import DataError


def make(directory: Any, on_error: Any) -> hw.Application:
    app = hw.Application(name="test", directory=directory, on_error=on_error, loglevel=None)
    with app.get_producer() as producer:
        for n in range(4):
            producer.produce("in", {"n": n}, f"k{n}", timestamp=n)
    return app


def fails_at_2(row: dict[str, Any]) -> dict[str, Any]:
    if row["n"] == 2:
        raise ZeroDivisionError("two")
    return row


def test_stop_ends_at_the_record_and_goes_on_there_with_corrected_code(directory: Any) -> None:
    app = make(directory, "stop")
    app.dataframe("in").apply(fails_at_2).to_topic("out")
    with pytest.raises(DataError) as raised:
        app.run(timeout=0.2)
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    assert raised.value.offset == 2
    assert "`fails_at_2` raised ZeroDivisionError: two" in str(raised.value)
    fixed = make_again(directory)
    fixed.dataframe("in").apply(lambda row: row).to_topic("out")
    fixed.run(timeout=0.2)
    assert [row["n"] for row in fixed.read_topic("out")] == [0, 1, 2, 3]


def make_again(directory: Any) -> hw.Application:
    return hw.Application(name="test", directory=directory, loglevel=None)


def test_skip_leaves_the_record_out_and_counts_it(directory: Any) -> None:
    app = make(directory, "skip")
    app.dataframe("in").apply(fails_at_2)
    assert [row["n"] for row in app.run(timeout=0.2)] == [0, 1, 3]
    assert app.last_run is not None
    assert app.last_run.skipped == 1


def test_a_dead_letter_has_the_bytes_and_the_reason(directory: Any) -> None:
    app = make(directory, "dead-letter")
    app.dataframe("in").apply(fails_at_2)
    app.run(timeout=0.2)
    (letter,) = app.read_topic("in.dead-letter", metadata=True)
    assert letter["n"] == 2
    assert letter["_key"] == b"k2"
    text = " ".join(str(value) for _, value in letter["_headers"])
    assert "ZeroDivisionError" in text


@pytest.mark.parametrize(
    ("answer", "kept", "letters"), [("skip", 3, 0), (True, 3, 0), ("dead-letter", 3, 1)]
)
def test_a_function_may_decide(directory: Any, answer: Any, kept: int, letters: int) -> None:
    asked: list[DataError] = []

    def decide(error: DataError) -> Any:
        asked.append(error)
        return answer

    app = make(directory, decide)
    app.dataframe("in").apply(fails_at_2)
    assert len(app.run(timeout=0.2)) == kept
    assert isinstance(asked[0].__cause__, ZeroDivisionError)
    assert asked[0].offset == 2
    assert app.last_run is not None
    assert app.last_run.dead_lettered == letters


def test_a_function_that_decides_to_stop_stops(directory: Any) -> None:
    app = make(directory, lambda error: False)
    app.dataframe("in").apply(fails_at_2)
    with pytest.raises(DataError):
        app.run(timeout=0.2)


def test_a_decision_that_there_is_not_is_refused(directory: Any) -> None:
    with pytest.raises(ValueError, match="on_error"):
        hw.Application(directory=directory, on_error="ignore")  # type: ignore[arg-type]
    app = make(directory, lambda error: "perhaps")
    app.dataframe("in").apply(fails_at_2)
    with pytest.raises(ValueError, match="perhaps"):
        app.run(timeout=0.2)


def test_malformed_json_says_where(directory: Any) -> None:
    app = make_again(directory)
    with app.get_producer() as producer:
        producer.produce("in", b'{"a": 1}')
        producer.produce("in", b'{"a": tru}')
    app.dataframe("in").apply(lambda row: row)
    with pytest.raises(DataError) as raised:
        app.run(timeout=0.2)
    assert raised.value.offset == 1
    assert "malformed JSON" in str(raised.value)


def test_a_poison_timestamp_is_a_data_error(directory: Any) -> None:
    app = make_again(directory)
    with app.get_producer() as producer:
        producer.produce("in", {"a": 1}, timestamp=10**15)
    app.dataframe("in")
    with pytest.raises(DataError, match="ahead of the time"):
        app.run(timeout=0.2)


def test_a_failed_timestamp_extractor_names_its_line(directory: Any) -> None:
    app = make_again(directory)
    with app.get_producer() as producer:
        producer.produce("in", {"a": 1})

    def extract(value: Any, headers: Any, timestamp: int, kind: Any) -> int:
        return value["time"]  # type: ignore[no-any-return]

    app.dataframe(app.topic("in", timestamp_extractor=extract))
    with pytest.raises(DataError) as raised:
        app.run(timeout=0.2)
    assert raised.value.line == f"test_errors.py:{extract.__code__.co_firstlineno + 1}"


def test_a_timestamp_extractor_sets_the_event_time(directory: Any) -> None:
    app = make_again(directory)
    with app.get_producer() as producer:
        producer.produce("in", {"time": 5}, timestamp=1, headers={"h": b"x"})
    seen: list[Any] = []

    def extract(value: Any, headers: Any, timestamp: int, kind: Any) -> int:
        seen.append((headers, timestamp, int(kind)))
        return value["time"]  # type: ignore[no-any-return]

    app.dataframe(app.topic("in", timestamp_extractor=extract))
    (row,) = app.run(count=1, metadata=True)
    assert row["_timestamp"] == 5
    assert seen == [([("h", b"x")], 1, 1)]


def test_the_class_of_an_error_says_what_to_do(tmp_path: Any) -> None:
    (tmp_path / "log.db").write_bytes(b"not a database, but long enough to look like one" * 40)
    app = hw.Application(name="test", directory=tmp_path, loglevel=None)
    with pytest.raises(hw.HeadwaterError):
        app.get_producer()

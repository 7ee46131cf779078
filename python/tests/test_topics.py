"""Topics: formats, producing and reading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import headwater as hw
from headwater.errors import (
    HeadwaterError,
    InvalidOperation,
    ProducerClosed,
    SerializationError,
    TopicConfigurationError,
    TopicNotFoundError,
)


@pytest.mark.parametrize(
    ("format_", "value", "written"),
    [
        ("json", {"a": [1, None]}, b'{"a":[1,null]}'),
        ("json", "text", b'"text"'),
        ("str", "té", "té".encode()),
        ("string", "x", b"x"),
        ("bytes", b"\x00", b"\x00"),
        ("int", 5, b"\x00\x00\x00\x05"),
        ("integer", -1, b"\xff\xff\xff\xff"),
        ("double", 1.5, b"\x3f\xf8\x00\x00\x00\x00\x00\x00"),
        ("json", None, None),
    ],
)
def test_formats_write_and_read(format_: str, value: Any, written: bytes | None) -> None:
    topic = hw.Topic("t", value_serializer=format_, value_deserializer=format_)
    record = topic.serialize(value=value)
    assert record.value == written
    assert topic.deserialize(record)[1] == value


@pytest.mark.parametrize(("format_", "value"), [("int", 2**40), ("str", 1), ("json", {1, 2})])
def test_what_a_format_cannot_write_is_refused(format_: str, value: Any) -> None:
    with pytest.raises(SerializationError):
        hw.Topic("t", value_serializer=format_).serialize(value=value)


def test_a_format_that_there_is_not_is_refused(app: hw.Application) -> None:
    with pytest.raises(TypeError, match='"json", "str"'):
        app.topic("t", value_deserializer="avro")


def test_formats_serve_a_pipeline(app: hw.Application) -> None:
    numbers = app.topic(
        "numbers", value_deserializer="double", value_serializer="double", key_deserializer="int"
    )
    texts = app.topic("texts", value_serializer="str", key_serializer="str")
    with app.get_producer() as producer:
        for n in (1.5, 2.5):
            record = hw.Topic("x", value_serializer="double", key_serializer="int").serialize(7, n)
            producer.produce("numbers", record.value, record.key)
    seen: list[Any] = []
    sdf = app.dataframe(numbers)
    sdf.update(lambda value, key, *_: seen.append((value, key)), metadata=True)
    sdf.apply(lambda value: f"<{value}>").to_topic(texts, key=lambda value: value[1])
    app.run(timeout=0.2)
    assert seen == [(1.5, 7), (2.5, 7)]
    read = app.topic("texts", value_deserializer="str", key_deserializer="str")
    rows = list(app.read_topic(read, metadata=True))
    assert [(row["_value"], row["_key"]) for row in rows] == [("<1.5>", "1"), ("<2.5>", "2")]


def test_a_topic_may_be_chosen_by_a_function(app: hw.Application, produce: Any) -> None:
    produce([{"a": 1}, {"a": 2}])
    odd, even = app.topic("odd"), app.topic("even")
    app.dataframe("in").to_topic(lambda row, key, time, headers: odd if row["a"] % 2 else even)
    app.run(timeout=0.2)
    assert list(app.read_topic("odd")) == [{"a": 1}]
    assert list(app.read_topic("even")) == [{"a": 2}]


def test_a_key_may_be_a_column_or_a_function(app: hw.Application, produce: Any) -> None:
    produce([{"a": "x"}])
    sdf = app.dataframe("in")
    sdf.to_topic("by-column", key=sdf["a"])
    sdf.to_topic("by-function", key=lambda row: row["a"] + "!")
    sdf.to_topic("same")
    app.run(timeout=0.2)
    keys = [
        next(iter(app.read_topic(name, metadata=True)))["_key"]
        for name in ("by-column", "by-function", "same")
    ]
    assert keys == [b"x", b"x!", b"k"]


def test_headers_and_times_can_be_set(app: hw.Application, produce: Any) -> None:
    produce([{"a": 1, "t": 77}])
    sdf = app.dataframe("in")
    sdf = sdf.set_headers(lambda row, key, time, headers: [("h", b"x"), ("n", None)])
    sdf = sdf.set_timestamp(lambda row, key, time, headers: row["t"])
    sdf.to_topic("out")
    sdf.set_timestamp(sdf["t"] + 1).to_topic("out")
    app.run(timeout=0.2)
    rows = list(app.read_topic("out", metadata=True))
    assert [row["_timestamp"] for row in rows] == [77, 78]
    assert rows[0]["_headers"] == [("h", b"x"), ("n", None)]


def test_a_producer_takes_bytes_text_and_objects(app: hw.Application) -> None:
    with app.get_producer() as producer:
        producer.produce("t", b'{"a": 1}', b"k")
        producer.produce(topic="t", key="k", value='{"a": 2}')
        producer.produce("t", {"a": 3}, headers={"h": b"1"})
        producer.produce("t", None, "k")
        with pytest.raises(TypeError, match="bytes, str, dict or list"):
            producer.produce("t", 5)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="no partition 3"):
            producer.produce("t", {}, partition=3)
        assert producer.flush() == 0
        assert len(app.read_topic("t")) == 4
    rows = list(app.read_topic("t"))
    assert rows == [{"a": 1}, {"a": 2}, {"a": 3}, {"_value": None}]
    with pytest.raises(ProducerClosed):
        producer.produce("t", b"x")


def test_records_of_one_key_stand_in_one_partition(app: hw.Application) -> None:
    app.topic("t", config=hw.TopicConfig(num_partitions=3))
    with app.get_producer() as producer:
        for n in range(60):
            producer.produce("t", {"n": n}, f"k{n % 6}")
    places: dict[bytes, set[int]] = {}
    for row in app.read_topic("t", metadata=True):
        places.setdefault(row["_key"], set()).add(row["_partition"])
    assert len(places) == 6
    assert all(len(partitions) == 1 for partitions in places.values())


def test_reading_a_topic_gives_tables(app: hw.Application) -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    rows = [{"a": 1, "b": "x"}, {"a": 2.5, "c": {"d": [1]}}, {"a": None}]
    with app.get_producer() as producer:
        for row in rows:
            producer.produce("t", row, timestamp=1000)
    data = app.read_topic("t")
    assert len(data) == 3
    assert list(data) == rows
    frame = data.to_pandas()
    assert list(frame.columns) == ["a", "b", "c"]
    assert frame["a"].tolist()[:2] == [1.0, 2.5]
    table = data.to_arrow()
    assert table.num_rows == 3
    assert table.column("c").to_pylist() == [None, {"d": [1]}, None]
    assert list(app.read_topic("t", limit=2)) == rows[:2]
    assert "3 records" in repr(data)


def test_a_column_of_several_kinds_comes_to_arrow_as_text(app: hw.Application) -> None:
    pytest.importorskip("pyarrow")
    with app.get_producer() as producer:
        producer.produce("t", {"a": 1})
        producer.produce("t", {"a": "x"})
    assert app.read_topic("t").to_arrow().column("a").to_pylist() == ["1", '"x"']


def test_a_topic_that_is_not_there_is_named(app: hw.Application) -> None:
    with pytest.raises(TopicNotFoundError, match="nothing"):
        app.read_topic("nothing")


def test_retention_has_kafkas_names() -> None:
    config = hw.TopicConfig(2, extra_config={"retention.ms": "1000"})
    assert (config.num_partitions, config.retention_ms) == (2, 1000)
    with pytest.raises(TopicConfigurationError, match="cleanup"):
        hw.TopicConfig(extra_config={"cleanup.policy": "compact"})


def test_names_and_directories_have_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWATER_DIR", "/somewhere")
    assert str(hw.Application(loglevel=None).config.directory) == "/somewhere"
    monkeypatch.delenv("HEADWATER_DIR")
    assert str(hw.Application(loglevel=None).config.directory) == ".headwater"
    assert hw.Application(consumer_group="g", loglevel=None).config.name == "g"
    with pytest.raises(hw.InvalidOperation, match="letters"):
        hw.Application(name="a b", loglevel=None)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"replication_factor": 0}, "at least 1 copy"),
        ({"extra_config": {"retention.ms": "a week"}}, "-1 for ever"),
        ({"extra_config": {"cleanup.policy": "compact"}}, "cleanup.policy"),
    ],
)
def test_a_config_that_cannot_be_is_refused(given: Any, said: str) -> None:
    with pytest.raises(TopicConfigurationError, match=said):
        hw.TopicConfig(**given)


def test_a_producer_makes_no_topic_where_none_are_to_be_made(tmp_path: Path) -> None:
    app = hw.Application(name="strict", directory=tmp_path, auto_create_topics=False)
    app.topic("declared", config=hw.TopicConfig())
    with app.get_producer() as producer:
        producer.produce("declared", "1")
        with pytest.raises(HeadwaterError, match="auto_create_topics is False"):
            producer.produce("missing", "1")


@pytest.mark.parametrize("name", ["laps-", "a--b", "a/b"])
def test_a_name_that_internal_topics_could_not_carry_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidOperation, match="the name of an application"):
        hw.Application(name=name, directory=tmp_path)

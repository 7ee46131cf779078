"""Consumers: records without a pipeline."""

from __future__ import annotations

from typing import Any

import pytest

import headwater as hw
from headwater.errors import InvalidOperation
from headwater.kafka import TopicPartition


def fill(app: hw.Application, first: int, count: int, partitions: int = 3) -> None:
    app.topic("in", config=hw.TopicConfig(num_partitions=partitions))
    with app.get_producer() as producer:
        for n in range(first, first + count):
            producer.produce("in", str(n), key=f"k{n}", headers=[("h", b"1")], timestamp=1_000 + n)


def numbers(consumer: Any, count: int) -> list[int]:
    messages = consumer.consume(count, timeout=10)
    return sorted(int(message.value()) for message in messages)


def test_a_consumer_gives_records_and_goes_on_where_it_was(app: hw.Application) -> None:
    fill(app, 0, 30)
    with app.get_consumer() as consumer:
        consumer.subscribe(["in"])
        assert numbers(consumer, 20) != []
        assert len(consumer.assignment()) == 3
    with app.get_consumer() as consumer:
        consumer.subscribe(["in"])
        message = consumer.poll(10)
        assert message is not None
        assert message.error() is None
        assert (message.topic(), message.headers()) == ("in", [("h", b"1")])
        assert message.timestamp()[1] == 1_000 + int(message.value() or b"")
        rest = numbers(consumer, 9)
        assert len(rest) == 9
        assert consumer.poll(0.2) is None
    with app.get_consumer() as consumer:
        consumer.subscribe(["in"])
        assert consumer.poll(0.2) is None


def test_commits_are_the_users_if_they_are_wanted_so(app: hw.Application) -> None:
    fill(app, 0, 10, partitions=1)
    with app.get_consumer(auto_commit_enable=False) as consumer:
        consumer.subscribe(["in"])
        messages = consumer.consume(5, timeout=10)
        consumer.commit(messages[1])
        place = TopicPartition("in", 0)
        assert consumer.committed([place])[0].offset == messages[1].offset() + 1
        assert consumer.position([place])[0].offset == messages[4].offset() + 1
        consumer.seek(TopicPartition("in", 0, messages[3].offset()))
        assert numbers(consumer, 1) == [3]
        consumer.commit(offsets=[TopicPartition("in", 0, messages[2].offset())])
        with pytest.raises(InvalidOperation, match=r"in\[7\]"):
            consumer.commit(offsets=[TopicPartition("in", 7, 1)])
    with app.get_consumer(auto_commit_enable=False) as consumer:
        consumer.subscribe(["in"])
        assert numbers(consumer, 8) == list(range(2, 10))
    # A data frame of the same application goes on there too.
    app.dataframe(app.topic("in", value_deserializer="str"))
    assert [int(row["_value"]) for row in app.run(timeout=0.5)] == list(range(2, 10))


def test_an_assigned_consumer_reads_beside_the_group(app: hw.Application) -> None:
    fill(app, 0, 10, partitions=1)
    with app.get_consumer() as consumer:
        consumer.assign([TopicPartition("in", 0, 6)])
        assert numbers(consumer, 4) == [6, 7, 8, 9]
        with pytest.raises(InvalidOperation, match="subscribed"):
            consumer.commit()
        consumer.unsubscribe()
        assert consumer.assignment() == []
        assert consumer.poll(0.1) is None
    with pytest.raises(InvalidOperation, match="closed"):
        consumer.poll(0)


def test_a_place_without_an_offset_is_not_taken_for_the_beginning(app: hw.Application) -> None:
    fill(app, 0, 3, partitions=1)
    with app.get_consumer(auto_commit_enable=False) as consumer:
        consumer.subscribe(["in"])
        assert numbers(consumer, 3) == [0, 1, 2]
        place = TopicPartition("in", 0)
        with pytest.raises(InvalidOperation, match="name the offset"):
            consumer.seek(place)
        with pytest.raises(InvalidOperation, match="name the offset"):
            consumer.commit(offsets=[place])
        assert consumer.committed([place])[0].offset is None


def test_a_group_has_one_consumer_on_the_embedded_log(app: hw.Application) -> None:
    fill(app, 0, 1)
    with app.get_consumer() as first, app.get_consumer() as second:
        first.subscribe("in")
        with pytest.raises(InvalidOperation, match="already running"):
            second.subscribe("in")
        with pytest.raises(InvalidOperation, match="nothing"):
            first.subscribe(["nothing"])

"""Reaching a Kafka cluster, and reading records as its clients do."""

from headwater.consumer import Consumer, Message, TopicPartition
from headwater.kafka.configuration import ConnectionConfig
from headwater.producer import Producer

__all__ = ["ConnectionConfig", "Consumer", "Message", "Producer", "TopicPartition"]

"""Topics and the records in them."""

from headwater.models.topic import Record, TimestampType, Topic, TopicConfig

KafkaMessage = Record

__all__ = ["KafkaMessage", "Record", "TimestampType", "Topic", "TopicConfig"]

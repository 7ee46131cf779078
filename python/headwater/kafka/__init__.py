"""Reaching a Kafka cluster."""

from headwater.kafka.configuration import ConnectionConfig

__all__ = ["ConnectionConfig"]

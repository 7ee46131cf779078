"""Reads whole topics, where one that nobody has written to yet is empty."""

from __future__ import annotations

from typing import Any

from headwater import Application, TopicNotFoundError


def rows(app: Application, topic: str) -> list[dict[str, Any]]:
    """Return the values of all records, in order."""
    try:
        return list(app.read_topic(topic))
    except TopicNotFoundError:
        return []


def count(app: Application, topic: str) -> int:
    """Return the number of records."""
    try:
        return len(app.read_topic(topic))
    except TopicNotFoundError:
        return 0

"""Which record is being processed."""

from __future__ import annotations

from typing import NamedTuple

from headwater import _native
from headwater.errors import MessageContextNotSetError

__all__ = ["MessageContext", "message_context"]


class MessageContext(NamedTuple):
    """Where the record stands that is being processed."""

    topic: str
    partition: int
    offset: int | None


def message_context() -> MessageContext:
    """Say where the record stands that a function is processing.

    Raises
    ------
    MessageContextNotSetError
        Outside the processing of a record.

    Examples
    --------
    >>> def label(row: dict) -> dict:
    ...     return {**row, "from": message_context().topic}
    >>> labelled = sdf.apply(label)
    """
    place = _native.message_context()
    if place is None:
        msg = "message_context() is there only while a function processes a record"
        raise MessageContextNotSetError(msg)
    return MessageContext(*place)

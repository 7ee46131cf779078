"""Everything that Headwater raises.

All exceptions derive from `HeadwaterError`. The names that users of Quix Streams
catch are here too. What a function of yours raises arrives as the ``__cause__``
of a `DataError`, with its traceback.
"""

from __future__ import annotations

__all__ = [
    "ColumnDoesNotExist",
    "DataError",
    "FencedError",
    "HeadwaterError",
    "InternalError",
    "InvalidOperation",
    "MessageContextNotSetError",
    "ProducerClosed",
    "QuixException",
    "SerializationError",
    "SourceException",
    "StateError",
    "StateSerializationError",
    "StreamingDataFrameDuplicate",
    "TopicConfigurationError",
    "TopicNotFoundError",
    "UnavailableError",
]


class HeadwaterError(Exception):
    """The base of all exceptions of this package."""


QuixException = HeadwaterError
"""The name that programs written for Quix Streams catch."""


class InvalidOperation(HeadwaterError):
    """The program, or what it asks for, is wrong: change it."""


class StreamingDataFrameDuplicate(InvalidOperation):
    """One topic is read by two data frames."""


class ColumnDoesNotExist(InvalidOperation, KeyError):
    """A column is asked for in a way that cannot work."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class TopicConfigurationError(InvalidOperation):
    """A topic's configuration cannot be had."""


class TopicNotFoundError(HeadwaterError, LookupError):
    """There is no such topic in the log."""


class DataError(HeadwaterError):
    """A record cannot be processed.

    The message says what is wrong and where; the attributes say it in parts.

    Attributes
    ----------
    topic, partition, offset
        Where the record stands.
    field
        The field to blame, if there is one.
    operator
        The step of the pipeline, as `explain()` shows it.
    line
        Your own line, ``file.py:12``.
    hint
        What to do about it.
    """

    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    field: str | None = None
    operator: str | None = None
    line: str | None = None
    hint: str | None = None


class SerializationError(HeadwaterError):
    """A key or a value has no form in the format of its topic."""


class UnavailableError(HeadwaterError):
    """Something outside is not there at the moment: try again."""


class FencedError(HeadwaterError):
    """Another process has taken over: stop."""


class InternalError(HeadwaterError):
    """An invariant of Headwater is broken, or storage is damaged: please report it."""


class StateError(HeadwaterError):
    """State is used in a way that cannot work."""


class StateSerializationError(StateError):
    """A value cannot be kept in state."""


class SourceException(HeadwaterError):
    """A source's `run` has raised; the cause is its exception."""


class ProducerClosed(HeadwaterError):
    """The producer has been closed."""


class MessageContextNotSetError(HeadwaterError):
    """`message_context()` was called outside the processing of a record."""

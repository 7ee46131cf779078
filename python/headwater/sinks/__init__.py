"""Where rows leave for something other than a topic.

The files that are built in are exactly-once: after a crash they are cut back to
the last commit. A class of your own is at-least-once: the rows of an epoch that
was flushed and not committed come again.
"""

from headwater.sinks.base import (
    BaseSink,
    BatchingSink,
    SinkBackpressureError,
    SinkBatch,
    SinkItem,
)
from headwater.sinks.files import CSVSink, JSONLinesSink
from headwater.sinks.list import ListSink

__all__ = [
    "BaseSink",
    "BatchingSink",
    "CSVSink",
    "JSONLinesSink",
    "ListSink",
    "SinkBackpressureError",
    "SinkBatch",
    "SinkItem",
]

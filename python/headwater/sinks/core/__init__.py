"""The built-in sinks, where programs written for Quix Streams look for them."""

from headwater.sinks.files import CSVSink, JSONLinesSink
from headwater.sinks.list import ListSink

__all__ = ["CSVSink", "JSONLinesSink", "ListSink"]

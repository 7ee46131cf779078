"""`ListSink`, where programs written for Quix Streams look for it."""

from headwater.sinks.list import ListSink

__all__ = ["ListSink"]

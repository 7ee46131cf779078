"""`CSVSink`, where programs written for Quix Streams look for it."""

from headwater.sinks.files import CSVSink

__all__ = ["CSVSink"]

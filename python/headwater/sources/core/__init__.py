"""The built-in sources, where programs written for Quix Streams look for them."""

from headwater.sources.files import CSVSource, JSONLinesSource

__all__ = ["CSVSource", "JSONLinesSource"]

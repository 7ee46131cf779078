"""`CSVSource`, where programs written for Quix Streams look for it."""

from headwater.sources.files import CSVSource

__all__ = ["CSVSource"]

"""Where records enter: files, and classes of your own.

A source runs inside the application, needs no ``__main__`` guard and works in a
notebook. The files that are built in remember where they were: after a crash they
go on at the next row, exactly once. A class of your own starts anew.
"""

from headwater.sources.base import Source
from headwater.sources.files import CSVSource, JSONLinesSource

__all__ = ["CSVSource", "JSONLinesSource", "Source"]

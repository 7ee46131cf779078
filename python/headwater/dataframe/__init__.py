"""Data frames over streams."""

from headwater.dataframe.dataframe import StreamingDataFrame
from headwater.dataframe.series import StreamingSeries

__all__ = ["StreamingDataFrame", "StreamingSeries"]

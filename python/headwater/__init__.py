"""Stream processing for people who think in DataFrames.

A topic is an infinite virtual table: each record is a row, each property a column,
the key names the stream. Write the operations once; the engine runs them on every
record, in this process.

Examples
--------
>>> import headwater as hw
>>> app = hw.Application(name="speed", directory=tmp_path)
>>> with app.get_producer() as producer:
...     producer.produce("telemetry", value={"speed": 40.0}, key="car-1", timestamp=1000)
>>> sdf = app.dataframe(app.topic("telemetry"))
>>> sdf = sdf[sdf["speed"] > 30]
>>> sdf["kmh"] = sdf["speed"] * 3.6
>>> app.run(count=1)
[{'speed': 40.0, 'kmh': 144.0}]
"""

from headwater.app import Application, RunReport
from headwater.context import MessageContext, message_context
from headwater.dataframe import StreamingDataFrame, StreamingSeries
from headwater.dataframe.windows import (
    Aggregator,
    Collect,
    Collector,
    Count,
    Earliest,
    First,
    Last,
    Latest,
    Max,
    Mean,
    Min,
    Reduce,
    Std,
    Sum,
    Variance,
)
from headwater.errors import DataError, HeadwaterError, InvalidOperation, TopicNotFoundError
from headwater.models import Topic, TopicConfig
from headwater.state import State

__all__ = [
    "Aggregator",
    "Application",
    "Collect",
    "Collector",
    "Count",
    "DataError",
    "Earliest",
    "First",
    "HeadwaterError",
    "InvalidOperation",
    "Last",
    "Latest",
    "Max",
    "Mean",
    "MessageContext",
    "Min",
    "Reduce",
    "RunReport",
    "State",
    "Std",
    "StreamingDataFrame",
    "StreamingSeries",
    "Sum",
    "Topic",
    "TopicConfig",
    "TopicNotFoundError",
    "Variance",
    "message_context",
]

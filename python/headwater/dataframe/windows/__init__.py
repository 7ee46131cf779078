"""Windows of event time and what is computed over them."""

from headwater.dataframe.windows.aggregations import (
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
from headwater.dataframe.windows.definitions import (
    AggregatedWindow,
    HoppingWindow,
    TumblingWindow,
    WindowDefinition,
)

__all__ = [
    "AggregatedWindow",
    "Aggregator",
    "Collect",
    "Collector",
    "Count",
    "Earliest",
    "First",
    "HoppingWindow",
    "Last",
    "Latest",
    "Max",
    "Mean",
    "Min",
    "Reduce",
    "Std",
    "Sum",
    "TumblingWindow",
    "Variance",
    "WindowDefinition",
]

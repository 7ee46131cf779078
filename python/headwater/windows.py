"""Windows and aggregators under their short name.

Examples
--------
>>> from headwater.windows import Count, Mean
>>> speeds = sdf.tumbling_window(60_000).agg(n=Count(), mean=Mean("speed")).final()
"""

from headwater.dataframe.windows import (
    AggregatedWindow,
    Aggregator,
    Collect,
    Collector,
    Count,
    Earliest,
    First,
    HoppingWindow,
    Last,
    Latest,
    Max,
    Mean,
    Min,
    Reduce,
    Std,
    Sum,
    TumblingWindow,
    Variance,
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

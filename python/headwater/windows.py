"""Windows and aggregators under their short name.

Examples
--------
>>> from headwater.windows import Count, Mean
>>> speeds = sdf.tumbling_window(60_000).agg(n=Count(), mean=Mean("speed")).final()
"""

from headwater.dataframe.windows import *  # noqa: F403
from headwater.dataframe.windows import __all__ as __all__

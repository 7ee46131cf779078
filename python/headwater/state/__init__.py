"""What a stateful function remembers of the current key."""

from headwater._native import State

__all__ = ["State"]

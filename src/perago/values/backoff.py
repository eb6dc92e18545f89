"""Exponential backoff."""

from __future__ import annotations

_MAX_DOUBLINGS = 30
"""More would only overflow: 2**30 seconds are 34 years."""


def backoff(first: float, longest: float, doublings: int) -> float:
    """Seconds to wait: `first`, doubled `doublings` times, but at most `longest`. Callers add their own jitter."""
    return min(longest, first * 2.0 ** min(doublings, _MAX_DOUBLINGS))

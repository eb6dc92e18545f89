"""Raised when a part of the cache key cannot be determined."""

from __future__ import annotations


class UntoldError(Exception):
    """A part of the cache key cannot be determined. `sources.code_parts` turns this into the value `Untold`.

    Args:
        why: as in `Untold`.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why

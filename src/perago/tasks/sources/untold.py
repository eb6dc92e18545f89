"""Ends the search for the parts of a key at the first one that cannot be told."""

from __future__ import annotations


class UntoldError(Exception):
    """A part of a key cannot be told. `sources.code_parts` turns it into the value `Untold`.

    Args:
        why: as in `Untold`.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why

"""Paths that somebody names in a question: of a file, of a directory, or as a pattern."""

from __future__ import annotations

from posixpath import normpath

EVERYTHING = "**"


def pattern_of(path: str) -> str:
    """A path as a pattern of `Selection`: `./a/` and `/a` are `a`; `.`, `/` and "" are everything."""
    name = normpath(path).strip("/")
    return EVERYTHING if name in ("", ".") else name

"""An answer in memory, of either client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Of an answer that is read into memory. A page of 1,000 objects of the longest names is below 10 MiB."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer in memory. Its headers are found in either case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def retry_after_of(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait; a date in that header counts as not given."""
    value = headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() else None

"""An answer in memory, from either client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Limit for an answer in memory. A page of 1,000 objects with the longest names is below 10 MiB."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer in memory. Header names are case-insensitive."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def retry_after_of(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait. A date in the header is ignored."""
    value = headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() else None

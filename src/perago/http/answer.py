"""Answers in memory, and failures without one. Texts of these contain no URL query, header or credential."""

from __future__ import annotations

import enum
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


class FaultKind(enum.StrEnum):
    """The kind of failure."""

    UNREACHABLE = "unreachable"
    TLS = "tls"
    CUT = "cut"
    TIMEOUT = "timeout"
    MALFORMED = "malformed"


class HttpFault(Exception):  # noqa: N818 - adapters convert it to their own errors
    """A call got no complete answer.

    Args:
        kind: of the failure.
        detail: description, without secrets.
    """

    def __init__(self, kind: FaultKind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail

    @property
    def was_sent(self) -> bool:
        """Whether the server may have received and carried out the request."""
        return self.kind not in (FaultKind.UNREACHABLE, FaultKind.TLS)

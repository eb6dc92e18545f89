"""What can go wrong below a status code. No text here holds a URL's query, a header or a credential."""

from __future__ import annotations

import enum


class FaultKind(enum.StrEnum):
    """Where a call broke off."""

    UNREACHABLE = "unreachable"
    TLS = "tls"
    CUT = "cut"
    TIMEOUT = "timeout"
    MALFORMED = "malformed"


class HttpFault(Exception):  # noqa: N818 - a fault has no status; the adapters' errors are made of it
    """A call got no whole answer.

    Args:
        kind: where it broke off.
        detail: in words, without anything secret.
    """

    def __init__(self, kind: FaultKind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail

    @property
    def was_sent(self) -> bool:
        """Whether the server may have got the request, and done what it asks."""
        return self.kind not in (FaultKind.UNREACHABLE, FaultKind.TLS)

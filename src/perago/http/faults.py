"""Failures without a status code. Their texts contain no URL query, header or credential."""

from __future__ import annotations

import enum


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

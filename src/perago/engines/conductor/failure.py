"""Errors of calls that the server refused or did not answer, without secrets."""

from __future__ import annotations

from typing import ClassVar

from perago.errors import EngineError, EngineUnavailableError, TaskNotFoundError
from perago.http.answer import FaultKind, HttpFault
from perago.http.refusals import Advice, CallError, message_of

_ADVICE = Advice(
    by_status={
        400: "Read the message",
        401: "Check CONDUCTOR_AUTH_KEY and CONDUCTOR_AUTH_SECRET",
        403: "The access key lacks the permission: grant it, or use another key",
        404: "Check the id, and that CONDUCTOR_SERVER_URL is the URL of a Conductor server's API",
        413: "A proxy refuses bodies of this size: raise its limit",
        429: "The server is busy: try again later, or run fewer workers at once",
    },
    by_fault={
        FaultKind.UNREACHABLE: "Check CONDUCTOR_SERVER_URL, the network, and that the server runs",
        FaultKind.TLS: "Check CONDUCTOR_SERVER_URL, and set the ca_file option if the server has its own CA",
        FaultKind.CUT: "Try again; if it happens again, check the server and any proxies",
        FaultKind.TIMEOUT: "Try again; if it happens again, the server or the network is too slow",
        FaultKind.MALFORMED: "Check that CONDUCTOR_SERVER_URL is the URL of a Conductor server's API",
    },
)
_PASSING_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


class ConductorError(CallError, EngineError):
    """A call to Conductor was refused or failed."""

    advice = _ADVICE

    @property
    def may_pass(self) -> bool:
        """Whether the same call may succeed later: the server is away, restarting or busy."""
        if self.status is not None:
            return self.status in _PASSING_STATUSES
        return self.fault is not FaultKind.TLS


class ConductorUnreachableError(ConductorError, EngineUnavailableError):
    """The server could not be reached, so nothing was sent."""


class ConductorAccessError(ConductorError, EngineUnavailableError):
    """The server does not know the access key (401), or the key lacks the permission (403)."""

    retry_can_help: ClassVar[bool] = False
    retry_elsewhere_can_help: ClassVar[bool] = True


class ConductorNotFoundError(ConductorError, TaskNotFoundError):
    """The server has no such task or workflow (404), or has removed it."""

    retry_can_help: ClassVar[bool] = False


def refused(call: str, where: str, status: int, body: bytes) -> ConductorError:
    """The error for an unexpected status."""
    kinds: dict[int, type[ConductorError]] = {
        401: ConductorAccessError,
        403: ConductorAccessError,
        404: ConductorNotFoundError,
    }
    return kinds.get(status, ConductorError)(call, where, status=status, message=message_of(body))


def unanswered(call: str, where: str, fault: HttpFault) -> ConductorError:
    """The error for a call without a complete answer."""
    kind = ConductorError if fault.was_sent else ConductorUnreachableError
    return kind(call, where, status=None, message=fault.detail, fault=fault.kind)

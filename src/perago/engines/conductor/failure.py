"""What the server refused, or did not answer: one error for each call, without anything secret."""

from __future__ import annotations

from typing import ClassVar

from perago.errors import EngineError, EngineUnavailableError, TaskNotFoundError
from perago.http.faults import FaultKind, HttpFault
from perago.http.refusals import message_of

_MENDS = {
    400: "look at the message",
    401: "check CONDUCTOR_AUTH_KEY and CONDUCTOR_AUTH_SECRET",
    403: "the access key may not do this: give it the permission, or use another key",
    404: "check the id, and that CONDUCTOR_SERVER_URL is the URL of a Conductor server's API",
    413: "a proxy before the server takes no bodies of this size: raise its limit",
    429: "the server is busy: try again later, or run fewer workers at once",
}
_SERVER_MEND = "look at the server's log"
_FAULT_MENDS = {
    FaultKind.UNREACHABLE: "check CONDUCTOR_SERVER_URL, the network, and that the server runs",
    FaultKind.TLS: "check CONDUCTOR_SERVER_URL, and name the server's own CA in the ca_file option if it has one",
    FaultKind.CUT: "try again; if it happens each time, look at the server and at proxies before it",
    FaultKind.TIMEOUT: "try again; if it happens each time, the server or the network is too slow",
    FaultKind.MALFORMED: "check that CONDUCTOR_SERVER_URL is the URL of a Conductor server's API",
}
_PASSING_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


class ConductorError(EngineError):
    """A call to Conductor was refused, or got no answer.

    Attributes:
        call: what was called, such as `POST /tasks`.
        status: of the answer; None where there was none.
        message: the server's own words, or what happened on the way.
        fault: where the call broke off; None where the server answered.
    """

    def __init__(
        self, call: str, where: str, *, status: int | None, message: str, fault: FaultKind | None = None
    ) -> None:
        answered = f"answered {status}: {message}" if status is not None else f"failed: {message}"
        super().__init__(f"{call} at {where} {answered}. Now {_mend(status, fault)}")
        self.call = call
        self.status = status
        self.message = message
        self.fault = fault

    @property
    def may_pass(self) -> bool:
        """Whether the same call may be answered later: the server is away, restarting or busy."""
        if self.status is not None:
            return self.status in _PASSING_STATUSES
        return self.fault is not FaultKind.TLS


class ConductorUnreachableError(ConductorError, EngineUnavailableError):
    """There is no connection to the server: nothing was sent."""


class ConductorAccessError(ConductorError, EngineUnavailableError):
    """The server does not know the access key (401), or it may not do this (403)."""

    retry_can_help: ClassVar[bool] = False
    retry_elsewhere_can_help: ClassVar[bool] = True


class ConductorNotFoundError(ConductorError, TaskNotFoundError):
    """The server has no such task or workflow (404), or has removed it."""

    retry_can_help: ClassVar[bool] = False


def refused(call: str, where: str, status: int, body: bytes) -> ConductorError:
    """The error for an answer that is not the expected one."""
    kinds: dict[int, type[ConductorError]] = {
        401: ConductorAccessError,
        403: ConductorAccessError,
        404: ConductorNotFoundError,
    }
    return kinds.get(status, ConductorError)(call, where, status=status, message=message_of(body))


def unanswered(call: str, where: str, fault: HttpFault) -> ConductorError:
    """The error for a call without a whole answer."""
    kind = ConductorError if fault.was_sent else ConductorUnreachableError
    return kind(call, where, status=None, message=fault.detail, fault=fault.kind)


def _mend(status: int | None, fault: FaultKind | None) -> str:
    if status is not None:
        return _MENDS.get(status, _SERVER_MEND)
    return _FAULT_MENDS[fault] if fault is not None else _SERVER_MEND

"""What the server refused, or did not answer: one error for each call, without anything secret."""

from __future__ import annotations

from typing import ClassVar

from perago.errors import StoreError
from perago.http.answer import Answer, retry_after_of
from perago.http.faults import FaultKind, HttpFault
from perago.http.refusals import message_of
from perago.json_text import parse_json

_MENDS = {
    400: "look at the message",
    401: "check the access key id and the secret access key",
    403: "the access key's user may not do this: give it the permission, or use another key",
    404: "check the names of repository, branch and commit",
    409: "something else did the same meanwhile; try again",
    410: "the object's data is gone from the block store",
    412: "a condition or a hook on the server refused",
    423: "wait until the branch is free, and try again",
    429: "the server is busy: try again later, or run fewer workers at once",
    507: "the server's storage is full",
}
_REDIRECT_MEND = "give the URL that the endpoint redirects to as the endpoint; credentials follow no redirects"
_SERVER_MEND = "look at the server's log"
_FAULT_MENDS = {
    FaultKind.UNREACHABLE: "check the endpoint URL, the network, and that the server runs",
    FaultKind.TLS: "check the endpoint URL, and name the server's own CA in the ca_file option if it has one",
    FaultKind.CUT: "try again; if it happens each time, look at the server and at proxies before it",
    FaultKind.TIMEOUT: "try again; if it happens each time, the server or the network is too slow",
    FaultKind.MALFORMED: "check that the endpoint URL is a lakeFS server's",
}


class LakeFSError(StoreError):
    """A call to lakeFS was refused, or got no answer.

    Attributes:
        call: name of the call, as the API names it, such as `mergeIntoBranch`.
        status: of the answer; None where there was none.
        message: the server's own words, or what happened on the way.
        fault: where the call broke off; None where the server answered.
        retry_after: seconds that the server asked to wait.
    """

    retry_after: float | None = None

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
    def is_unclear(self) -> bool:
        """Whether the server may have done what was asked all the same."""
        if self.status is not None:
            return self.status >= 500 or self.status in (408, 429)
        return self.fault not in (FaultKind.UNREACHABLE, FaultKind.TLS)

    @property
    def may_pass(self) -> bool:
        """Whether the same call may do later."""
        return self.is_unclear or self.fault is FaultKind.UNREACHABLE


class LakeFSAccessError(LakeFSError):
    """The server does not know the access key (401), or its user may not do this (403)."""

    retry_can_help: ClassVar[bool] = False
    retry_elsewhere_can_help: ClassVar[bool] = True


class DamagedObjectError(StoreError):
    """An object's content is not what the server says it is; nothing of it was laid out or published."""


def is_of_conductor(answer: Answer) -> bool:
    """Whether a refusal is Conductor's, which knows none of lakeFS's paths: it says whether a retry can help, and which
    of its instances speaks."""
    try:
        said = parse_json(answer.body)
    except (ValueError, RecursionError):
        return False
    return isinstance(said, dict) and {"status", "message", "instance", "retryable"} <= said.keys()


def refused(call: str, where: str, answer: Answer) -> LakeFSError:
    """The error for an answer that is not the expected one."""
    kind = LakeFSAccessError if answer.status in (401, 403) else LakeFSError
    error = kind(call, where, status=answer.status, message=message_of(answer.body))
    error.retry_after = retry_after_of(answer.headers)
    return error


def unanswered(call: str, where: str, fault: HttpFault) -> LakeFSError:
    """The error for a call without a whole answer."""
    return LakeFSError(call, where, status=None, message=fault.detail, fault=fault.kind)


def _mend(status: int | None, fault: FaultKind | None) -> str:
    if status is not None:
        return _MENDS.get(status, _REDIRECT_MEND if 300 <= status < 400 else _SERVER_MEND)
    return _FAULT_MENDS[fault] if fault is not None else _SERVER_MEND

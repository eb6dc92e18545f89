"""Faults of the proxy, and rules that choose requests."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class CutBefore:
    """Close the connection before the request reaches the server; with `reset` by a TCP reset, like a crashed peer."""

    reset: bool = False


@dataclass(frozen=True)
class CutRequest:
    """Pass the head and some bytes of the body to the server, then close both connections."""

    after_bytes: int = 0


@dataclass(frozen=True)
class Refuse:
    """Answer instead of the server, which does not get the request."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b'{"message": "refused by the fault proxy"}'


@dataclass(frozen=True)
class Delay:
    """Delay the request, even if the client hangs up, or delay the server's `answer`."""

    seconds: float
    answer: bool = False


@dataclass(frozen=True)
class Swallow:
    """Discard the complete answer: the request is applied, the answer lost."""

    reset: bool = False


@dataclass(frozen=True)
class CutResponse:
    """Close the connection after the head of the answer and some bytes of its body."""

    after_bytes: int = 0
    reset: bool = False


@dataclass(frozen=True)
class Stall:
    """Pass the head of the answer and some bytes of its body, then nothing until the client hangs up."""

    after_bytes: int = 0


@dataclass(frozen=True)
class Truncate:
    """Shorten the answer's body, with a matching Content-Length."""

    keep_bytes: int = 0


@dataclass(frozen=True)
class Corrupt:
    """Change one byte of the answer's body: at the offset, or the last one of a shorter body."""

    offset: int = 0


@dataclass(frozen=True)
class Repeat:
    """Send the request to the server several times; the client gets the first or the last answer."""

    times: int = 2
    last: bool = True


Fault = CutBefore | CutRequest | Refuse | Delay | Swallow | CutResponse | Stall | Truncate | Corrupt | Repeat


class Rule:
    """Applies a fault to matching requests.

    Args:
        fault: the fault.
        method: such as "GET". Default: any.
        path: a regular expression, searched in the request target with its query.
        body: a regular expression, searched in the first MiB of the request's body.
        skip: number of matching requests that pass first: `skip=n` hits the n-th, counted from 0.
        times: number of faults; None means no limit.

    Attributes:
        matched: number of matching requests so far.
        fired: number of faults that took effect.
    """

    def __init__(
        self,
        fault: Fault,
        *,
        method: str | None = None,
        path: str = "",
        body: bytes = b"",
        skip: int = 0,
        times: int | None = 1,
    ) -> None:
        self.fault = fault
        self.matched = 0
        self.fired = 0
        self._method = method
        self._path = re.compile(path)
        self._body = re.compile(body, re.DOTALL)
        self._skip = skip
        self._times = times
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<{self.fault} {self._method or 'any'} {self._path.pattern!r}: {self.fired} of {self.matched} matched>"

    def takes(self, method: str, target: str, body: bytes, *, taken: bool) -> bool:
        """Count a request; returns True if the fault applies to it. `taken`: another rule already has it."""
        if self._method not in (None, method) or not self._path.search(target) or not self._body.search(body):
            return False
        with self._lock:
            self.matched += 1
            due = self.matched > self._skip and (self._times is None or self.fired < self._times)
            if due and not taken:
                self.fired += 1
            return due and not taken

    def had_no_effect(self) -> None:
        """Undo the count of the last fault, which had nothing to change."""
        with self._lock:
            self.fired -= 1

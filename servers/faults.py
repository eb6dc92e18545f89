"""What a fault proxy does to a request, and to which one."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class CutBefore:
    """Hang up; the server never hears of the request. `reset`: as a crashed peer does, with a TCP reset."""

    reset: bool = False


@dataclass(frozen=True)
class CutRequest:
    """The server gets the head and so many bytes of the body, then the connection ends on both sides."""

    after_bytes: int = 0


@dataclass(frozen=True)
class Refuse:
    """Answer in the server's place; it never hears of the request."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b'{"message": "refused by the fault proxy"}'


@dataclass(frozen=True)
class Delay:
    """Wait, then pass the request on, also if the client has hung up meanwhile; or wait with the server's `answer`."""

    seconds: float
    answer: bool = False


@dataclass(frozen=True)
class Swallow:
    """The server answers in full, and nobody hears: applied, then lost."""

    reset: bool = False


@dataclass(frozen=True)
class CutResponse:
    """Hang up after the head of the answer and so many bytes of its body."""

    after_bytes: int = 0
    reset: bool = False


@dataclass(frozen=True)
class Stall:
    """The server answers; the client gets the head and so many bytes of the body, then nothing until it hangs up."""

    after_bytes: int = 0


@dataclass(frozen=True)
class Truncate:
    """A shorter body that looks whole: its Content-Length is the shorter one."""

    keep_bytes: int = 0


@dataclass(frozen=True)
class Corrupt:
    """A byte of the answer's body is another one: that at the offset, or the last if the body is shorter."""

    offset: int = 0


@dataclass(frozen=True)
class Repeat:
    """The server gets the request so many times, one after the other; the client the first or the last answer."""

    times: int = 2
    last: bool = True


Fault = CutBefore | CutRequest | Refuse | Delay | Swallow | CutResponse | Stall | Truncate | Corrupt | Repeat


class Rule:
    """Which requests a fault befalls.

    Args:
        fault: what happens.
        method: "GET" and so on; None: any.
        path: a regular expression, searched in the request target with its query.
        body: a regular expression, searched in the first MiB of the request's body.
        skip: so many matching requests pass first: `skip=n` hits the n-th, counted from 0.
        times: how often; None: from then on always.

    Attributes:
        matched: how many requests matched so far.
        fired: how often the fault had its effect.
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
        """Count a request; True if the fault is to befall it. `taken`: another rule has it already."""
        if self._method not in (None, method) or not self._path.search(target) or not self._body.search(body):
            return False
        with self._lock:
            self.matched += 1
            due = self.matched > self._skip and (self._times is None or self.fired < self._times)
            if due and not taken:
                self.fired += 1
            return due and not taken

    def had_no_effect(self) -> None:
        """Take the last firing back: there was nothing to spoil."""
        with self._lock:
            self.fired -= 1

"""Errors of calls that a server refused or did not answer: short, on one line, without secrets, with advice."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from perago.errors import PeragoError
from perago.http.answer import FaultKind
from perago.values.redaction import mask_text

MAX_SHOWN_CHARACTERS = 500
"""Limit for a server's message in an error."""

_BLOCK_STORE_ERROR = re.compile(r"<Error>\s*<Code>([^<]+)</Code>\s*<Message>([^<]+)</Message>")
"""The format of S3, Google's and Azure's stores. What follows can contain the signature and what it signs."""


@dataclass(frozen=True)
class Advice:
    """What to do about a call that failed, by the status of the answer or the kind of fault.

    Attributes:
        redirect: for statuses from 300 to 399; "" for none of their own.
    """

    by_status: Mapping[int, str]
    by_fault: Mapping[FaultKind, str]
    redirect: str = ""

    def about(self, status: int | None, fault: FaultKind | None) -> str:
        otherwise = "Check the server's log"
        if status is None:
            return otherwise if fault is None else self.by_fault[fault]
        is_redirect = 300 <= status < 400
        return self.by_status.get(status, (is_redirect and self.redirect) or otherwise)


class CallError(PeragoError):
    """A call to a server was refused or failed. Each client has a subclass with its own advice.

    Attributes:
        call: the server's name of the call, such as `mergeIntoBranch` or `POST /tasks`.
        status: of the answer; None if there was none.
        message: of the server, or a description of the failure.
        fault: kind of failure; None if the server answered.
    """

    advice: ClassVar[Advice]

    def __init__(
        self, call: str, where: str, *, status: int | None, message: str, fault: FaultKind | None = None
    ) -> None:
        answered = f"answered {status}: {message}" if status is not None else f"failed: {message}"
        super().__init__(f"{call} at {where} {answered}. {self.advice.about(status, fault)}")
        self.call = call
        self.status = status
        self.message = message
        self.fault = fault


def message_of(body: bytes) -> str:
    """The server's message from JSON or XML, or the start of the body if it is neither."""
    shown = " ".join(mask_text(_words_of(body)).split())
    shown = "".join(character if character.isprintable() else "?" for character in shown)
    return (shown[: MAX_SHOWN_CHARACTERS - 3] + "..." if len(shown) > MAX_SHOWN_CHARACTERS else shown) or "no message"


def _words_of(body: bytes) -> str:
    try:
        document = json.loads(body)
        message = document["message"] if isinstance(document, dict) else None
    except (ValueError, KeyError, RecursionError):
        message = None
    if isinstance(message, str):
        return message
    text = body[: 4 * MAX_SHOWN_CHARACTERS].decode(errors="replace")
    found = _BLOCK_STORE_ERROR.search(text)
    return text if found is None else f"{found[2]} ({found[1]})"

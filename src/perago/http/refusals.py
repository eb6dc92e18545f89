"""A server's message about a refused call, prepared for an error: short, on one line, without secrets."""

from __future__ import annotations

import json
import re

from perago.values.redaction import mask_text

MAX_SHOWN_CHARACTERS = 500
"""Limit for a server's message in an error."""

_BLOCK_STORE_ERROR = re.compile(r"<Error>\s*<Code>([^<]+)</Code>\s*<Message>([^<]+)</Message>")
"""The format of S3, Google's and Azure's stores. What follows can contain the signature and what it signs."""


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

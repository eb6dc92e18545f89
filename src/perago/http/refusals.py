"""What a server says of a call that it refuses, fit for an error: short, on a line, and without anything secret."""

from __future__ import annotations

import json
import re

from perago.values.redaction import mask_text

MAX_SHOWN_CHARACTERS = 500
"""Characters of a server's message that an error shows."""

_BLOCK_STORE_ERROR = re.compile(r"<Error>\s*<Code>([^<]+)</Code>\s*<Message>([^<]+)</Message>")
"""S3, Google's and Azure's stores answer so. What follows may be the signature that was sent, and what it signs."""


def message_of(body: bytes) -> str:
    """The server's words: what its JSON or XML says, or the body's beginning where something else answered for it."""
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

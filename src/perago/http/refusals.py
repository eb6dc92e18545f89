"""What a server says of a call that it refuses, fit for an error: short, on a line, and without anything secret."""

from __future__ import annotations

import json

from perago.redaction import mask_text

MAX_SHOWN_CHARACTERS = 500
"""Characters of a server's message that an error shows."""


def message_of(body: bytes) -> str:
    """The server's words: `message` of its JSON, or the body's beginning where something else answered for it."""
    try:
        document = json.loads(body)
        message = document["message"] if isinstance(document, dict) else None
    except (ValueError, KeyError, RecursionError):
        message = None
    text = message if isinstance(message, str) else body[: 4 * MAX_SHOWN_CHARACTERS].decode(errors="replace")
    shown = " ".join(mask_text(text).split())
    shown = "".join(character if character.isprintable() else "?" for character in shown)
    return (shown[: MAX_SHOWN_CHARACTERS - 3] + "..." if len(shown) > MAX_SHOWN_CHARACTERS else shown) or "no message"

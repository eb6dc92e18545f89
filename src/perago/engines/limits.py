"""Limits that engines have for results. Usable without any engine's client."""

from __future__ import annotations

import json

from perago.values.json_text import JsonObject

MAX_OUTPUT_BYTES = 3072 * 1024 - 64 * 1024
"""Conductor's limit for a result's output as JSON. Above 3072 KB the server moves the output to external storage. Later
reads of the task do not return it, so the commit that the task completed with would be unknown. Above 10240 KB the
server answers 200 and fails the task for good (Conductor 3.32, its defaults). The difference to 3072 KB leaves room for
how the server writes numbers."""


def json_size(value: JsonObject) -> int:
    """Bytes of a JSON object as it is sent.

    Raises:
        TypeError, ValueError: it is not JSON.
    """
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode())


def too_large(size: int, max_bytes: int = MAX_OUTPUT_BYTES) -> str:
    """The error message for a result that the engine cannot keep."""
    return (
        f"the result is too large for the engine: {size} bytes of JSON, above the limit of {max_bytes}. Write it to a "
        f"file in the workspace, and return the file's name"
    )

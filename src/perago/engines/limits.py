"""What engines keep of a result. Known without any engine's client."""

from __future__ import annotations

import json

from perago.values.json_text import JsonObject

MAX_OUTPUT_BYTES = 3072 * 1024 - 64 * 1024
"""Of a result's output as JSON, by Conductor. Beyond 3072 KB the server moves it to its external storage, where later
reads of the task do not have it: nobody could tell any more which commit the task completed with. Beyond 10240 KB it
answers 200 and fails the task for good (Conductor 3.32, its defaults). The rest is room for how the server writes
numbers."""


def json_size(value: JsonObject) -> int:
    """Bytes of a JSON object as it is sent.

    Raises:
        TypeError, ValueError: it is no JSON.
    """
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode())


def too_large(size: int, max_bytes: int = MAX_OUTPUT_BYTES) -> str:
    """What is told of a result that the engine cannot keep."""
    return (
        f"the result is too large for the engine: {size} bytes of JSON, and {max_bytes} is the limit. Write it to a "
        f"file in the workspace, and return what names it"
    )

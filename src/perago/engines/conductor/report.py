"""Results as the server can keep them: what is too large for it fails plainly, instead of silently in the server."""

from __future__ import annotations

from perago.engines.conductor.api import json_bytes
from perago.errors import EngineError
from perago.models import JsonObject, RuntimeTaskResult

MAX_OUTPUT_BYTES = 3072 * 1024 - 64 * 1024
"""Of a result's output as JSON. Beyond 3072 KB the server moves it to its external storage, where later reads of the
task do not have it: nobody could tell any more which commit the task completed with. Beyond 10240 KB it answers 200 and
fails the task for good (Conductor 3.32, its defaults). The rest is room for how the server writes numbers."""


def output_bytes(output: JsonObject) -> int:
    """Bytes of an output as JSON, as the server counts them.

    Raises:
        EngineError: it is no JSON.
    """
    return len(json_bytes(output))


def fitting(result: RuntimeTaskResult, *, max_bytes: int = MAX_OUTPUT_BYTES) -> RuntimeTaskResult:
    """The result; or where its output is too large, or no JSON, the failure that says so: no retry could help."""
    if result.output is None:
        return result
    try:
        size = output_bytes(result.output)
    except EngineError as exc:
        return _never(str(exc))
    return result if size <= max_bytes else _never(too_large(size, max_bytes))


def too_large(size: int, max_bytes: int = MAX_OUTPUT_BYTES) -> str:
    """What is told of an output that the server cannot keep."""
    return (
        f"the result is too large for Conductor: {size} bytes of JSON, and {max_bytes} is the limit. Write it to a "
        f"file in the workspace, and return what names it"
    )


def _never(reason: str) -> RuntimeTaskResult:
    return RuntimeTaskResult("FAILED_WITH_TERMINAL_ERROR", reason_for_incompletion=reason)

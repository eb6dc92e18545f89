"""Results as the server can keep them: what is too large for it fails plainly, instead of silently in the server."""

from __future__ import annotations

from perago.engines.conductor.api import json_bytes
from perago.engines.limits import MAX_OUTPUT_BYTES, too_large
from perago.errors import EngineError
from perago.values.models import RuntimeTaskResult


def fitting(result: RuntimeTaskResult, *, max_bytes: int = MAX_OUTPUT_BYTES) -> RuntimeTaskResult:
    """The result; or where its output is too large, or no JSON, the failure that says so: no retry could help."""
    if result.output is None:
        return result
    try:
        size = len(json_bytes(result.output))
    except EngineError as exc:
        return _never(str(exc))
    return result if size <= max_bytes else _never(too_large(size, max_bytes))


def _never(reason: str) -> RuntimeTaskResult:
    return RuntimeTaskResult("FAILED_WITH_TERMINAL_ERROR", reason_for_incompletion=reason)

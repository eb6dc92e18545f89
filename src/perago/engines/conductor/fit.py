"""Checking results before they are sent. A result that is too large fails here, and not silently on the server."""

from __future__ import annotations

from perago.engines.conductor.api import json_bytes
from perago.engines.limits import MAX_OUTPUT_BYTES, too_large
from perago.errors import EngineError
from perago.values.models import RuntimeTaskResult


def fitting(result: RuntimeTaskResult, *, max_bytes: int = MAX_OUTPUT_BYTES) -> RuntimeTaskResult:
    """The result, or a terminal failure if its output is too large or not JSON: a retry could not help."""
    if result.output is None:
        return result
    try:
        size = len(json_bytes(result.output))
    except EngineError as exc:
        return _never(str(exc), result.log)
    return result if size <= max_bytes else _never(too_large(size, max_bytes), result.log)


def _never(reason: str, log: str | None) -> RuntimeTaskResult:
    return RuntimeTaskResult("FAILED_WITH_TERMINAL_ERROR", reason_for_incompletion=reason, log=log)

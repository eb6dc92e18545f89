"""A result that the engine cannot keep fails its attempt before anything of it is published."""

from __future__ import annotations

from perago.attempt.body import BodyCall, InvokeBody
from perago.engines.limits import MAX_OUTPUT_BYTES, json_size, too_large
from perago.errors import TaskTerminalError
from perago.json_text import JsonObject

WORKSPACE_BYTES = 16 * 1024
"""Left for the other member of a workspace task's output: names of a repository, a branch and a commit."""

MAX_RESULT_BYTES = MAX_OUTPUT_BYTES - WORKSPACE_BYTES


def within_limit(invoke_body: InvokeBody, max_bytes: int = MAX_RESULT_BYTES) -> InvokeBody:
    """The same, but for a result of more than so many bytes of JSON, which is a `TaskTerminalError`: a retry cannot
    help."""

    def invoke(call: BodyCall, /) -> JsonObject:
        result = invoke_body(call)
        size = json_size(result)
        if size > max_bytes:
            raise TaskTerminalError(too_large(size, max_bytes))
        return result

    return invoke

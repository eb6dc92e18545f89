"""The result of an attempt for the engine: an output, or a reason with the place in the body that failed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from perago.attempt.breakpoints import is_quit, quit_reason
from perago.attempt.parse import parse_workspace_input
from perago.errors import PeragoError, PreGuardrailViolation, TaskExecutionError, TaskInputError, TaskTerminalError
from perago.tasks.declare import TaskDefinition
from perago.tasks.import_path import LIBRARIES
from perago.tasks.params import validate_result
from perago.values.json_text import JsonObject, encodable
from perago.values.models import ResultStatus, RuntimeTaskResult, WorkspaceInput, WorkspaceOutput
from perago.values.redaction import mask_bounded, text_of, traceback_of

MAX_FRAMES_LENGTH = 8 * 1024
"""Characters of a traceback that are kept, from its end."""

_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>.+)')
_OURS = str(Path(__file__).parents[1])
_LEFT_OUT = "[…]\n"


def traceback_in_body(error: BaseException | None) -> str | None:
    """Masked traceback, without Perago's frames, of an error that a body did not raise on purpose.

    Returns:
        At most `MAX_FRAMES_LENGTH` characters. None if it was raised on purpose, or not in a body.
    """
    whole = _whole_traceback(error)
    if _FRAME.search(whole) is None:
        return None
    return whole if len(whole) <= MAX_FRAMES_LENGTH else _LEFT_OUT + whole[-MAX_FRAMES_LENGTH + len(_LEFT_OUT) :]


def _whole_traceback(error: BaseException | None) -> str:
    """As `traceback_in_body`, of any length; "" for None."""
    if error is None or is_quit(error) or (isinstance(error, PeragoError) and type(error) is not TaskExecutionError):
        return ""
    # An error from a body in a process of its own carries its traceback as a note.
    text = "".join(getattr(error, "__notes__", ())) if isinstance(error, PeragoError) else traceback_of(error)
    return "".join(_without_ours(text.splitlines(keepends=True)))


def place_in_body(error: BaseException | None) -> str | None:
    """The last frame of the task's own code in the traceback, as `file:line in function`; None as there."""
    frames = list(_FRAME.finditer(_whole_traceback(error)))
    # The call in the body, not the frame in a library. An installed task is itself a library.
    frames = [frame for frame in frames if not frame["file"].startswith(LIBRARIES)] or frames
    return f"{frames[-1]['file']}:{frames[-1]['line']} in {frames[-1]['function']}" if frames else None


def with_place(reason: str | None, error: BaseException | None, *, max_length: int) -> str | None:
    """A reason with the place in the body that failed, if known, cut to the length.

    The place is left out if it would take more than half of the length.
    """
    place = place_in_body(error)
    if reason is None or place is None:
        return reason
    at = f" (at {place})"
    room = max_length - len(at)
    return reason[:room] + at if room >= min(len(reason), max_length // 2) else reason


def _without_ours(lines: list[str]) -> Iterator[str]:
    """The lines of a traceback without the frames of Perago's files and the lines indented below them."""
    is_ours = False
    for line in lines:
        frame = _FRAME.match(line.strip())
        if frame is not None:
            is_ours = frame["file"].startswith(_OURS)
        elif not line.startswith("    "):
            is_ours = False
        if not is_ours:
            yield line


FAILURE_REASON_MAX_LENGTH = 500
"""Characters of a reason that are kept. Conductor cuts `reasonForIncompletion` there."""

_URL_LENGTH = 60
_LONG_URL = re.compile(rf"https?://\S{{{_URL_LENGTH},}}")
_CUT = " […] "
_TAIL_LENGTH = 160
"""Characters of the end of a long reason that are kept."""

MAX_CAUSE_LENGTH = 120
"""Characters of a cause that is told in a reason. A longer one, or one of several lines, is left out."""

MAX_NAMED_ERRORS = 5
"""Number of errors of a group in its reason. They share `FAILURE_REASON_MAX_LENGTH` characters."""


def build_workspace_task_output(
    task: TaskDefinition, input_workspace: WorkspaceInput | Mapping[str, Any], published_ref: str, raw_result: object
) -> dict[str, Any]:
    """`{"workspace": …, "result": …}`: the input's repository and branch, with the published commit as `ref`.

    Args:
        input_workspace: the input, as a model or as given.
        published_ref: full commit id.
        raw_result: the body's return value; validated against the task's result model.

    Raises:
        TaskInputError: the task has no workspace, the input does not validate, or `published_ref` is blank.
        TaskExecutionError: the result does not validate.
    """
    if not task.has_workspace:
        raise TaskInputError(f"task {task.name!r} has no workspace; use build_workspace_free_task_output")
    if not _is_commit_id(published_ref):
        raise TaskInputError(
            f"task {task.name!r}: published_ref {published_ref!r} is not a commit id; give the id of the published "
            f"commit"
        )
    return workspace_output(
        parse_workspace_input(task, input_workspace), published_ref, validate_result(task, raw_result)
    )


def build_workspace_free_task_output(task: TaskDefinition, raw_result: object) -> dict[str, Any]:
    """`{"result": …}`, validated against the task's result model.

    Raises:
        TaskInputError: the task has a workspace.
        TaskExecutionError: the result does not validate.
    """
    if task.has_workspace:
        raise TaskInputError(f"task {task.name!r} has a workspace; use build_workspace_task_output")
    return {"result": validate_result(task, raw_result)}


def workspace_output(workspace_input: WorkspaceInput, ref: str, result: JsonObject) -> dict[str, Any]:
    """The output of a workspace task whose result is already validated."""
    return {"workspace": WorkspaceOutput.from_input(workspace_input, ref).model_dump(), "result": dict(result)}


def _is_commit_id(ref: object) -> bool:
    return isinstance(ref, str) and bool(ref.strip())


def completed(output: JsonObject) -> RuntimeTaskResult:
    return RuntimeTaskResult("COMPLETED", output=output)


def result_for_exception(exc: BaseException, *, max_length: int = FAILURE_REASON_MAX_LENGTH) -> RuntimeTaskResult:
    """Turn the error of an attempt into its result.

    A violated pre guard and a `TaskTerminalError` fail the task for good; any other error may be retried.

    Args:
        max_length: characters of the reason that are kept, at least 1.

    Raises:
        ValueError: `max_length` leaves no reason.
    """
    if max_length < 1:
        raise ValueError(f"max_length={max_length} leaves no reason, but a failure needs one; give 1 or more") from exc
    reason = shortened(reason_for_exception(exc), max_length)
    return RuntimeTaskResult(status_for_exception(exc), reason_for_incompletion=reason)


def shortened(reason: str, max_length: int) -> str:
    """Cut a reason to a number of characters. Long URLs are cut first, then the middle: the beginning has the cause,
    and the end has the advice."""
    if len(reason) > max_length:
        reason = _LONG_URL.sub(lambda url: f"{url[0][:_URL_LENGTH]}…", reason)
    if len(reason) <= max_length:
        return reason
    tail = min(max_length // 3, _TAIL_LENGTH) - len(_CUT)
    return (
        reason[:max_length]
        if tail < _TAIL_LENGTH // 4
        else reason[: max_length - tail - len(_CUT)] + _CUT + reason[-tail:]
    )


def status_for_exception(exc: BaseException) -> ResultStatus:
    terminal = isinstance(exc, PreGuardrailViolation | TaskTerminalError)
    return "FAILED_WITH_TERMINAL_ERROR" if terminal else "FAILED"


def reason_for_exception(exc: BaseException) -> str:
    """The error's message, masked and encodable.

    The class name replaces an empty message, and precedes messages of errors that are neither Perago's nor a
    `TaskExecutionError`, whose reason is the task author's; a short cause (`raise … from error`) follows them. The
    errors in a group follow its message. Never raises, because the attempt's status would be lost.
    """

    if is_quit(exc):
        return quit_reason()
    text = _own_reason(exc) if isinstance(exc, TaskExecutionError) else text_of(exc)
    if not text.strip():
        text = type(exc).__name__
    elif not (isinstance(exc, TaskExecutionError) or type(exc).__module__.startswith("perago.")):
        text = f"{type(exc).__name__}: {text}"
    if not isinstance(exc, PeragoError):
        text += _cause_of(exc, text)
    return encodable(f"{text}: {_named_errors(exc)}" if isinstance(exc, BaseExceptionGroup) else text)


def _cause_of(exc: BaseException, told: str) -> str:
    """The cause that an error was raised from, in parentheses; "" if the reason tells of it already."""
    if exc.__cause__ is None:
        return ""
    text = text_of(exc.__cause__)
    cause = f"{type(exc.__cause__).__name__}: {text}" if text.strip() else type(exc.__cause__).__name__
    is_plain = len(cause) <= MAX_CAUSE_LENGTH and "\n" not in cause and (not text or text not in told)
    return f" (caused by {cause})" if is_plain else ""


def _own_reason(exc: TaskExecutionError) -> str:
    """The `reason`. In a subclass of a task's module it may be no text, or raise."""
    try:
        reason: object = exc.reason
    except Exception:  # noqa: BLE001 - a property of foreign code
        reason = None
    return mask_bounded(reason) if isinstance(reason, str) and reason else text_of(exc)


def _named_errors(group: BaseExceptionGroup[BaseException]) -> str:
    errors = list(_errors_of(group))
    named = errors[:MAX_NAMED_ERRORS]
    more = len(errors) - len(named)
    each = FAILURE_REASON_MAX_LENGTH // len(named)
    told = "; ".join(reason_for_exception(error)[:each] for error in named)
    return told + (f"; and {more} more" if more else "")


def _errors_of(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """The errors in a group, at any depth, without the nested groups."""
    waiting: list[BaseException] = [group]
    while waiting:
        error = waiting.pop()
        if isinstance(error, BaseExceptionGroup):
            waiting.extend(reversed(error.exceptions))
        else:
            yield error

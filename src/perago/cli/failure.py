"""Turns an error into an exit code and a message."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import click

from perago import errors
from perago.cli.output import note, print_json, result_on_stdout, say
from perago.running.text import printable_lines
from perago.values.redaction import mask_text, traceback_of

DONE: Final = 0
TASK_FAILED: Final = 1
USAGE: Final = 2
FENCE_REFUSED: Final = 3
INTERRUPTED: Final = 130

_NOTHING_BEGUN: Final = "__perago_nothing_begun__"
"""Attribute of an error raised before anything was started; its class alone does not say so."""

_CODES: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], int], ...] = (
    ((KeyboardInterrupt, click.Abort, errors.TaskCancelledError), INTERRUPTED),
    ((errors.StaleAttemptError, errors.PublishFenceError), FENCE_REFUSED),
    (
        (
            click.ClickException,
            errors.TaskDefinitionError,
            errors.WorkflowDefinitionError,
            errors.TaskInputError,
            errors.RuntimeConfigError,
            errors.RepositoryNotFoundError,
            errors.BranchNotFoundError,
            errors.RefNotFoundError,
            errors.PrefixNotFoundError,
            errors.ObjectNameError,
            errors.WorkspaceContentError,
            errors.RunNotFoundError,
            errors.RunBusyError,
            errors.EngineUnavailableError,
            errors.TaskNotFoundError,
            errors.WorkflowStateError,
        ),
        USAGE,
    ),
)


def exit_code_of(exc: BaseException) -> int:
    """Exit code of an error that ends a command."""
    code = next((code for classes, code in _CODES if isinstance(exc, classes)), TASK_FAILED)
    return USAGE if code == TASK_FAILED and getattr(exc, _NOTHING_BEGUN, False) else code


@contextmanager
def before_start() -> Iterator[None]:
    """Mark errors raised in this context as raised before anything was changed: the exit code is not that of a failed
    task."""
    try:
        yield
    except (errors.PeragoError, OSError) as exc:
        setattr(exc, _NOTHING_BEGUN, True)
        raise


def report_failure(exc: BaseException, arguments: Sequence[str]) -> int:
    """Print the error that ended a command; returns its exit code."""
    code = exit_code_of(exc)
    message = _message(exc)
    debugging = wants_traceback() or "--debug" in _options(arguments)
    if debugging and not isinstance(exc, click.ClickException | click.Abort | KeyboardInterrupt):
        say(printable_lines(traceback_of(exc)))
    if _wants_json(arguments):
        with result_on_stdout():  # the error may be that stdout is closed
            said = {"type": _type_name(exc), "message": message, "exit_code": code}
            print_json({"error": said}, one_line=_logs_to_stdout(arguments))
    if isinstance(exc, click.UsageError) and exc.ctx is not None:
        say(exc.ctx.get_usage())
    note(f"error: {message}")
    return code


def _message(exc: BaseException) -> str:
    if isinstance(exc, click.ClickException):
        return exc.format_message()
    if isinstance(exc, errors.PeragoError):
        return str(exc) or type(exc).__name__
    if isinstance(exc, KeyboardInterrupt | click.Abort):
        return "interrupted"
    if isinstance(exc, OSError):
        return mask_text(str(exc))
    return (
        f"Perago itself failed: {type(exc).__name__}: {mask_text(str(exc))}. Please report it with the traceback that "
        f"PERAGO_TRACEBACK=1 shows"
    )


def _type_name(exc: BaseException) -> str:
    return "UsageError" if isinstance(exc, click.ClickException) else type(exc).__name__


def wants_traceback() -> bool:
    """Whether PERAGO_TRACEBACK is set."""
    return os.environ.get("PERAGO_TRACEBACK", "") not in ("", "0")


def _wants_json(arguments: Sequence[str]) -> bool:
    """Whether `--json` is given. Not from click: a command line that cannot be parsed has no options."""
    return "--json" in _options(arguments)


def _logs_to_stdout(arguments: Sequence[str]) -> bool:
    """Whether stdout is a log with one object per line: with `perago start`."""
    return list(arguments[:1]) == ["start"]


def _options(arguments: Sequence[str]) -> Sequence[str]:
    given = list(arguments)
    return given[: given.index("--")] if "--" in given else given

"""`perago run --dry-run`: run the body on its input, show its changes and discard them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import click

from perago.attempt.body import BodyCall, InvokeBody, within_limit
from perago.attempt.context import RunContext
from perago.attempt.output import result_for_exception, with_place
from perago.attempt.run import AttemptRun, Work
from perago.cli.arguments import RunArguments
from perago.cli.failure import DONE, INTERRUPTED, TASK_FAILED, before_start
from perago.cli.output import MAX_LISTED, note, print_json, say
from perago.cli.progress import log_lines_on, open_display
from perago.cli.run.task import choose_body, show_traceback, stdout_for_the_result
from perago.errors import required
from perago.running.progress import describe_counts
from perago.running.request import RunRequest
from perago.running.text import printable, reason_within, size_text
from perago.running.watch import Interrupts, RunObserver, beside_note
from perago.values.json_text import JsonObject
from perago.values.models import Changes
from perago.values.spec import WorkspaceSpec


@dataclass(frozen=True)
class _WithoutEngine:
    """An attempt without an engine."""

    status: str = "IN_PROGRESS"
    workflow_instance_id: str = "dry-run"
    task_id: str = "dry-run"
    retry_count: int = 0


class _Measuring:
    """Runs a body and records the sizes of the workspace's files before and after it."""

    def __init__(self, invoke_body: InvokeBody) -> None:
        self.before: dict[str, int] = {}
        self.after: dict[str, int] = {}
        self._invoke_body = invoke_body

    def __call__(self, call: BodyCall, /) -> JsonObject:
        workspace = required(call.workspace, "only a task with a workspace is rehearsed")
        self.before = _sizes(workspace)
        result = self._invoke_body(call)
        self.after = _sizes(workspace)
        return result


def rehearse(job: RunRequest, arguments: RunArguments) -> int:
    """Run a job's body and show its changes; returns the exit code."""
    spec = expect_workspace(job, "--dry-run")
    measuring: list[_Measuring] = []

    def measure(invoke_body: InvokeBody) -> InvokeBody:
        measuring.append(_Measuring(invoke_body))
        return measuring[0]

    rehearsed = rehearsed_run(job, arguments, measure)
    if isinstance(rehearsed.outcome, BaseException):
        return tell_failure(rehearsed.outcome, rehearsed, job, arguments)
    _tell(rehearsed.outcome, measuring[0], arguments)
    beside = rehearsed.watch.beside
    if beside and not rehearsed.outcome.changes and not spec.read_only:
        note(beside_note(beside))
    return DONE


def expect_workspace(job: RunRequest, option: str) -> WorkspaceSpec:
    spec = job.task.workspace
    if spec is None or job.repository is None or job.input_data is None:
        raise click.UsageError(
            f"task {job.task.name!r} has no workspace and publishes nothing anyway; leave {option} out"
        )
    job.expect_sandbox()
    return spec


@dataclass(frozen=True)
class Rehearsed:
    """What came of a body, and what was seen of it."""

    outcome: Work | BaseException
    watch: RunObserver
    is_cancelled: bool


def rehearsed_run(job: RunRequest, arguments: RunArguments, look: Callable[[InvokeBody], InvokeBody]) -> Rehearsed:
    """Run a job's body on its input, up to its changes.

    Args:
        look: puts something around the call of the body.
    """
    spec = required(job.task.workspace, "it is checked")
    address = required(job.repository, "it is checked")
    input_data = required(job.input_data, "it is checked")
    cancelled = threading.Event()
    with ExitStack() as stack:
        display = stack.enter_context(open_display(still=arguments.debug))
        stack.enter_context(log_lines_on(display))
        stack.enter_context(Interrupts(cancelled.set, at_once=arguments.debug))
        stack.enter_context(stdout_for_the_result(arguments))
        watch = RunObserver(display, cancelled)
        invoke_body = choose_body(job, arguments, cancelled, stack, watch)
        with before_start():
            repository = stack.enter_context(address.open(watch))
        context = RunContext(
            invoke_body=look(within_limit(invoke_body)),
            invoke_guards=invoke_body,
            is_cancelled=cancelled.is_set,
            keep_failed_workspace=arguments.keep,
            observer=watch,
        )
        attempt = AttemptRun(job.task, spec, _WithoutEngine(), job.config.workspace_root, context)
        outcome: Work | BaseException
        try:
            outcome = attempt.rehearse(
                input_data, repository.download_workspace, repository.list_workspace, repository.read_history
            )
        except KeyboardInterrupt:
            raise
        except BaseException as exc:  # noqa: BLE001 - whatever ends a body is its failure
            outcome = exc
    return Rehearsed(outcome, watch, cancelled.is_set())  # told only once stdout is for the result again


def _tell(work: Work, body: _Measuring, arguments: RunArguments) -> None:
    rows = list(_rows(work.changes, body))
    if arguments.as_json:
        changes = [{"change": kind, "path": path, "before": old, "after": new} for kind, path, old, new in rows]
        print_json({"dry_run": True, "result": work.result, "changes": changes})
    else:
        print_json(work.result)
        for row in rows[:MAX_LISTED]:
            say(_line(*row))
        if len(rows) > MAX_LISTED:
            note(f"and {len(rows) - MAX_LISTED} more; --json lists them all")
    counts = {name: len(getattr(work.changes, name)) for name in ("added", "modified", "deleted")}
    note(f"Dry run: {describe_counts(counts)}. Nothing was published.")


def _rows(changes: Changes, body: _Measuring) -> Iterator[tuple[str, str, int | None, int | None]]:
    """(kind of change, path, bytes before, bytes after) of each file; None if it does not exist."""
    for kind in ("added", "modified", "deleted"):
        for path in getattr(changes, kind):
            yield kind, path, body.before.get(path), body.after.get(path)


def _line(kind: str, path: str, before: int | None, after: int | None) -> str:
    sizes = [size_text(size) for size in (before, after) if size is not None]
    return f"  {kind:<9} {printable(path)}  {' -> '.join(sizes)}"


def tell_failure(exc: BaseException, rehearsed: Rehearsed, job: RunRequest, arguments: RunArguments) -> int:
    watch, cancelled = rehearsed.watch, rehearsed.is_cancelled
    code = INTERRUPTED if cancelled else TASK_FAILED
    max_length = job.config.failure_reason_max_length
    result = result_for_exception(exc, max_length=max_length)
    reason = with_place(result.reason_for_incompletion, exc, max_length=max_length)
    show_traceback(exc, arguments)
    if arguments.as_json:
        print_json({"dry_run": arguments.dry_run, "exit_code": code, "reason": reason, "kept": watch.kept})
    word = "was cancelled" if cancelled else "failed"
    told = reason_within(job.task.name, reason)
    note(f"error: task {job.task.name} {word}: {told}")
    if watch.kept is not None:
        note(f"Its workspace was kept: {watch.kept}")
    return code


def _sizes(root: Path) -> dict[str, int]:
    """Size in bytes of each file below a directory. Links are not followed."""
    found = {}
    for directory, _, names in os.walk(root):
        for name in names:
            path = Path(directory, name)
            found[path.relative_to(root).as_posix()] = path.lstat().st_size
    return found

"""`perago run --dry-run`: run the body on its input, show its changes and discard them. `perago check --twice` too."""

from __future__ import annotations

import hashlib
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
from perago.running.sameness import MAX_LOOKED_INTO, BodyRun, Made, differences
from perago.running.text import printable, reason_within, size_text
from perago.running.watch import Interrupts, RunObserver, beside_note
from perago.values.json_text import JsonObject
from perago.values.models import Changes
from perago.values.spec import WorkspaceSpec
from perago.workspace.digest import CHUNK_BYTES
from perago.workspace.patterns import Selection
from perago.workspace.scan import FileStat, scan_files


@dataclass(frozen=True)
class _Rehearsed:
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


class _Looking:
    """Runs a body and looks at the files that it has made or changed."""

    def __init__(self, invoke_body: InvokeBody) -> None:
        self.made: dict[str, Made] = {}
        self._invoke_body = invoke_body
        self._room = MAX_LOOKED_INTO

    def __call__(self, call: BodyCall, /) -> JsonObject:
        workspace = required(call.workspace, "only a task with a workspace is rehearsed")
        before = scan_files(workspace, Selection())
        result = self._invoke_body(call)
        for path, stat in scan_files(workspace, Selection()).items():
            if before.get(path) != stat:
                self.made[path] = self._look_at(workspace / path, stat)
        return result

    def _look_at(self, path: Path, stat: FileStat) -> Made:
        hasher = hashlib.sha256(b"x" if stat.executable else b"-")
        kept = path.read_bytes() if stat.size <= self._room else None
        self._room -= 0 if kept is None else len(kept)
        if kept is not None:
            hasher.update(kept)
            return Made(hasher.hexdigest(), kept)
        with path.open("rb") as file:
            while piece := file.read(CHUNK_BYTES):
                hasher.update(piece)
        return Made(hasher.hexdigest(), None)


def rehearse(job: RunRequest, arguments: RunArguments) -> int:
    """Run a job's body and show its changes; returns the exit code."""
    spec = _expect_workspace(job, "--dry-run")
    measuring: list[_Measuring] = []

    def measure(invoke_body: InvokeBody) -> InvokeBody:
        measuring.append(_Measuring(invoke_body))
        return measuring[0]

    rehearsed = _rehearsed(job, arguments, measure)
    if isinstance(rehearsed.outcome, BaseException):
        return _tell_failure(rehearsed.outcome, rehearsed, job, arguments)
    _tell(rehearsed.outcome, measuring[0], arguments)
    beside = rehearsed.watch.beside
    if beside and not rehearsed.outcome.changes and not spec.read_only:
        note(beside_note(beside))
    return DONE


def rehearse_twice(job: RunRequest, arguments: RunArguments) -> int:
    """Run a job's body twice and show what differs; returns the exit code."""
    _expect_workspace(job, "--twice")
    looked: list[_Looking] = []
    works: list[Work] = []

    def look(invoke_body: InvokeBody) -> InvokeBody:
        looked.append(_Looking(invoke_body))
        return looked[-1]

    for _ in range(2):
        rehearsed = _rehearsed(job, arguments, look)
        if isinstance(rehearsed.outcome, BaseException):
            return _tell_failure(rehearsed.outcome, rehearsed, job, arguments)
        works.append(rehearsed.outcome)
    found = differences(*(_run_of(work, looking) for work, looking in zip(works, looked, strict=True)))
    if arguments.as_json:
        rows = [{"what": one.what, "how": one.how, "hint": one.hint or None} for one in found]
        print_json({"same": not found, "differences": rows})
    for one in [] if arguments.as_json else found[:MAX_LISTED]:
        say(f"  {printable(one.what)}  {one.how}{f': {one.hint}' if one.hint else ''}")
    if found:
        more = len(found) - MAX_LISTED
        listed = f" (and {more} more; --json lists them all)" if more > 0 else ""
        note(f"Two runs of task {job.task.name} on the same input differ{listed}. Nothing was published.")
        return TASK_FAILED
    note(f"Both runs of task {job.task.name} made the same files and the same result. Nothing was published.")
    return DONE


def _run_of(work: Work, looking: _Looking) -> BodyRun:
    made = {path: looking.made[path] for path in work.changes.written if path in looking.made}
    return BodyRun(work.result, made, work.changes.deleted)


def _expect_workspace(job: RunRequest, option: str) -> WorkspaceSpec:
    spec = job.task.workspace
    if spec is None or job.repository is None or job.input_data is None:
        raise click.UsageError(
            f"task {job.task.name!r} has no workspace and publishes nothing anyway; leave {option} out"
        )
    job.expect_sandbox()
    return spec


@dataclass(frozen=True)
class _RehearsedRun:
    """What came of a body, and what was seen of it."""

    outcome: Work | BaseException
    watch: RunObserver
    is_cancelled: bool


def _rehearsed(job: RunRequest, arguments: RunArguments, look: Callable[[InvokeBody], InvokeBody]) -> _RehearsedRun:
    """Run a job's body once.

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
        attempt = AttemptRun(job.task, spec, _Rehearsed(), job.config.workspace_root, context)
        outcome: Work | BaseException
        try:
            outcome = attempt.rehearse(
                input_data, repository.download_workspace, repository.list_workspace, repository.read_history
            )
        except KeyboardInterrupt:
            raise
        except BaseException as exc:  # noqa: BLE001 - whatever ends a body is its failure
            outcome = exc
    return _RehearsedRun(outcome, watch, cancelled.is_set())  # told only once stdout is for the result again


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


def _tell_failure(exc: BaseException, rehearsed: _RehearsedRun, job: RunRequest, arguments: RunArguments) -> int:
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

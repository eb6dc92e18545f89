"""What a repository tells of its past: the commits of a branch and the recorded runs, for commands and for Python."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Self

from perago.running.repos.address import given_repository, head_of, local_engine
from perago.stores.provider import RepositoryAddress
from perago.values.json_text import JsonObject
from perago.workflows.graph import END_TASK

if TYPE_CHECKING:
    from perago.engines.local import RunSummary
    from perago.ports import LogEntry
    from perago.values.history import Stamp
    from perago.workflows.transaction import Published

DEFAULT_LISTED = 20
"""Commits or runs that are listed unless another number is given."""


@dataclass(frozen=True)
class TaskCommit:
    """What a task of a transactional run published.

    Attributes:
        path: the task within its run, such as `train/fit`.
        commit: full id.
    """

    path: str
    commit: str


@dataclass(frozen=True, kw_only=True)
class CommitSummary:
    """A commit of a branch, as `perago.log` lists it. Fields of a task are None if no attempt made the commit.

    Attributes:
        commit, parents: full ids.
        kind: "publication" of what a task or a transactional run has changed; "seal", an empty commit that says which
            commit a task completed with; or "commit" of somebody else.
        time: with its time zone, UTC.
        author, subject: who committed, and the first line of the message.
        added, modified, deleted: number of paths that differ from the first parent.
        run_id: the run, or the instance of the workflow. With sub-workflows, the outermost one.
        task_name: name of the task; of the workflow, if a transactional run is published as a whole.
        path: the task within its run, such as `train/fit`.
        tries: number of the try, from 1.
        input_ref: full id of the commit that the attempt started from.
        params, result: JSON objects with secrets masked; None also if they were too large to keep (16 KiB). Of a
            transactional run as a whole, those of the step that ends it; see `workflow_params` and `tasks`.
        completes: the commit that a seal's task completed with.
        replaced: ids of commits of abandoned tries, whose changes this publication leaves out.
        duration: seconds from the start of the attempt.
        worker: where it ran.
        workflow_params: params of the outermost workflow, as `params`; None also if they are unknown.
        sandbox: mode of the body's sandbox; None if it had none.
        cached_from: full id of the commit whose result and outputs were taken in place of a body's; None if a body ran.
        tasks: of a transactional run that is published as a whole, what its tasks published, oldest first, the newest
            50 of them; None of another commit.
        code_commit: full id of the git commit of the task's code; code_dirty: whether the code differed from it. None
            if the code was in no git repository.
    """

    commit: str
    parents: tuple[str, ...]
    kind: Literal["commit", "publication", "seal"]
    time: datetime
    author: str
    subject: str
    added: int
    modified: int
    deleted: int
    run_id: str | None = None
    task_name: str | None = None
    path: str | None = None
    tries: int | None = None
    input_ref: str | None = None
    params: JsonObject | None = None
    result: JsonObject | None = None
    completes: str | None = None
    replaced: tuple[str, ...] = ()
    duration: float | None = None
    worker: str | None = None
    workflow_params: JsonObject | None = None
    code_commit: str | None = None
    code_dirty: bool | None = None
    sandbox: str | None = None
    cached_from: str | None = None
    tasks: tuple[TaskCommit, ...] | None = None

    @classmethod
    def of(cls, entry: LogEntry) -> Self:
        commit = cls(
            commit=entry.id,
            parents=entry.parents,
            kind=entry.kind,
            time=entry.time,
            author=entry.author,
            subject=entry.subject,
            added=entry.added,
            modified=entry.modified,
            deleted=entry.deleted,
        )
        return commit if entry.stamp is None else replace(commit, **_of_stamp(entry.stamp))


def _of_stamp(stamp: Stamp) -> dict[str, Any]:
    run = published_run(stamp)
    run_id, path = stamp.logical_task
    return {
        "run_id": run_id,
        "task_name": stamp.task if run is None else run.workflow,
        "path": path,
        "tries": stamp.retry_count + 1,
        "input_ref": stamp.input_ref,
        "params": stamp.params,
        "result": stamp.result,
        "tasks": None if run is None else tuple(TaskCommit(task.task, task.ref) for task in run.tasks),
        "completes": stamp.completes,
        "replaced": stamp.abandoned,
        "duration": stamp.duration_ms / 1000,
        "worker": stamp.worker,
        "workflow_params": stamp.workflow_params,
        "code_commit": stamp.code_commit,
        "code_dirty": stamp.code_dirty,
        "sandbox": stamp.sandbox,
        "cached_from": stamp.cached_from,
    }


def published_run(stamp: Stamp) -> Published | None:
    """The transactional run that a commit publishes; None if it is of a task, or was too large to tell."""
    if stamp.task != END_TASK or stamp.result is None:
        return None
    from pydantic import ValidationError

    from perago.workflows.transaction import Published

    try:
        return Published.model_validate(stamp.result)
    except ValidationError:
        return None


def log_of(address: RepositoryAddress, branch: str, limit: int) -> list[LogEntry]:
    """The newest commits of a branch, on its first-parent line, newest first.

    Raises:
        RepositoryNotFoundError, BranchNotFoundError: it does not exist.
    """
    with address.open() as repository:
        return list(repository.log(head_of(repository, branch, address), limit))


def runs_of(repo: str | None) -> Iterator[RunSummary]:
    """The recorded runs on a repository, newest first; without one, those of tasks without a workspace.

    Raises:
        RepositoryNotFoundError: it does not exist.
    """
    return local_engine(given_repository(repo)).runs()

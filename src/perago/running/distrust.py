"""Says in the history that a result is not to be used again, so that every host sees it."""

from __future__ import annotations

import os
import platform
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from perago.errors import HeadMovedError, TaskInputError
from perago.ports import Repository
from perago.running.repos.address import head_of
from perago.stores.provider import RepositoryAddress
from perago.values.history import Seal, Stamp
from perago.values.models import AttemptIdentity, Changes, TaskExecution, WorkspaceInput
from perago.values.spec import WorkspaceSpec
from perago.values.stamps import json_digest

TASK = "perago.distrust"
"""The task in the stamp of such a commit."""

MAX_TRIES = 5
"""Tries, if others move the branch."""


@dataclass(frozen=True)
class _Attempt:
    """What a store needs to know of an attempt. No engine has it."""

    workflow_instance_id: str
    task_id: str
    retry_count: int = 0
    status: str = "IN_PROGRESS"


def distrust(address: RepositoryAddress, branch: str, commit: str, reason: str, *, undo: bool = False) -> str:
    """Commit a seal that says so to a branch. Changes no data.

    Args:
        commit: a publication of a task with a cache, or the commit that its result was taken from.
        undo: trust it again.

    Returns:
        the full id of the seal.

    Raises:
        BranchNotFoundError, RefNotFoundError: it does not exist.
        TaskInputError: no task made the commit.
        HeadMovedError: others moved the branch at each try.
    """
    with address.open() as repository:
        named = repository.resolve(commit)
        made = next(repository.log(named, 1)).stamp
        if made is None:
            raise TaskInputError(
                f"commit {named[:12]} is of no task, so that no result of it is ever used. `perago log` shows who made "
                f"which commit"
            )
        adopted = None if made.completes == made.input_ref else made.completes
        origin = made.cached_from or adopted or named
        for tries in range(MAX_TRIES):
            head = head_of(repository, branch, address)
            stamp = stamp_of_distrust(branch, head, origin, reason, undo=undo)
            try:
                return _publish(
                    repository,
                    WorkspaceInput(repository=address.name, branch=branch, refType="commit", ref=head),
                    stamp,
                )
            except HeadMovedError:
                if tries == MAX_TRIES - 1:
                    raise
    raise AssertionError("the last try returns or raises")


def _publish(repository: Repository, target: WorkspaceInput, stamp: Stamp) -> str:
    attempt = _Attempt(stamp.workflow_instance_id, stamp.task_id)
    execution = TaskExecution(
        attempt=attempt,
        identity=AttemptIdentity.of(attempt),
        execution_id=stamp.execution_id,
        stamp=stamp,
        changes=Changes(),
        plan=Seal(target.ref, completes=stamp.distrusts or stamp.trusts or ""),
    )
    staged = repository.stage_workspace(Path(), target, WorkspaceSpec(), execution)
    try:
        return repository.publish_workspace(staged, target, WorkspaceSpec(), execution)
    finally:
        repository.cleanup_staging(staged)


def stamp_of_distrust(branch: str, head: str, commit: str, reason: str, *, undo: bool = False) -> Stamp:
    """The stamp of a seal that says so. The store adds the head, and the commit that is sealed."""
    name, result = uuid.uuid4().hex, {"reason": reason}
    return Stamp(
        task=TASK,
        workflow_instance_id=name,
        reference_task_name=TASK,
        task_id=name,
        retry_count=0,
        scheduled_time=None,
        poll_count=None,
        execution_id=name,
        input_ref=head,
        branch=branch,
        params_digest=json_digest({}),
        code_digest="",
        result_digest=json_digest(result),
        result=result,
        result_exact=True,
        started_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        worker=f"{platform.node()}-{os.getpid()}",
        distrusts=None if undo else commit,
        trusts=commit if undo else None,
    )

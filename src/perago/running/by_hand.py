"""Commits with a stamp that a person makes by a command, not an engine."""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from perago.errors import HeadMovedError, StoreError
from perago.ports import Repository, ReusableStore
from perago.running.repos.address import head_of
from perago.stores.provider import RepositoryAddress
from perago.values.history import Plan, Stamp
from perago.values.json_text import JsonObject
from perago.values.models import AttemptIdentity, Changes, TaskExecution, WorkspaceInput
from perago.values.spec import WorkspaceSpec
from perago.values.stamps import json_digest

MAX_TRIES = 5
"""Tries, if others move the branch."""


@dataclass(frozen=True)
class _Attempt:
    """What a store needs to know of an attempt. No engine has it."""

    workflow_instance_id: str
    task_id: str
    retry_count: int = 0
    status: str = "IN_PROGRESS"


@dataclass(frozen=True, kw_only=True)
class ByHand:
    """What is to be committed on a head.

    Attributes:
        source: full id of the commit that has the content of `changes.written`.
    """

    stamp: Stamp
    plan: Plan
    changes: Changes = field(default_factory=Changes)
    source: str | None = None


def commit_by_hand(
    repository: Repository, address: RepositoryAddress, branch: str, decide: Callable[[str], ByHand]
) -> str:
    """Commit to a branch, again from the new head if others move it. Returns the full id of the commit.

    Args:
        decide: what to commit on a head, by its full id.

    Raises:
        BranchNotFoundError: it does not exist. HeadMovedError: others moved it at each try. What `decide` raises.
    """
    for tries in range(MAX_TRIES):
        head = head_of(repository, branch, address)
        target = WorkspaceInput(repository=address.name, branch=branch, refType="commit", ref=head)
        try:
            return _publish(repository, target, decide(head))
        except HeadMovedError:
            if tries == MAX_TRIES - 1:
                raise
    raise AssertionError("the last try returns or raises")


def _publish(repository: Repository, target: WorkspaceInput, made: ByHand) -> str:
    attempt = _Attempt(made.stamp.workflow_instance_id, made.stamp.task_id)
    execution = TaskExecution(
        attempt=attempt,
        identity=AttemptIdentity.of(attempt),
        execution_id=made.stamp.execution_id,
        stamp=made.stamp,
        changes=made.changes,
        plan=made.plan,
    )
    if made.source is None:
        staged = repository.stage_workspace(Path(), target, WorkspaceSpec(), execution)
    elif isinstance(repository, ReusableStore):
        staged = repository.stage_copy(made.source, target, WorkspaceSpec(), execution)
    else:
        raise StoreError(f"the store of {target.repository} cannot commit the content of an earlier commit again")
    try:
        return repository.publish_workspace(staged, target, WorkspaceSpec(), execution)
    finally:
        repository.cleanup_staging(staged)


def stamp_by_hand(task: str, branch: str, head: str, result: JsonObject, **fields: Any) -> Stamp:
    """The stamp of such a commit. The store adds the head.

    Args:
        task: names what was done, such as `perago.distrust`.
        fields: further fields of the stamp.
    """
    name = uuid.uuid4().hex
    return Stamp(
        task=task,
        workflow_instance_id=name,
        reference_task_name=task,
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
        **fields,
    )

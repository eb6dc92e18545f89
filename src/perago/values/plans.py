"""What all stores do with a plan: decide without an engine, stamp the commit, explain a refusal."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Literal, TypeVar, assert_never

from perago.errors import PublishFenceError, StoreError, UnsettledFenceError
from perago.values.history import (
    CommitFacts,
    Complete,
    Conflict,
    History,
    Merge,
    Plan,
    Publish,
    Refuse,
    Seal,
    Stamp,
    WritePlan,
)
from perago.values.models import Changes, TaskExecution, WorkspaceInput
from perago.values.spec import WorkspaceSpec

REFUSAL = "Not published: "
"""The beginning of each reason of the publish fence that refers to others' commits."""

MAX_HISTORY = 10_000
"""Commits that are read between a head and an input ref. A task with an older input is refused (design, step 1)."""

T = TypeVar("T")

Subject = Literal["task", "run"]

_NAMED_IN_A_REFUSAL = 2
_LISTED_CONFLICTS = 10
_MAX_SUSPECTS = 100


def plan_without_engine(history: History) -> Publish | Refuse:
    """Decide for a store without a plan. Without an engine no stamp can be judged, so every commit is foreign.

    Seals are skipped: they have no content.
    """
    foreign = history.between
    return Refuse(history.head, foreign) if foreign else Publish(history.head)


def writing(plan: Plan, workspace_input: WorkspaceInput) -> WritePlan:
    """The plan, for staging.

    Raises:
        PublishFenceError: it is a refusal.
        StoreError: it writes nothing.
    """
    match plan:
        case Publish() | Merge() | Seal():
            return plan
        case Refuse():
            raise refusal(plan, workspace_input.branch, workspace_input.ref)
        case Complete():
            raise StoreError("a Complete plan writes nothing, so there is nothing to stage")
    assert_never(plan)


def noop_commit(plan: Plan, workspace_input: WorkspaceInput, *, decided_by_store: bool) -> str:
    """The id of the commit that an attempt without changes completes with.

    Args:
        decided_by_store: the plan is of `plan_without_engine`, where `Publish` means that nobody else has committed.

    Raises:
        PublishFenceError: the plan is a refusal.
        StoreError: it would write.
    """
    match plan:
        case Complete(ref):
            return ref
        case Refuse():
            raise refusal(plan, workspace_input.branch, workspace_input.ref)
        case Publish() if decided_by_store:
            return workspace_input.ref
    raise StoreError(f"an attempt without changes cannot carry out the plan {type(plan).__name__}")


def stamp_for(execution: TaskExecution, plan: WritePlan) -> Stamp:
    """The stamp of the commit that a plan makes. A seal takes code and result from the commit it completes with.

    Raises:
        StoreError: the execution has no stamp.
    """
    stamp = execution.stamp
    if stamp is None:
        raise StoreError("the execution has no stamp, without which a publication cannot be recognized; give it one")
    if not isinstance(plan, Seal):
        return stamp.on(plan.head, plan.abandoned)
    source = plan.source or stamp
    return replace(
        stamp.on(plan.head),
        completes=plan.completes,
        code_digest=source.code_digest,
        result=source.result,
        result_digest=source.result_digest,
        result_exact=source.result_exact,
        cache_key=source.cache_key,
        cache_parts=source.cache_parts,
        cache_proof=source.cache_proof,
        cached_from=source.cached_from,
    )


def changes_for(execution: TaskExecution, plan: WritePlan) -> Changes:
    """The changes that a plan uploads: those of the execution, or none for a seal.

    Raises:
        StoreError: the execution has no changes.
    """
    if isinstance(plan, Seal):
        return Changes()
    if execution.changes is None:
        raise StoreError("the execution has no changes; stage after the diff")
    return execution.changes


def compared(plan: Merge) -> tuple[str, ...]:
    """The commits whose changes a merge needs, oldest first: the foreign ones, or all if a foreign one replaced any."""
    return plan.line if any(name in plan.foreign for name, _ in plan.replaced) else plan.foreign


def foreign_changes(plan: Merge, changes: Mapping[str, Mapping[str, T | None]]) -> list[dict[str, T | None]]:
    """The changes of each foreign commit, oldest first: path -> new entry, None if deleted.

    These are its changes to its first parent, plus the paths last changed by an abandoned commit that it replaced. It
    wrote or undid those paths in the same way, which would be lost without the abandoned commit.

    Args:
        changes: to the first parent, by commit, for all commits that `compared` returns.
    """
    replaced, foreign = {name: frozenset(over) for name, over in plan.replaced}, frozenset(plan.foreign)
    last: dict[str, tuple[str, T | None]] = {}
    brought: list[dict[str, T | None]] = []
    for name in compared(plan):
        found = dict(changes[name])
        if over := replaced.get(name):
            found = {path: entry for path, (by, entry) in last.items() if by in over} | found
        if name in foreign:
            brought.append(found)
        last |= {path: (name, entry) for path, entry in found.items()}
    return brought


def suspects(plan: Merge) -> tuple[str, ...]:
    """The foreign commits that are searched for those that changed a path, oldest first: the newest 100."""
    return plan.foreign[-_MAX_SUSPECTS:]


def conflict(found: Conflict, plan: Merge) -> PublishFenceError:
    """The error for paths changed both by this attempt and by others, in `snapshot` isolation."""
    named = _named([commit for commit in plan.commits if commit.id in found.commits])
    if not named and len(plan.commits) > _MAX_SUSPECTS:
        named = f"a commit before the newest {_MAX_SUSPECTS}"
    return _refused(plan)(
        f"{REFUSAL}others have changed {len(found.paths)} of the paths that this attempt changed: "
        f"{_listed(found.paths)}. Nothing is lost{f'; theirs is in {named}' if named else ''}. Run the task again from "
        f"the current head"
    )


def _named(commits: Sequence[CommitFacts]) -> str:
    """The newest of some commits, whose they are and when they were made, and the number of the others."""
    newest = "; ".join(map(_describe, commits[-_NAMED_IN_A_REFUSAL:]))
    more = len(commits) - _NAMED_IN_A_REFUSAL
    return newest + (f"; and {more} more" if more > 0 else "")


def _listed(paths: Collection[str]) -> str:
    """The first of some paths, quoted, and the number of the others."""
    listed = ", ".join(repr(path) for path in islice(paths, _LISTED_CONFLICTS))
    more = len(paths) - _LISTED_CONFLICTS
    return listed + (f", and {more} more" if more > 0 else "")


def refusal(
    refuse: Refuse, branch: str, base: str, spec: WorkspaceSpec | None = None, subject: Subject = "task"
) -> PublishFenceError:
    """The error for a `Refuse`. It names the newest foreign commits and what to do.

    Args:
        spec: the task's; None if nothing could tell what the task could see.
        subject: what is refused.
    """
    listed = _named(refuse.foreign)
    where = f"(input {base[:12]}, head {refuse.head[:12]})"
    if refuse.conflict is not None:
        return _refused(refuse)(
            f"{REFUSAL}on branch {branch!r} others have changed what this {subject} could see, "
            f"{_listed(refuse.conflict.paths)}: {listed} {where}. Nothing is lost. Run the {subject} again from the "
            f"current head, or narrow its prefix or patterns"
        )
    return _refused(refuse)(
        f"{REFUSAL}branch {branch!r} has commits that this attempt has not seen: {listed} {where}. Nothing is "
        f"lost. Run the {subject} again from the current head{_merging(spec)}"
    )


def _refused(plan: Refuse | Merge) -> type[PublishFenceError]:
    return UnsettledFenceError if plan.unsettled else PublishFenceError


def _merging(spec: WorkspaceSpec | None) -> str:
    if spec is None:
        return ". To merge with changes to other paths, pass read_history= and validate_reads= to the attempt"
    if spec.isolation == "exclusive":
        return ", or declare isolation='serializable' to merge with changes to what the task cannot see"
    return ""


def input_not_on_branch(branch: str, base: str, head: str) -> PublishFenceError:
    """The error for an input ref that is not on the branch's first-parent line."""
    return PublishFenceError(
        f"{REFUSAL}input {base[:12]} is not among the last {MAX_HISTORY} first-parent commits of branch "
        f"{branch!r} (head {head[:12]}). Give a commit of this branch as input ref. If the branch was reset, start "
        f"again from its head"
    )


def _describe(commit: CommitFacts) -> str:
    """Whose commit it is, and when it was made."""
    stamp = commit.counting_stamp
    at = "" if commit.time is None else f" at {commit.time:%Y-%m-%d %H:%M:%S %z}"
    if stamp is not None:
        return f"{commit.id[:12]} published by task {stamp.task!r} (workflow {stamp.logical_task[0]}){at}"
    made_by = f" by {commit.author}" if commit.author else ""
    return f"{commit.id[:12]}{made_by}{at}" + (f" ({commit.subject})" if commit.subject else "")

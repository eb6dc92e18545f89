"""What every store does alike with a plan: decide without an engine, stamp the commit, say why it is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from perago.errors import PublishFenceError, StoreError, UnsettledFenceError
from perago.values.history import CommitFacts, History, Merge, Publish, Refuse, Seal, Stamp, WritePlan
from perago.values.models import Changes, TaskExecution
from perago.values.spec import WorkspaceSpec

MAX_HISTORY = 10_000
"""Commits that are scanned between a head and an input ref; a task whose input is older is refused (design, step 1)."""

T = TypeVar("T")

_NAMED_IN_A_REFUSAL = 3
_LISTED_CONFLICTS = 10


def plan_without_engine(history: History) -> Publish | Refuse:
    """Decide for a store that was given no plan: no engine tells of any stamp, so every commit between is foreign.

    Seals are passed over: they are ours, and have no content of their own.
    """
    foreign = history.between
    return Refuse(history.head, foreign) if foreign else Publish(history.head)


def stamp_for(execution: TaskExecution, plan: WritePlan) -> Stamp:
    """The stamp of the commit that a plan makes; on a seal, with the code and result of what it completes with.

    Raises:
        StoreError: the execution has no stamp.
    """
    stamp = execution.stamp
    if stamp is None:
        raise StoreError("the execution has no stamp, and a publication without one could never be told from others")
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
    )


def changes_for(execution: TaskExecution, plan: WritePlan) -> Changes:
    """What a plan has to upload: the execution's changes; nothing for a seal.

    Raises:
        StoreError: the execution does not say what changed.
    """
    if isinstance(plan, Seal):
        return Changes()
    if execution.changes is None:
        raise StoreError("the execution does not say what changed; stage after the diff")
    return execution.changes


def compared(plan: Merge) -> tuple[str, ...]:
    """Commits whose changes a merge needs, oldest first: the foreign ones; if some of these replaced others, all."""
    return plan.line if any(name in plan.foreign for name, _ in plan.replaced) else plan.foreign


def foreign_changes(plan: Merge, changes: Mapping[str, Mapping[str, T | None]]) -> list[dict[str, T | None]]:
    """What each foreign commit brings, oldest first: path -> new entry, None where it is deleted.

    That is what it changed of its first parent, and each path that an abandoned commit which it replaced had changed
    last: it wrote that alike, or undid it alike. With the abandoned commit left out, it would be lost.

    Args:
        changes: of the first parent, by commit: of all that are `compared`.
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


def conflict(paths: Iterable[str], plan: Merge) -> PublishFenceError:
    """The error for paths that both this attempt and others changed, in `snapshot` isolation."""
    found = sorted(paths)
    listed = ", ".join(repr(path) for path in found[:_LISTED_CONFLICTS])
    more = len(found) - _LISTED_CONFLICTS
    return _refused(plan)(
        f"{len(found)} of the paths that this attempt changed were changed by others since its input: {listed}"
        + (f", and {more} more" if more > 0 else "")
        + ". Nothing was published and nothing is lost. Run the task again from the present head"
    )


def refusal(refuse: Refuse, branch: str, base: str, spec: WorkspaceSpec | None = None) -> PublishFenceError:
    """The error that a `Refuse` ends in; it names the newest foreign commits and what to do.

    Args:
        spec: the task's, where an attempt read the history and decided. None: the store did, which merges nothing.
    """
    newest = [_describe(commit) for commit in refuse.foreign[-_NAMED_IN_A_REFUSAL:]]
    more = len(refuse.foreign) - len(newest)
    listed = "; ".join(newest) + (f"; and {more} more" if more else "")
    return _refused(refuse)(
        f"branch {branch!r} has moved from input {base[:12]} to {refuse.head[:12]} by commits that are not this "
        f"attempt's to replace: {listed}. Nothing was published and nothing is lost. Run the task again from the "
        f"present head{_merging(spec)}"
    )


def _refused(plan: Refuse | Merge) -> type[PublishFenceError]:
    return UnsettledFenceError if plan.unsettled else PublishFenceError


def _merging(spec: WorkspaceSpec | None) -> str:
    if spec is None:
        return (
            ", or have changes to other paths merged with: that takes read_history= for the attempt, and "
            "isolation='snapshot' for the task"
        )
    if spec.isolation == "snapshot":
        return ""
    return ", or declare isolation='snapshot' if changes to other paths may be merged with"


def input_not_on_branch(branch: str, base: str, head: str) -> PublishFenceError:
    """The error for an input ref that the branch's first-parent line does not reach."""
    return PublishFenceError(
        f"input {base[:12]} is not among the last {MAX_HISTORY} first-parent commits of branch {branch!r} (head "
        f"{head[:12]}). Nothing was published. Give a commit of this branch as input ref; if the branch was reset, "
        f"start again from its head"
    )


def _describe(commit: CommitFacts) -> str:
    stamp = commit.counting_stamp
    if stamp is not None:
        return f"{commit.id[:12]} published by task {stamp.task!r} (workflow {stamp.workflow_instance_id})"
    made_by = f" by {commit.author}" if commit.author else ""
    return f"{commit.id[:12]}{made_by}" + (f" ({commit.subject})" if commit.subject else "")

"""Undoes what a commit or a run has changed, by a publication forward."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from perago.asking.past import Past, Step
from perago.errors import PublishFenceError, StoreError, TaskInputError
from perago.ports import CommitEntry
from perago.running.by_hand import ByHand, commit_by_hand, stamp_by_hand
from perago.values.history import Publish
from perago.values.models import Changes
from perago.values.names import show_name

TASK = "perago.revert"
"""The task in the stamp of such a commit."""

_SHOWN = 3


@dataclass(frozen=True)
class Reverted:
    """What was undone.

    Attributes:
        commit: full id of the publication that undoes it.
        reverts: full ids of the commits whose changes it undoes, newest first.
        changes: what it changed on the head.
    """

    commit: str
    reverts: tuple[str, ...]
    changes: Changes


def revert(past: Past, branch: str, what: str, reason: str) -> Reverted:
    """Give the files that a commit, or all commits of a run, have changed the content that they had before.

    The results of these commits are not used again by tasks with a cache.

    Args:
        what: the id of a run, or a commit.

    Raises:
        TaskInputError: the branch has neither, or there is nothing to undo.
        PublishFenceError: somebody has changed one of the files since.
        BranchNotFoundError: there is no such branch. HeadMovedError: others moved it at each try.
    """
    made: list[ByHand] = []

    def decide(head: str) -> ByHand:
        undone, others = _found(past, head, _wanted(past, what), what, branch)
        oldest = undone[-1].entry
        if not oldest.parents:
            raise TaskInputError(f"commit {oldest.id[:12]} is the first of its repository, so nothing was before it")
        paths = {path for step in undone for path in past.whole(step).paths}
        _refuse_changed(past, paths, others)
        changes = _back(past, head, oldest.parents[0], paths)
        if not changes:
            raise TaskInputError(f"{show_name(what)} changed no file, so there is nothing to undo")
        reverts = tuple(step.entry.id for step in undone)
        stamp = stamp_by_hand(TASK, branch, head, {"reason": reason}, reverts=reverts)
        made.append(ByHand(stamp=stamp, plan=Publish(head), changes=changes, source=oldest.parents[0]))
        return made[-1]

    commit = commit_by_hand(past.repository, past.address, branch, decide)
    return Reverted(commit, made[-1].stamp.reverts, made[-1].changes)


def _wanted(past: Past, what: str) -> str | None:
    """The commit that is meant, by its full id; None if it is a run."""
    if past.newest_of_run(what) is not None:
        return None
    try:
        return past.resolve(what)
    except StoreError:
        raise TaskInputError(
            f"{past.address.argument} has no commit and no run {show_name(what)}; `perago log` and `perago runs` list "
            f"them"
        ) from None


def _found(past: Past, head: str, commit: str | None, what: str, branch: str) -> tuple[list[Step], list[Step]]:
    """The commits of the line that are meant, and the others since the oldest of them; both newest first."""
    line = past.line_to(head, commit) if commit is not None else list(past.line(head))
    meant = [position for position, entry in enumerate(line) if _is_meant(entry, commit, what)]
    if not meant:
        raise TaskInputError(f"branch {branch!r} has no commit of {show_name(what)}, so there is nothing to undo")
    steps = past.stepped(line[: meant[-1] + 1])
    undone = [steps[position] for position in meant]
    return undone, [step for position, step in enumerate(steps) if position not in meant]


def _is_meant(entry: CommitEntry, commit: str | None, run: str) -> bool:
    if commit is not None:
        return entry.id == commit
    return entry.stamp is not None and entry.stamp.logical_task[0] == run


def _refuse_changed(past: Past, paths: Collection[str], others: Sequence[Step]) -> None:
    for step in others:
        changed = sorted(set(paths) & set(past.whole(step).paths))
        if changed:
            shown = ", ".join(map(show_name, changed[:_SHOWN]))
            raise PublishFenceError(
                f"Not reverted: commit {step.entry.id[:12]} has since changed the same files: {shown}"
                f"{', …' if len(changed) > _SHOWN else ''}. Revert that commit first"
            )


def _back(past: Past, head: str, before: str, paths: Collection[str]) -> Changes:
    """What leads from a head to the content that some paths had before."""
    found = past.repository.changes(head, before)

    def meant(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in names if name in paths)

    return Changes(added=meant(found.added), modified=meant(found.modified), deleted=meant(found.deleted))

"""Which commit made each file of a commit."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from perago.asking.past import Past, Step
from perago.errors import StoreError
from perago.ports import CommitEntry
from perago.running.history import published_run

MAX_FILES = 10_000
"""Files that one question is answered for."""


@dataclass(frozen=True)
class Origin:
    """A file, and the newest commit that changed it.

    Attributes:
        whole: the commit that brought it to the branch as part of something: somebody's merge, a transactional run
            that was published as a whole, or a revert; None if that is the commit itself.
    """

    path: str
    entry: CommitEntry
    whole: CommitEntry | None = None


def origins(past: Past, ref: str, paths: Iterable[str], *, commits: int | None = None) -> list[Origin]:
    """Where files of a commit come from, in the order of their names.

    A file whose commit is not on the line any more, such as in a shallow clone, is left out.

    Args:
        ref: full id of the commit, which has the files.
        commits: how many are looked at of each line. Files that are older than these are left out. Default: all.
    """
    found: dict[str, Origin] = {}
    asked = frozenset(paths)
    prefix = next(iter(asked)) if len(asked) == 1 else ""
    waiting: list[tuple[str, frozenset[str], CommitEntry | None]] = [(ref, asked, None)] if asked else []
    while waiting:
        start, sought, whole = waiting.pop()
        left, looked_at = set(sought), 0
        for step in past.steps(start, limit=commits, prefix=prefix):
            looked_at += 1
            mine = left & _changed(past, step, left, prefix)
            left -= mine
            for inner, brought in _brought(past, step.entry, mine):
                waiting.append((inner, brought, whole or step.entry))
                mine -= brought
            for path in mine:
                found[path] = Origin(path, step.entry, whole)
            if not left:
                break
        if whole is not None and looked_at != commits:  # it was there before that part of the history begins
            found.update({path: Origin(path, whole) for path in left})
    return [found[path] for path in sorted(found)]


def _changed(past: Past, step: Step, sought: Collection[str], prefix: str) -> set[str]:
    """Which of some paths, which begin with `prefix`, a commit changed."""
    kept = set(step.changes.paths)
    return kept if step.changes.is_whole or kept >= set(sought) else set(past.whole(step, prefix).paths)


def heads_brought(past: Past, entry: CommitEntry) -> Sequence[str]:
    """The commits from which one may have brought what it changed: the heads that somebody merged, the head of a run's
    branch, or what a revert gave back."""
    if entry.stamp is None:
        return entry.parents[1:]
    run = published_run(entry.stamp)
    head = given_back(past, entry) if run is None else run.ref
    return () if head is None else (head,)


def given_back(past: Past, entry: CommitEntry) -> str | None:
    """The commit whose content a revert gave back to all that it changed; None of any other commit."""
    oldest = None if entry.stamp is None or not entry.stamp.reverts else past.entry(entry.stamp.reverts[-1])
    return None if oldest is None else next(iter(oldest.parents), None)


def _brought(past: Past, entry: CommitEntry, changed: Collection[str]) -> Iterable[tuple[str, frozenset[str]]]:
    """What a commit has brought unchanged from elsewhere: other heads, each with the paths that come from there."""
    left = set(changed)
    for head in heads_brought(past, entry):
        if left and past.entry(head) is not None:
            try:
                others = past.repository.changes(head, entry.id)
            except StoreError:  # the run's branch is gone, and its commits with it
                continue
            brought = frozenset(left.difference(others.added, others.modified, others.deleted))
            left -= brought
            if brought:
                yield head, brought

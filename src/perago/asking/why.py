"""Why the attempt of a commit ran its body, by what the stamps say: in what its key differed from the nearest one of
before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from perago.asking.lineage import reads
from perago.asking.past import Past
from perago.attempt.differences import OTHER_FILES, Difference, facts_of, have_other_files, nearest
from perago.errors import StoreError, WorkspaceStorageError
from perago.ports import CommitEntry
from perago.tasks.declare import BUILTIN_TASKS
from perago.values.history import Stamp

MAX_COMPARED = 200
"""Earlier results of the task that one is compared with, the newest ones."""

MAX_STEPS = 200
"""Commits between two inputs for which the files that differ are named."""

MAX_CHANGED = 2_000
"""Files that those commits changed, all together, for which they are named."""

Kind = Literal["taken", "no key", "first", "differs", "again"]


@dataclass(frozen=True, kw_only=True)
class Ran:
    """Why an attempt ran.

    Attributes:
        kind: `taken`: it did not, it took the result of `since`; `no key`: its task has no cache, or the key could not
            be told; `first`: there is no earlier result of the task with a key; `differs` from `since`; `again`: it
            does not differ.
        since: full id of the commit that is meant; None if none is.
        differences: by part. A difference in files that cannot be told is `OTHER_FILES`.
        inputs: full ids of the input of `since`, and of the commit's own, if their files differ.
    """

    kind: Kind
    since: str | None = None
    differences: Sequence[Difference] = ()
    inputs: tuple[str, str] | None = None


def why_ran(past: Past, entry: CommitEntry) -> Ran | None:
    """Why the attempt of a commit ran; None for what no attempt of a task made, or if the index cannot be read."""
    stamp = entry.stamp
    if stamp is None or stamp.task in BUILTIN_TASKS or stamp.is_by_command:
        return None
    if stamp.cached_from is not None:
        return Ran(kind="taken", since=stamp.cached_from)
    now = facts_of(entry)
    if now is None:
        return None if stamp.completes is not None else Ran(kind="no key")
    try:
        found = nearest(past.earlier_of_task(entry, limit=MAX_COMPARED), now)
    except WorkspaceStorageError:
        return None
    if found is None:
        return Ran(kind="first")
    before, others = found
    facts = facts_of(before)
    if facts is None or before.stamp is None or not have_other_files(facts, now):
        return Ran(kind="differs" if others else "again", since=before.id, differences=others)
    inputs = (before.stamp.input_ref, stamp.input_ref)
    return Ran(kind="differs", since=before.id, differences=[*_files(past, stamp, *inputs), *others], inputs=inputs)


def _files(past: Past, stamp: Stamp, before: str, after: str) -> Sequence[Difference]:
    """The files in which two inputs differ; only that some do, if one is not there any more or they are far apart."""
    line = list(islice(past.line(after), MAX_STEPS + 1))
    names = [each.id for each in line]
    if before not in names:
        return [OTHER_FILES]
    try:
        between = line[: names.index(before)]
        steps = past.stepped_in_time(between)
        changed = sum(step.changes.added + step.changes.modified + step.changes.deleted for step in steps)
        if len(steps) < len(between) or changed > MAX_CHANGED:
            return [OTHER_FILES]
        changes = past.repository.changes(before, after)
    except StoreError:
        return [OTHER_FILES]
    found = [
        *(Difference("file", path, "added") for path in reads(stamp, changes.added)),
        *(Difference("file", path, "changed") for path in reads(stamp, changes.modified)),
        *(Difference("file", path, "gone") for path in reads(stamp, changes.deleted)),
    ]
    return sorted(found, key=lambda each: each.name) or [OTHER_FILES]

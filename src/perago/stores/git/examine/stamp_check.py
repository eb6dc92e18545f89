"""Checks of a commit's stamp."""

from __future__ import annotations

from collections.abc import Iterator

import pygit2

from perago.stores.git.history import carried_stamp, parent_of, subject_of
from perago.values.findings import Finding, Kind


def stamp_findings(commit: pygit2.Commit) -> Iterator[Finding]:
    """The finding for a stamp that is unreadable or belongs to another commit."""
    carried = carried_stamp(commit)
    if carried is None:
        return
    what = f"commit {str(commit.id)[:12]} {subject_of(commit)!a}"
    if carried.stamp is None or carried.tree_id is None:
        yield Finding(
            kind=Kind.UNREADABLE_STAMP,
            what=what,
            why="its Perago- trailers are not a complete stamp. It counts as a person's commit: tasks with an older "
            "input are refused. History is never rewritten; start them again from a later commit",
        )
        return
    if carried.tree_id != str(commit.tree_id):
        how = "its content differs"
    elif carried.stamp.expected_head != parent_of(commit):
        how = "it has another parent"
    else:
        return
    yield Finding(
        kind=Kind.STAMP_THAT_DOES_NOT_COUNT,
        what=what,
        why=f"it has the stamp of a publication, but {how}: somebody amended, copied or rebased it. It counts as a "
        f"person's commit",
        is_note=True,
    )

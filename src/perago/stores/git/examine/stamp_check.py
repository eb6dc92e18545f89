"""Whether the stamp of a commit says what it should."""

from __future__ import annotations

from collections.abc import Iterator

import pygit2

from perago.stores.git.history import carried_stamp, parent_of, subject_of
from perago.values.findings import Finding, Kind


def stamp_findings(commit: pygit2.Commit) -> Iterator[Finding]:
    """A stamp that cannot be read, or that is another commit's."""
    carried = carried_stamp(commit)
    if carried is None:
        return
    what = f"commit {str(commit.id)[:12]} {subject_of(commit)!a}"
    if carried.stamp is None or carried.tree_id is None:
        yield Finding(
            kind=Kind.UNREADABLE_STAMP,
            what=what,
            why="its Perago- trailers are no whole stamp. It counts as a person's commit: tasks whose input is older "
            "are refused, as by any other. History is never rewritten; begin them anew from a later commit",
        )
        return
    if carried.tree_id != str(commit.tree_id):
        how = "its content is another"
    elif carried.stamp.expected_head != parent_of(commit):
        how = "it stands on another commit"
    else:
        return
    yield Finding(
        kind=Kind.STAMP_THAT_DOES_NOT_COUNT,
        what=what,
        why=f"it carries the stamp of a publication, but {how}: somebody amended, copied or rebased it. It counts as a "
        f"person's commit",
        is_note=True,
    )

"""What is left over in a repository, as findings for `perago doctor`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

from perago.findings import Finding, Kind
from perago.stores.lakefs.api import PAGE
from perago.stores.lakefs.clean import Janitor, Orphan
from perago.stores.lakefs.client import LakeFSClient
from perago.stores.lakefs.import_export import RunCoroutine
from perago.stores.lakefs.message import carries_stamp, names_other_content, stamp_of, subject_of
from perago.stores.lakefs.values import Commit

STAMPS_LOOKED_AT = PAGE
"""Newest commits of each branch whose stamps are looked at; `deep` looks at all."""


def staged_commits(janitor: Janitor, run: RunCoroutine) -> list[Finding]:
    """The staging branches that nobody needs any more."""

    async def find() -> list[Orphan]:
        return [orphan async for orphan in janitor.orphans()]

    def mend(orphan: Orphan) -> bool:
        return run(janitor.remove(orphan.branch))

    return [
        Finding(
            kind=Kind.STAGED_COMMIT,
            what=orphan.branch.name,
            why=orphan.why,
            age_seconds=orphan.age_seconds,
            mend=partial(mend, orphan),
        )
        for orphan in run(find())
    ]


async def stamp_findings(client: LakeFSClient, repository: str, *, deep: bool) -> list[Finding]:
    """Stamps on the branches' first parents that cannot be read, or do not count."""
    seen: set[str] = set()
    findings = []
    async for branches in client.list_branches(repository):
        for branch in branches:
            async for commit in _unseen(client, repository, branch.id, seen, deep=deep):
                finding = _judge(commit)
                if finding is not None:
                    findings.append(finding)
    return findings


async def _unseen(
    client: LakeFSClient, repository: str, branch: str, seen: set[str], *, deep: bool
) -> AsyncIterator[Commit]:
    """A branch's first parents, down to what another branch had already."""
    async for page in client.log_commits(repository, branch):
        for commit in page:
            if commit.id in seen:
                return
            seen.add(commit.id)
            yield commit
        if not deep:
            return


def _judge(commit: Commit) -> Finding | None:
    """A stamp that cannot be read, or that is another commit's."""
    if not carries_stamp(commit):
        return None
    what = f"commit {commit.id[:12]} {subject_of(commit)!a}"
    stamp = stamp_of(commit)
    if stamp is None and not names_other_content(commit):
        return Finding(
            kind=Kind.UNREADABLE_STAMP,
            what=what,
            why="its perago. metadata are no whole stamp. It counts as a person's commit: tasks whose input is older "
            "are refused, as by any other. History is never rewritten; begin them anew from a later commit",
        )
    if stamp is None:
        how = "its content is another"
    elif not commit.parents or stamp.expected_head != commit.parents[0]:
        how = "it stands on another commit"
    else:
        return None
    return Finding(
        kind=Kind.STAMP_THAT_DOES_NOT_COUNT,
        what=what,
        why=f"it carries the stamp of a publication, but {how}: somebody copied it, or merged it with another commit. "
        f"It counts as a person's commit",
        is_note=True,
    )

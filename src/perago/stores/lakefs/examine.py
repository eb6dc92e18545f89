"""Examining a repository: leftovers of killed attempts, stamps that do not count, damaged content."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial

from perago.http.answer import FaultKind
from perago.stores.lakefs.api.answers import Branch, Commit, LakeFSError, ObjectStats
from perago.stores.lakefs.api.client import LakeFSClient
from perago.stores.lakefs.clean import Janitor
from perago.stores.lakefs.content.transfer import SMALLEST_PART_BYTES, ChecksumMatch, ChecksumRule, judge_small
from perago.stores.lakefs.publication.branches import parse_staging
from perago.stores.lakefs.publication.history import carries_stamp, names_other_content, stamp_of, subject_of
from perago.values.findings import Finding, Kind
from perago.values.names import show_name

LOOKED_AT = 1_000
"""Newest commits of each branch whose stamps are checked. Tasks in progress can still meet these."""

Mender = Callable[[str], bool]


@dataclass(frozen=True)
class Examination:
    """One examination of a repository. Changes nothing.

    Attributes:
        janitor: of the repository; decides which branches may be removed.
        mend: removes a branch by its name, if that is still allowed.
        deep: read all objects of all branches' heads, and compare them with their checksums.
        checksums: how to interpret checksums; "opaque" compares only sizes.
    """

    janitor: Janitor
    mend: Mender
    deep: bool = False
    checksums: ChecksumRule = "md5"

    @property
    def _client(self) -> LakeFSClient:
        return self.janitor.client

    async def run(self) -> AsyncIterator[Finding]:
        """All findings.

        Raises:
            StoreError: the server did not answer.
        """
        async for orphan in self.janitor.orphans():
            yield Finding(
                kind=orphan.kind,
                what=orphan.branch,
                why=orphan.why,
                age_seconds=orphan.age_seconds,
                mend=partial(self.mend, orphan.branch),
            )
        seen: set[str] = set()
        async for page in self._client.list_branches(self.janitor.repository):
            for branch in (branch for branch in page if parse_staging(branch.id) is None):
                async for finding in self._stamps(branch, seen):
                    yield finding
                if self.deep:
                    async for finding in self._content(branch, seen):
                        yield finding

    async def _stamps(self, branch: Branch, seen: set[str]) -> AsyncIterator[Finding]:
        looked_at = 0
        async for page in self._client.log_commits(self.janitor.repository, branch.commit_id):
            for commit in page:
                if commit.id in seen:
                    return
                seen.add(commit.id)
                finding = stamp_finding(commit)
                if finding is not None:
                    yield finding
            looked_at += len(page)
            if looked_at >= LOOKED_AT:
                return

    async def _content(self, branch: Branch, seen: set[str]) -> AsyncIterator[Finding]:
        async for page in self._client.list_objects(self.janitor.repository, branch.commit_id):
            for stats in page:
                if stats.physical_address in seen:
                    continue
                seen.add(stats.physical_address)
                fault, is_note = await self._fault_of(branch.commit_id, stats)
                if fault is not None:
                    what = f"object {show_name(stats.path)} of branch {branch.id!r}"
                    yield Finding(kind=Kind.DAMAGED_OBJECT, what=what, why=fault, size=stats.size, is_note=is_note)

    async def _fault_of(self, commit_id: str, stats: ObjectStats) -> tuple[str | None, bool]:
        """What is wrong with an object, or None, and whether that is only a note."""
        try:
            size, md5 = await self._read(commit_id, stats)
        except LakeFSError as exc:
            if exc.status is None and exc.fault is not FaultKind.CUT:
                raise
            restore = "Restore them in the block store, or upload the file again"
            return f"its bytes cannot be read: {exc.message}. {restore}", False
        if size == stats.size and not self._is_wrong(stats, md5):
            return None, False
        if size == stats.size and size >= SMALLEST_PART_BYTES:
            return "its checksum is not the MD5 of its content: it came in parts, or is damaged. Compare it", True
        return "its bytes are not those uploaded, or its checksum is not an MD5. Compare it, and upload it again", False

    async def _read(self, commit_id: str, stats: ObjectStats) -> tuple[int, str]:
        """Size and MD5 of an object's bytes.

        The server closes the connection if a block is too short, but a bad network does the same. Therefore an aborted
        read is repeated once.
        """
        try:
            return await self._read_once(commit_id, stats)
        except LakeFSError as exc:
            if exc.fault is not FaultKind.CUT:
                raise
        return await self._read_once(commit_id, stats)

    async def _read_once(self, commit_id: str, stats: ObjectStats) -> tuple[int, str]:
        hasher, size = hashlib.md5(usedforsecurity=False), 0
        url = self._client.object_url(self.janitor.repository, commit_id, stats.path)
        async with self._client.open_object(url, stats.size, range(stats.size)) as stream:
            async for chunk in stream.chunks():
                hasher.update(chunk)
                size += len(chunk)
        return size, hasher.hexdigest()

    def _is_wrong(self, stats: ObjectStats, md5: str) -> bool:
        return self.checksums == "md5" and judge_small(stats.checksum, md5) is ChecksumMatch.WRONG


def stamp_finding(commit: Commit) -> Finding | None:
    """The finding for a stamp that is unreadable or belongs to another commit."""
    if not carries_stamp(commit):
        return None
    what = f"commit {commit.id[:12]} {subject_of(commit)!a}"
    stamp = stamp_of(commit)
    if stamp is not None and stamp.expected_head == commit.parents[0]:
        return None
    if stamp is not None or names_other_content(commit):
        how = "it has another parent" if stamp is not None else "its content differs"
        return Finding(
            kind=Kind.STAMP_THAT_DOES_NOT_COUNT,
            what=what,
            why=f"it has the stamp of a publication, but {how}: somebody copied it, or it was merged, without hooks, "
            f"with another person's commit. It counts as a person's commit",
            is_note=True,
        )
    return Finding(
        kind=Kind.UNREADABLE_STAMP,
        what=what,
        why="its perago metadata is not a complete stamp. It counts as a person's commit: tasks with an older input "
        "are refused. Start them again from a later commit",
    )

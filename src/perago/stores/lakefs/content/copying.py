"""Copying objects of a commit to a branch. The server copies the bytes; none of them come here.

A copy is an object of its own. The server's garbage collection may be about to remove the source, if only old commits
have it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from perago.errors import SourceGoneError
from perago.stores.lakefs.api.answers import LakeFSError, ObjectStats
from perago.stores.lakefs.api.client import each
from perago.stores.lakefs.api.objects import MAX_WHOLE_BYTES
from perago.stores.lakefs.content.transfer import LOCAL, Transfer
from perago.values.names import show_name

_GONE = (404, 410)
"""Statuses for a missing commit or object, and for one whose bytes are missing in the block store."""


@dataclass(frozen=True)
class Copying:
    """Copies objects of one commit to one branch, under the same names.

    Attributes:
        commit_id: of the source, in full.
        root: the part of the names before the paths.
        done: called with 0, for no bytes that move, after each object.
    """

    transfer: Transfer
    branch: str
    commit_id: str
    root: str
    done: Callable[[int], None]

    async def run(self, paths: Sequence[str]) -> dict[str, ObjectStats]:
        """Look for all objects first, then copy them. Returns the copy for each path.

        Raises:
            SourceGoneError: the commit has no such object, or its bytes are missing.
            LakeFSError: the server refuses, or cannot be reached.
        """
        found = await each(paths, self._find)
        copied = await each(found, self._copy)
        return dict(zip(paths, copied, strict=True))

    async def _find(self, path: str) -> ObjectStats:
        client, repository, name = self.transfer.client, self.transfer.repository, self.root + path
        try:
            stats = await client.stat_object(repository, self.commit_id, name)
            await client.check_bytes(repository, self.commit_id, stats)
        except LakeFSError as exc:
            if exc.status not in _GONE:
                raise
            raise SourceGoneError(
                f"commit {self.commit_id[:12]} of repository {repository!r} cannot be published again: "
                f"{show_name(name)} is not there any more: {exc}"
            ) from exc
        return stats

    async def _copy(self, source: ObjectStats) -> ObjectStats:
        try:
            copied = await self._copied(source)
        except LakeFSError:
            await self._find(source.path.removeprefix(self.root))  # if it has gone meanwhile, the server answers 500
            raise
        self.done(0)
        return copied

    async def _copied(self, source: ObjectStats) -> ObjectStats:
        client, repository, name = self.transfer.client, self.transfer.repository, source.path
        if source.size > MAX_WHOLE_BYTES and self.transfer.server.blockstore != LOCAL:  # S3 would refuse
            return await client.stage_object(repository, self.branch, name, source)
        return await client.copy_object(
            repository, self.branch, name, source_ref=self.commit_id, source=name, size=source.size
        )

"""What commits changed, and what has to be put on a head to merge with them: facts of diffs, and `workspace.merge`."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from perago.history import Merge
from perago.plans import compared, conflict, foreign_changes
from perago.stores.lakefs.client import LakeFSClient
from perago.stores.lakefs.commits import Commits
from perago.stores.lakefs.fence import is_action
from perago.stores.lakefs.together import each
from perago.stores.lakefs.values import ObjectStats
from perago.workspace.merge import merge_paths, nothing_below


class Entry(NamedTuple):
    """The content of a path, as far as a merge tells contents apart. Checksums are the server's."""

    checksum: str
    size: int
    executable: bool

    @classmethod
    def of(cls, stats: ObjectStats) -> Entry:
        return cls(stats.checksum, stats.size, stats.executable)


Overlay = Mapping[str, Entry | None]
"""Path -> what stands there now; None: it is gone."""


class Source(NamedTuple):
    """Where an object is to be copied from: a commit's full id; `size` in bytes, for the deadline."""

    commit_id: str
    size: int


Restoration = dict[str, Source | None]
"""Path -> whose object is to stand there again; None: none is."""


async def changed_between(client: LakeFSClient, repository: str, left: str, right: str) -> dict[str, Entry | None]:
    """What stands in `right` at each path where it differs from `left`; the server's actions are left out."""
    changed: dict[str, Entry | None] = {}
    async for page in client.diff_refs(repository, left, right, stats=True):
        for entry in page:
            if not is_action(entry.path):
                removed = entry.kind == "removed"
                changed[entry.path] = None if removed else Entry(entry.checksum, entry.size, entry.executable)
    return changed


async def is_same_content(client: LakeFSClient, repository: str, left: str, right: str) -> bool:
    """Whether two commits hold the same files, the server's actions aside."""
    async for page in client.diff_refs(repository, left, right):
        if any(not is_action(entry.path) for entry in page):
            return False
    return True


@dataclass(frozen=True)
class Merging:
    """One attempt's changes on their way onto a head that has others'.

    Attributes:
        base: full id of the input commit.
    """

    client: LakeFSClient
    commits: Commits
    repository: str
    base: str

    async def restoration(self, plan: Merge, own: Overlay) -> Restoration:
        """What has to be put back on the head, besides the attempt's own changes; nothing, if nothing is abandoned.

        Raises:
            PublishFenceError: both the attempt and others changed a path.
        """
        if not plan.abandoned:
            foreign = [await changed_between(self.client, self.repository, self.base, plan.head)]
            await self._merge(plan, foreign, own, {})
            return {}
        names = compared(plan)
        foreign = foreign_changes(plan, dict(zip(names, await each(names, self._changed_by), strict=True)))
        before = await changed_between(self.client, self.repository, plan.head, self.base)
        await self._merge(plan, foreign, own, before)
        now = await self._present(plan.head, [path for changes in foreign for path in changes])
        return self._undone(plan.foreign, foreign, before, now, own)

    async def _present(self, head: str, paths: Iterable[str]) -> dict[str, Entry | None]:
        """What stands on the head where it differs from the input, and at these paths besides."""
        present = await changed_between(self.client, self.repository, self.base, head)
        asked = [path for path in dict.fromkeys(paths) if path not in present]
        return present | await self._entries(head, asked)

    async def _entries(self, ref: str, paths: Sequence[str]) -> dict[str, Entry | None]:
        found = await each(paths, lambda path: self.client.find_object(self.repository, ref, path))
        return {path: Entry.of(stats) if stats is not None else None for path, stats in zip(paths, found, strict=True)}

    async def _changed_by(self, commit_id: str) -> dict[str, Entry | None]:
        commit = await self.commits.get(self.repository, commit_id)
        return await changed_between(self.client, self.repository, commit.parents[0], commit_id)

    async def _merge(self, plan: Merge, foreign: Sequence[Overlay], own: Overlay, before: Overlay) -> None:
        """Refuse what both changed. `before` is what the input has where the head differs from it.

        A file of the input that is on the head too is no matter here: what lies beside it does so already.
        """
        asked = [path for path in own if path not in before and any(path in changes for changes in foreign)]
        at_base = {**before, **await self._entries(self.base, asked)}
        merged = merge_paths(foreign, own, at_base.get, _Below(before) if before else nothing_below)
        if merged.conflicts:
            raise conflict(merged.conflicts, plan)

    def _undone(
        self, names: Sequence[str], foreign: Sequence[Overlay], before: Overlay, now: Overlay, own: Overlay
    ) -> Restoration:
        """The input's tree with the foreign changes on it, as far as the head differs from that."""
        made_by = {path: name for name, changes in zip(names, foreign, strict=True) for path in changes}
        wanted: dict[str, Entry | None] = dict(before)
        for changes in foreign:
            wanted.update(changes)
        put_back: Restoration = {}
        for path, entry in wanted.items():
            if path not in own and entry != now[path]:
                put_back[path] = None if entry is None else Source(made_by.get(path, self.base), entry.size)
        return put_back


class _Below:
    """Paths of files below a path, out of many."""

    def __init__(self, entries: Overlay) -> None:
        self._paths = sorted(path for path, entry in entries.items() if entry is not None)

    def __call__(self, path: str) -> Iterable[str]:
        prefix = path + "/"
        at = bisect_left(self._paths, prefix)
        while at < len(self._paths) and self._paths[at].startswith(prefix):
            yield self._paths[at]
            at += 1

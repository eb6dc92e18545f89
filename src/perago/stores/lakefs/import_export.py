"""A person's way in and out: a directory becomes a branch's content, a commit's content becomes a directory."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from perago.errors import BranchNotFoundError, HeadMovedError, ObjectNameError
from perago.names import check_object_name, show_name
from perago.spec import WorkspaceSpec
from perago.stores.lakefs.by_hand import ByHand
from perago.stores.lakefs.client import LakeFSClient
from perago.stores.lakefs.commits import NOT_THERE
from perago.stores.lakefs.failure import LakeFSError
from perago.stores.lakefs.fence import (
    refuse_actions,
)
from perago.stores.lakefs.listing import list_files
from perago.stores.lakefs.materialize import check_layout, lay_out, plan_layout
from perago.stores.lakefs.transfer import Transfer
from perago.stores.lakefs.upload import Upload
from perago.stores.lakefs.values import Commit, ObjectStats
from perago.workspace.digest import MD5, digest_file
from perago.workspace.empty_directory import empty_directory
from perago.workspace.patterns import Selection
from perago.workspace.progress import Progress
from perago.workspace.scan import FileStat, scan

T = TypeVar("T")

_SWAPS = 16
"""Times that an import begins again because the branch moved under it."""

_CONFLICT = 409


class RunCoroutine(Protocol):
    """Runs a coroutine where the client is used."""

    def __call__(self, coroutine: Coroutine[Any, Any, T], /) -> T: ...


@dataclass(frozen=True)
class _Base:
    """What an import is compared with, and stands on.

    Attributes:
        head: full id of the branch's; None: there is no such branch yet.
        commit: the head, or the repository's first commit for a branch that is to be made.
        files: the selected ones, by their path below the prefix.
    """

    head: str | None
    commit: str
    files: Mapping[str, ObjectStats]


@dataclass(frozen=True, kw_only=True)
class Import:
    """One directory on its way into a branch, by the same fenced merge as a publication.

    Attributes:
        run_coroutine: the store's own.
    """

    by_hand: ByHand
    transfer: Transfer
    run_coroutine: RunCoroutine
    source: Path
    branch: str
    message: str
    spec: WorkspaceSpec

    def run(self, progress: Progress) -> str | None:
        """Make the selected content below the prefix equal to the directory's, in one commit on the branch's head.

        A branch that is not there is made, on the repository's first commit. If the branch moves meanwhile, the
        directory is compared with its new head.

        Returns:
            the full id of the new head, or None where the branch has that content already.

        Raises:
            WorkspaceError: the directory holds what cannot be stored; see `workspace.scan`.
            HeadMovedError: the branch moved again and again.
            FenceUnavailableError, PublishVetoedError, DirtyBranchError: as publications.
        """
        files = scan(self.source, Selection(self.spec.include, self.spec.exclude)).files
        names = [self.spec.root + path for path in files]
        refuse_actions(names)
        for name in names:
            check_object_name(name)
        for _ in range(_SWAPS):
            base = self.run_coroutine(self._base())
            written = [path for path in sorted(files) if self._differs(path, files[path], base.files.get(path))]
            deleted = sorted(base.files.keys() - files.keys())
            if base.head is not None and not written and not deleted:
                return None
            progress.total_files += len(written)
            with suppress(HeadMovedError):
                return self.run_coroutine(self._import(base, written, deleted, progress.add))
        raise HeadMovedError(
            f"branch {self.branch!r} moved {_SWAPS} times during the import; nothing was imported. Try again"
        )

    @property
    def _repository(self) -> str:
        return self.transfer.repository

    @property
    def _client(self) -> LakeFSClient:
        return self.transfer.client

    def _differs(self, path: str, stat: FileStat, present: ObjectStats | None) -> bool:
        if present is None or (present.size, present.executable) != (stat.size, stat.executable):
            return True
        return digest_file(self.source / path, MD5, stat.size) != f"{MD5}:{present.checksum}"

    async def _base(self) -> _Base:
        found = await self._client.find_branch(self._repository, self.branch)
        commit = await self._first_commit() if found is None else found.commit_id
        await self._check_prefix(commit)
        files = await list_files(self._client, self._repository, commit, self.spec)
        start = len(self.spec.root)
        head = None if found is None else commit
        return _Base(head, commit, {stats.path[start:]: stats for stats in files})

    async def _first_commit(self) -> str:
        """The empty one that every repository begins with."""
        facts = await self._client.get_repository(self._repository)
        first = ""
        async for page in self._client.log_commits(self._repository, facts.default_branch):
            first = page[-1].id if page else first
        return first

    async def _check_prefix(self, commit: str) -> None:
        """A prefix cannot lead through a file.

        Raises:
            ObjectNameError
        """
        segments = self.spec.root.split("/")[:-1]
        for length in range(1, len(segments) + 1):
            name = "/".join(segments[:length])
            if await self._client.find_object(self._repository, commit, name) is not None:
                raise ObjectNameError(
                    f"{show_name(name)} is a file in {self._repository!r}, and nothing can be imported below it. Give "
                    f"another prefix"
                )

    async def _import(self, base: _Base, written: list[str], deleted: list[str], done: Callable[[int], None]) -> str:
        async def fill(staging: str) -> None:
            await Upload(self.transfer, staging, self.source, self.spec.root, done).run(written, deleted)

        async with self.by_hand.staged(base.commit, self.message, fill) as staged:
            if base.head is None:
                return await self._make_branch(staged)
            return await self.by_hand.swap(self.branch, staged)

    async def _make_branch(self, staged: Commit) -> str:
        """Where there is none, the branch begins with what was staged: nobody sees it without."""
        try:
            await self._client.create_branch(self._repository, self.branch, staged.id)
        except LakeFSError as exc:
            if exc.status == _CONFLICT:
                raise HeadMovedError(f"branch {self.branch!r} was made by somebody else meanwhile") from exc
            if exc.status in NOT_THERE:
                raise BranchNotFoundError(
                    f"lakeFS does not take {self.branch!r} as a branch: {exc.message}. Names have letters, digits, "
                    f"hyphens and underscores"
                ) from exc
            raise
        return staged.id


def export(transfer: Transfer, ref: str, spec: WorkspaceSpec, target: Path, progress: Progress) -> int:
    """Lay out a commit's files below a new or empty directory; returns how many.

    Raises:
        RefNotFoundError: `ref` is no full commit id, or there is no such commit.
        PrefixNotFoundError: there is nothing below the prefix.
        ObjectNameError: a name that cannot be laid out.
        WorkspaceStorageError: the directory is not empty, or cannot be written.
    """
    layout = transfer.loop.run(plan_layout(transfer, ref, spec, may_be_missing=False))
    with empty_directory(target):
        check_layout(layout, target)
        progress.total_files = len(layout.files)
        lay_out(transfer, layout, target, progress.add)
    return len(layout.files)

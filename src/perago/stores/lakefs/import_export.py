"""Importing a directory into a branch, and showing what an import would change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from perago.errors import BranchNotFoundError, HeadMovedError, ObjectNameError, required
from perago.files.storage import storage_errors
from perago.http.parallel import in_thread
from perago.stores.lakefs.api.answers import Commit, LakeFSError, ObjectStats
from perago.stores.lakefs.api.client import LakeFSClient
from perago.stores.lakefs.api.commits import NOT_THERE
from perago.stores.lakefs.content.transfer import ChecksumMatch, is_md5, is_multipart, judge_parts
from perago.stores.lakefs.listing import list_files
from perago.stores.lakefs.manual_commits import Edit, ManualCommits
from perago.stores.lakefs.publication.fence import refuse_actions
from perago.stores.lakefs.publication.stage import check_places
from perago.values.models import Changes
from perago.values.names import FOR_IMPORT, check_object_name, show_name
from perago.values.spec import WorkspaceSpec
from perago.workspace.digest import MD5, digest_file
from perago.workspace.patterns import Selection
from perago.workspace.progress import TransferProgress
from perago.workspace.reading import open_workspace, open_workspace_file
from perago.workspace.scan import FileStat, scan

_SWAPS = 16
"""Tries of an import if the branch moves."""

_CONFLICT = 409


@dataclass(frozen=True, kw_only=True)
class Import:
    """Import of one directory into a branch.

    Attributes:
        spec: selects files by prefix, include and exclude.
        mirror: delete selected files that the directory does not have.
    """

    manual: ManualCommits
    source: Path
    spec: WorkspaceSpec
    mirror: bool
    progress: TransferProgress

    @property
    def _client(self) -> LakeFSClient:
        return self.manual.connection.client

    async def run(self, branch: str, message: str) -> str | None:
        """Put the directory's files below the prefix, in one commit on the branch's head.

        A missing branch is created at the repository's first commit, which is empty. If the branch moves, the directory
        is compared with the new head.

        Returns:
            the full id of the branch's new head, or None if nothing differs.

        Raises:
            WorkspaceError: the directory contains something that cannot be stored; see `workspace.scan`.
            ObjectNameError: a path is a file on one side and a directory on the other.
            HeadMovedError: the branch moved during each try.
        """
        files = await self._files()
        digests: dict[str, str] = {}
        for _ in range(_SWAPS):
            found = await self._client.find_branch(self.manual.repository, branch)
            head = await self._first_commit() if found is None else found.commit_id
            differences = await self._compare(files, head, digests)
            changes = await self._wanted(differences, None if found is None else head)
            if found is not None and not changes:
                return None
            with suppress(HeadMovedError):
                return await self._commit(branch, head, changes, message, is_new=found is None)
        raise HeadMovedError(f"branch {branch!r} moved during each of {_SWAPS} tries; nothing was imported. Try again")

    async def compare(self, branch: str) -> Changes:
        """The changes that `run` would make. Writes nothing. `deleted` also lists what stays without `mirror`.

        Raises:
            WorkspaceError: as `run`.
        """
        found = await self._client.find_branch(self.manual.repository, branch)
        head = await self._first_commit() if found is None else found.commit_id
        changes = await self._compare(await self._files(), head, {})
        await self._wanted(changes, None if found is None else head)
        return changes

    async def _files(self) -> Mapping[str, FileStat]:
        scanned = await in_thread(scan, self.source, Selection(self.spec.include, self.spec.exclude), FOR_IMPORT)
        names = [self.spec.root + path for path in scanned.files]
        refuse_actions(names)
        for name in names:
            check_object_name(name, FOR_IMPORT, prefix=self.spec.root)
        return scanned.files

    async def _wanted(self, changes: Changes, head: str | None) -> Changes:
        """The differences that the import will apply.

        Args:
            head: of the branch; None if the branch does not exist.

        Raises:
            ObjectNameError: a path is a file on one side and a directory on the other.
        """
        if not self.mirror:
            _expect_apart(changes.added, changes.deleted)
            changes = replace(changes, deleted=())
        if head is not None:
            await check_places(self._client, self.manual.repository, head, self.spec, changes, FOR_IMPORT)
        return changes

    async def _first_commit(self) -> str:
        """The repository's first commit, which has no parent and no content."""
        last: Commit | None = None
        facts = await self._client.get_repository(self.manual.repository)
        async for page in self._client.log_commits(self.manual.repository, facts.default_branch):
            last = page[-1]
        return required(last, "every branch has a commit").id

    async def _compare(self, files: Mapping[str, FileStat], head: str, digests: dict[str, str]) -> Changes:
        """The differences from the head. Each file's digest is computed once."""
        await self._check_prefix(head)
        found = await list_files(self._client, self.manual.repository, head, self.spec)
        present = {stats.path[len(self.spec.root) :]: stats for stats in found}
        modified = [
            path
            for path, stats in present.items()
            if path in files and not await self._is_same(path, files[path], stats, digests)
        ]
        return Changes(
            added=tuple(sorted(files.keys() - present.keys())),
            modified=tuple(sorted(modified)),
            deleted=tuple(sorted(present.keys() - files.keys())),
        )

    async def _check_prefix(self, head: str) -> None:
        """Refuse a prefix that goes through a file.

        Raises:
            ObjectNameError
        """
        segments = self.spec.root.split("/")[:-1]
        for name in ("/".join(segments[:length]) for length in range(1, len(segments) + 1)):
            if await self._client.find_object(self.manual.repository, head, name) is not None:
                raise ObjectNameError(
                    f"{show_name(name)} is a file in {self.manual.repository!r}, so nothing can be imported below "
                    f"it. Give another prefix"
                )

    async def _is_same(self, path: str, file: FileStat, stats: ObjectStats, digests: dict[str, str]) -> bool:
        in_parts = is_multipart(stats.checksum)
        if (file.size, file.executable) != (stats.size, stats.executable) or not (in_parts or is_md5(stats.checksum)):
            return False
        if path not in digests:
            digests[path] = await in_thread(self._digest, path, file.size, stats.checksum if in_parts else None)
        return digests[path] == f"{MD5}:{stats.checksum}"

    def _digest(self, path: str, size: int, of_parts: str | None) -> str:
        """The MD5 of a file; or this checksum of parts, if the file matches it."""
        with open_workspace(self.source, FOR_IMPORT) as files:
            if of_parts is None:
                return digest_file(files, path, MD5, size)
            with open_workspace_file(files, path) as (descriptor, _), storage_errors("cannot read", path, FOR_IMPORT):
                is_right = judge_parts(of_parts, descriptor, size) is ChecksumMatch.RIGHT
        return f"{MD5}:{of_parts if is_right else None}"

    async def _commit(self, branch: str, head: str, changes: Changes, message: str, *, is_new: bool) -> str:
        self.progress.total_files = self.progress.files + len(changes.written)
        edit = Edit(directory=self.source, root=self.spec.root, changes=changes, done=self.progress.add)
        async with self.manual.staged(head, message, edit) as staged:
            return await (self._make_branch(branch, staged) if is_new else self.manual.swap(branch, staged))

    async def _make_branch(self, branch: str, staged: Commit) -> str:
        """Create the branch at the staged commit, so that it is never visible without the import."""
        try:
            await self._client.create_branch(self.manual.repository, branch, staged.id)
        except LakeFSError as exc:
            if exc.status == _CONFLICT:
                raise HeadMovedError(f"somebody else created branch {branch!r} at the same time") from exc
            if exc.status in NOT_THERE:
                raise BranchNotFoundError(
                    f"lakeFS does not accept {branch!r} as a branch name: {exc.message}. Use letters, digits, hyphens "
                    f"and underscores"
                ) from exc
            raise
        return staged.id


def _expect_apart(added: Iterable[str], kept: Iterable[str]) -> None:
    """Refuse an added file that clashes with a kept one: a file where a directory is, or the reverse.

    Raises:
        ObjectNameError
    """
    files = set(kept)
    directories = {directory for path in files for directory in _above(path)}
    for path in added:
        held = path if path in directories else next((above for above in _above(path) if above in files), None)
        if held is not None:
            raise ObjectNameError(
                f"{show_name(path)} cannot be written: the repository has {show_name(held)}, and a path cannot be both "
                f"a file and a directory. Give the file another path, or use --mirror to delete what the directory "
                f"does not have"
            )


def _above(path: str) -> Iterator[str]:
    """The directories above a path."""
    segments = path.split("/")
    return ("/".join(segments[:length]) for length in range(1, len(segments)))

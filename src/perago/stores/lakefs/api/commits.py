"""Commits by full id, and checks of inputs. Commits are cached, because they never change."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Mapping

from perago.errors import BranchNotFoundError, RefNotFoundError, RepositoryNotFoundError, StoreError
from perago.stores.lakefs.api.answers import Commit, LakeFSError, ObjectStats, uri
from perago.stores.lakefs.api.client import LakeFSClient, both
from perago.values.models import WorkspaceInput, run_branch_time

_REMEMBERED = 512
"""Commits, of a few kilobytes each, and branch names that one store caches."""

_LISTED = 64
"""Listings that one store caches."""

_FULL_ID = re.compile(r"[0-9a-f]{64}")
NOT_THERE = (400, 404)
"""Statuses for a missing repository, branch or commit; 400 means that the name is not even valid."""


class Commits:
    """The commits of a server. Use it within one event loop.

    Args:
        client: to ask.
    """

    def __init__(self, client: LakeFSClient) -> None:
        self._client = client
        self._known: OrderedDict[tuple[str, str], Commit] = OrderedDict()
        self._branches: set[tuple[str, str]] = set()
        self._listed: OrderedDict[tuple[str, str, str], Mapping[str, ObjectStats]] = OrderedDict()
        self._listing: dict[tuple[str, str, str], asyncio.Future[Mapping[str, ObjectStats]]] = {}

    def has(self, repository: str, commit_id: str) -> bool:
        """Whether the commit with a full id is known to exist."""
        return (repository, commit_id) in self._known

    async def get(self, repository: str, commit_id: str) -> Commit:
        """The commit with a full id.

        Raises:
            StoreError: it does not exist.
        """
        key = (repository, commit_id)
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        try:
            commit = await self._client.get_commit(repository, commit_id)
        except LakeFSError as exc:
            if exc.status not in NOT_THERE:
                raise
            raise StoreError(
                f"repository {repository!r} has no commit {commit_id}. Run the task again from the current head"
            ) from exc
        return self.remember(repository, commit)

    async def objects_below(self, repository: str, commit: Commit, prefix: str) -> Mapping[str, ObjectStats]:
        """The objects of a commit below a prefix, by name: few. Listed once for all commits with the same content."""
        key = (repository, commit.meta_range_id, prefix)
        if key not in self._listed:
            self.begin_listing(repository, commit, prefix)
            return await asyncio.shield(self._listing[key])
        return self._listed[key]

    def begin_listing(self, repository: str, commit: Commit, prefix: str) -> None:
        """Begin a listing that `objects_below` will wait for. It ends with the loop's thread at the latest."""
        key = (repository, commit.meta_range_id, prefix)
        if key not in self._listing and key not in self._listed:
            listing = asyncio.ensure_future(self._list_below(repository, commit.id, prefix))
            listing.add_done_callback(lambda done: self._end_listing(key, done))
            self._listing[key] = listing

    async def _list_below(self, repository: str, commit_id: str, prefix: str) -> Mapping[str, ObjectStats]:
        found: dict[str, ObjectStats] = {}
        async for page in self._client.list_objects(repository, commit_id, prefix=prefix):
            found.update((stats.path, stats) for stats in page)
        return found

    def _end_listing(self, key: tuple[str, str, str], listing: asyncio.Future[Mapping[str, ObjectStats]]) -> None:
        """Keep what was found. Those who wait for the listing get its failure."""
        del self._listing[key]
        if not listing.cancelled() and listing.exception() is None:
            self._listed[key] = listing.result()
            if len(self._listed) > _LISTED:
                self._listed.popitem(last=False)

    def remember(self, repository: str, commit: Commit) -> Commit:
        """Cache a commit that another call returned."""
        self._known[(repository, commit.id)] = commit
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return commit

    async def check_input(self, workspace_input: WorkspaceInput) -> Commit:
        """The input's commit.

        Raises:
            RefNotFoundError, BranchNotFoundError, RepositoryNotFoundError: something that the input names is missing.
        """
        base = full_id(workspace_input)
        try:
            commit, _ = await both(
                self._client.get_commit(workspace_input.repository, base),
                self._client.get_branch(workspace_input.repository, workspace_input.branch),
            )
        except LakeFSError as exc:
            raise await self.explained(exc, workspace_input) from exc
        return self.remember(workspace_input.repository, commit)

    async def check_branch(self, workspace_input: WorkspaceInput) -> None:
        """Check once that the input's branch is a branch, and not a tag or commit.

        That of a run is not checked: no tag has such a name.

        Raises:
            LakeFSError: it is not.
        """
        key = (workspace_input.repository, workspace_input.branch)
        if key not in self._branches and run_branch_time(workspace_input.branch) is None:
            await self._client.get_branch(*key)
            self.remember_branch(*key)

    def remember_branch(self, repository: str, branch: str) -> None:
        """Cache that this is the name of a branch."""
        if len(self._branches) >= _REMEMBERED:
            self._branches.clear()
        self._branches.add((repository, branch))

    async def head_of(self, repository: str, branch: str) -> str:
        """Full id of the commit that a branch points at.

        Raises:
            RepositoryNotFoundError, BranchNotFoundError: there is no such repository or branch.
        """
        try:
            found = await self._client.get_branch(repository, branch)
        except LakeFSError as exc:
            if exc.status not in NOT_THERE:
                raise
            await check_repository(self._client, repository)
            raise BranchNotFoundError(f"repository {repository!r} has no branch {branch!r}. Check the name") from exc
        self.remember_branch(repository, branch)
        return found.commit_id

    async def explained(self, fault: LakeFSError, workspace_input: WorkspaceInput) -> StoreError:
        """The error for a failed call: for the part of the input that is missing, or the fault itself."""
        if fault.status not in NOT_THERE:
            return fault
        repository, branch = workspace_input.repository, workspace_input.branch
        try:
            await self._client.get_repository(repository)
        except LakeFSError as exc:
            return no_repository(repository) if exc.status in NOT_THERE else exc
        try:
            await self._client.get_branch(repository, branch)
        except LakeFSError as exc:
            return _no_branch(repository, branch, workspace_input.ref) if exc.status in NOT_THERE else exc
        try:
            await self._client.get_commit(repository, workspace_input.ref)
        except LakeFSError as exc:
            return no_commit(repository, workspace_input.ref) if exc.status in NOT_THERE else exc
        return fault


def full_id(workspace_input: WorkspaceInput) -> str:
    """The input ref, if it can be a full commit id.

    Raises:
        RefNotFoundError: it is a branch, a tag, an expression or a shortened id.
    """
    check_full_id(workspace_input.ref, workspace_input.repository)
    return workspace_input.ref


def is_full_id(ref: str) -> bool:
    """Whether a ref can be a full commit id."""
    return _FULL_ID.fullmatch(ref) is not None


def check_full_id(ref: str, repository: str) -> None:
    """Check that a ref can be a full commit id.

    Raises:
        RefNotFoundError: it cannot.
    """
    if not is_full_id(ref):
        raise RefNotFoundError(
            f"ref {ref!r} is not a full commit id (64 hexadecimal digits). A branch or a tag can move. Give the id of "
            f"its commit, which `perago log --repo {uri(repository)}` shows"
        )


async def check_repository(client: LakeFSClient, repository: str) -> None:
    """Check that a repository exists.

    Raises:
        RepositoryNotFoundError: it does not.
    """
    try:
        await client.get_repository(repository)
    except LakeFSError as exc:
        if exc.status not in NOT_THERE:
            raise
        raise no_repository(repository) from exc


def no_repository(repository: str) -> RepositoryNotFoundError:
    """The error for a missing repository."""
    return RepositoryNotFoundError(
        f"the lakeFS server has no repository {repository!r}. Check the name, or create it with "
        f"`lakectl repo create {uri(repository)} STORAGE_NAMESPACE`"
    )


def _no_branch(repository: str, branch: str, ref: str) -> BranchNotFoundError:
    return BranchNotFoundError(
        f"repository {repository!r} has no branch {branch!r}. Check the name, or create it with "
        f"`lakectl branch create {uri(repository, branch)} --source {uri(repository, ref)}`"
    )


def no_commit(repository: str, ref: str) -> RefNotFoundError:
    """The error for a missing commit."""
    return RefNotFoundError(
        f"repository {repository!r} has no commit {ref}. Give a commit id of this repository as input ref"
    )

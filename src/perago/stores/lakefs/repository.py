"""One repository of a lakeFS server, for the commands: see `perago.ports`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from perago.errors import BranchNotFoundError, HeadMovedError, RepositoryNotFoundError
from perago.ports import (
    AttemptLiveness,
    CommitEntry,
    CompletesWorkspaces,
    FileDigests,
    ForeseesDownload,
    KeepFiles,
    ListedFile,
    LogEntry,
    Phase,
    ReusableStore,
    RunAgeLimit,
    StoredFile,
    TransactionalStore,
    WorkspaceStore,
    default_run_age_limit,
)
from perago.stores.lakefs.api.answers import LakeFSError
from perago.stores.lakefs.api.client import each
from perago.stores.lakefs.api.commits import NOT_THERE, check_full_id, check_repository, no_commit
from perago.stores.lakefs.clean import Janitor
from perago.stores.lakefs.connection import StoreConnection
from perago.stores.lakefs.content.transfer import Transfer
from perago.stores.lakefs.examine import Examination
from perago.stores.lakefs.import_export import Import
from perago.stores.lakefs.log import changes, log
from perago.stores.lakefs.manual_commits import ManualCommits, check_fence, install_fence
from perago.stores.lakefs.materialize import Layout, check_layout, find_file, lay_out, plan_layout
from perago.stores.lakefs.resolve import resolve
from perago.stores.provider import FenceReport
from perago.values.findings import Finding
from perago.values.history import Conflict, History, Merge
from perago.values.models import RUN_BRANCH_TTL_SECONDS, Changes, StagedWorkspace, TaskExecution, WorkspaceInput
from perago.values.names import FOR_EXPORT, name_fault
from perago.values.spec import WHOLE_REPOSITORY, WorkspaceSpec
from perago.workspace.empty_directory import empty_directory

FOUND_AT_ONCE = 100
"""Files that are asked for ahead of a caller that takes one after the other."""

_EXISTS, _NO_NAME = 409, 400


class _Store(WorkspaceStore, ForeseesDownload, CompletesWorkspaces, TransactionalStore, ReusableStore, Protocol):
    """The ports of `LakeFSStore`."""


class LakeFSRepository:
    """The commands' view of one repository. It also has the store's ports, for inputs in this repository.

    Args:
        store: the caller closes it, with its connection.
        name: of the repository.
    """

    def __init__(self, store: _Store, connection: StoreConnection, name: str) -> None:
        self._store = store
        self._connection = connection
        self.name = name

    # ---- the store's ports

    def download_workspace(
        self, workspace_input: WorkspaceInput, workspace_spec: WorkspaceSpec, workspace_dir: Path, /
    ) -> object:
        return self._store.download_workspace(workspace_input, workspace_spec, workspace_dir)

    def complete_workspace(
        self,
        workspace_input: WorkspaceInput,
        workspace_spec: WorkspaceSpec,
        workspace_dir: Path,
        keep: KeepFiles,
    ) -> FileDigests:
        return self._store.complete_workspace(workspace_input, workspace_spec, workspace_dir, keep)

    def list_workspace(
        self, workspace_input: WorkspaceInput, workspace_spec: WorkspaceSpec, /
    ) -> Mapping[str, ListedFile]:
        return self._store.list_workspace(workspace_input, workspace_spec)

    def foresee_download(self, workspace_input: WorkspaceInput, workspace_spec: WorkspaceSpec, /) -> None:
        self._store.foresee_download(workspace_input, workspace_spec)

    def read_history(self, workspace_input: WorkspaceInput, /) -> History:
        return self._store.read_history(workspace_input)

    def validate_reads(
        self, workspace_input: WorkspaceInput, workspace_spec: WorkspaceSpec, merge: Merge, /
    ) -> Conflict | None:
        return self._store.validate_reads(workspace_input, workspace_spec, merge)

    def stage_workspace(
        self,
        workspace_dir: Path,
        workspace_input: WorkspaceInput,
        workspace_spec: WorkspaceSpec,
        execution: TaskExecution,
        /,
    ) -> StagedWorkspace:
        return self._store.stage_workspace(workspace_dir, workspace_input, workspace_spec, execution)

    def publish_workspace(
        self,
        staged: StagedWorkspace,
        workspace_input: WorkspaceInput,
        workspace_spec: WorkspaceSpec,
        execution: TaskExecution,
        /,
    ) -> str:
        return self._store.publish_workspace(staged, workspace_input, workspace_spec, execution)

    def complete_noop_workspace(
        self, workspace_input: WorkspaceInput, workspace_spec: WorkspaceSpec, execution: TaskExecution, /
    ) -> str:
        return self._store.complete_noop_workspace(workspace_input, workspace_spec, execution)

    def cleanup_staging(self, staged: StagedWorkspace, /) -> None:
        self._store.cleanup_staging(staged)

    def create_run_branch(self, repository: str, branch: str, source: str, /) -> str:
        return self._store.create_run_branch(repository, branch, source)

    def changes_of_run(self, workspace_input: WorkspaceInput, run_ref: str, /) -> Changes:
        return self._store.changes_of_run(workspace_input, run_ref)

    def stage_run(self, workspace_input: WorkspaceInput, run_ref: str, execution: TaskExecution, /) -> StagedWorkspace:
        return self._store.stage_run(workspace_input, run_ref, execution)

    def commits_since(self, repository: str, known: Callable[[str], bool], /) -> Iterator[CommitEntry]:
        return self._store.commits_since(repository, known)

    def changes_of(self, repository: str, commits: Sequence[CommitEntry], prefix: str = "", /) -> list[Changes]:
        return self._store.changes_of(repository, commits, prefix)

    def has_same_files(self, workspace_input: WorkspaceInput, ref: str, workspace_spec: WorkspaceSpec, /) -> bool:
        return self._store.has_same_files(workspace_input, ref, workspace_spec)

    def stage_copy(
        self,
        source_ref: str,
        workspace_input: WorkspaceInput,
        workspace_spec: WorkspaceSpec,
        execution: TaskExecution,
        /,
    ) -> StagedWorkspace:
        return self._store.stage_copy(source_ref, workspace_input, workspace_spec, execution)

    # ---- what the commands need

    def check(self) -> None:
        """Check that the repository exists.

        Raises:
            RepositoryNotFoundError: it does not.
        """
        self._connection.run(check_repository(self._connection.client, self.name))

    def create(self, storage_namespace: str, branch: str) -> None:
        """Create the repository, unless it exists.

        Args:
            storage_namespace: where the server keeps the objects, such as s3://bucket/songs.
            branch: the default branch.
        """
        try:
            self.check()
        except RepositoryNotFoundError:
            made = self._connection.client.create_repository(self.name, storage_namespace, default_branch=branch)
            self._connection.run(made)

    def branch_head(self, branch: str) -> str | None:
        """Full id of the commit that a branch points at; None if there is no such branch."""
        found = self._connection.run(self._connection.client.find_branch(self.name, branch))
        return found.commit_id if found is not None else None

    def branches(self) -> list[str]:
        """Names of all branches that people work on, sorted. Excludes those of attempts and runs, which are hidden.

        Raises:
            RepositoryNotFoundError
        """
        self.check()
        pages = self._connection.client.list_branches(self.name)
        return sorted(branch.id for page in self._connection.drained(pages) for branch in page)

    def create_branch(self, branch: str, commit: str) -> None:
        """Create a branch at a commit, by its full id."""
        try:
            self._connection.run(self._connection.client.create_branch(self.name, branch, commit))
        except LakeFSError as exc:
            if exc.status == _EXISTS:
                raise HeadMovedError(f"branch {branch!r} of {self.name!r} is at another commit") from exc
            if exc.status == _NO_NAME:
                raise BranchNotFoundError(f"{branch!r} is no name of a branch: {exc}; give another one") from exc
            if exc.status not in NOT_THERE:
                raise
            self.check()
            raise no_commit(self.name, commit) from exc

    def resolve(self, ref: str) -> str:
        """Full id of the commit named by a branch, a tag, an expression or the beginning of an id.

        Raises:
            RepositoryNotFoundError: there is no such repository.
            RefNotFoundError: no commit, or more than one, has this name.
        """
        return self._connection.run(resolve(self._connection.client, self.name, ref))

    def import_directory(
        self, source: Path, branch: str, message: str, *, spec: WorkspaceSpec | None = None, mirror: bool = False
    ) -> str | None:
        """Commit a directory's files to a branch below `spec.prefix`, in one commit without a stamp.

        See `import_export.Import.run`, and `LakeFSStore.publish_workspace` for the fence's errors.
        """
        self.check()
        return self._connection.run(self._import(source, spec, mirror=mirror).run(branch, message))

    def compare_directory(
        self, source: Path, branch: str, *, spec: WorkspaceSpec | None = None, mirror: bool = False
    ) -> Changes:
        """The changes that `import_directory` would make. Writes nothing. See `import_export.Import.compare`."""
        self.check()
        return self._connection.run(self._import(source, spec, mirror=mirror).compare(branch))

    def _import(self, source: Path, spec: WorkspaceSpec | None, *, mirror: bool) -> Import:
        return Import(
            manual=self._manual_commits,
            source=source,
            spec=spec or WorkspaceSpec(),
            mirror=mirror,
            progress=self._connection.progress(Phase.STAGE),
        )

    def export(self, ref: str, prefix: str, target: Path) -> int:
        """Lay out a commit's files below a new or empty directory. Returns the number of files.

        Raises:
            RefNotFoundError: `ref` is not a full commit id, or there is no such commit.
            PrefixNotFoundError: the commit has nothing below the prefix.
            ObjectNameError: a name cannot be laid out; nothing was written.
            WorkspaceStorageError: the directory is not empty, or cannot be written.
        """
        spec = WorkspaceSpec(prefix=prefix or WHOLE_REPOSITORY)
        transfer, layout = self._connection.run(self._plan_export(ref, spec))
        progress = self._connection.progress(Phase.MATERIALIZE, len(layout.files))
        with empty_directory(target):
            check_layout(layout, target, FOR_EXPORT)
            lay_out(transfer, layout, target.resolve(), progress.add, words=FOR_EXPORT)  # the target may be a link
        return len(layout.files)

    def files(self, ref: str, prefix: str) -> list[str]:
        """The names of a commit's objects below a prefix ("/": all), sorted, without directory markers."""
        _, layout = self._connection.run(self._plan_export(ref, WorkspaceSpec(prefix=prefix or WHOLE_REPOSITORY)))
        return [stats.path for stats in layout.files]

    def find_file(self, ref: str, path: str) -> StoredFile | None:
        """An object of a commit; None if it has no such object."""
        return self._connection.run(self._find_file(ref, path))

    def find_files(self, ref: str, paths: Sequence[str]) -> Iterator[StoredFile | None]:
        """Objects of a commit, in the order of their names; None for each that it does not have."""
        for first in range(0, len(paths), FOUND_AT_ONCE):
            yield from self._connection.run(self._find_files(ref, paths[first : first + FOUND_AT_ONCE]))

    def check_fence(self, branch: str) -> FenceReport:
        """Whether a branch has the fence and the server enforces it. See `manual_commits.check_fence`."""
        return self._connection.run(check_fence(self._manual_commits, branch))

    def install_fence(self, branch: str) -> str | None:
        """Commit the fence to a branch. Returns the new head, or None if the branch already had the fence."""
        return self._connection.run(install_fence(self._manual_commits, branch))

    def log(self, ref: str, limit: int) -> Iterator[LogEntry]:
        """The commit `ref` and its first parents, newest first, at most `limit` of them."""
        for entries in self._connection.drained(log(self._connection.client, self.name, ref, limit)):
            yield from entries

    def changes(self, before: str, after: str) -> Changes:
        """The names that differ from one commit to another. See `log.changes`."""
        return self._connection.run(changes(self._connection.client, self.name, before, after))

    def sweep(
        self,
        older_than_seconds: float,
        liveness_of: AttemptLiveness = lambda _: "unknown",
        *,
        runs_older_than_seconds: float = RUN_BRANCH_TTL_SECONDS,
    ) -> tuple[str, ...]:
        """Remove staging branches that killed attempts left, and branches of old runs. Returns their names.

        See `clean.Janitor`.
        """
        return self._connection.run(
            self._janitor(older_than_seconds, lambda _: runs_older_than_seconds, liveness_of).sweep()
        )

    def examine(
        self,
        *,
        older_than_seconds: float,
        run_age_limit: RunAgeLimit = default_run_age_limit,
        liveness_of: AttemptLiveness = lambda _: "unknown",
        living_since: float | None = None,  # noqa: ARG002 - only the age and the engine tell here
        deep: bool = False,
    ) -> Iterator[Finding]:
        """Find leftovers of killed attempts and damaged data. Changes nothing. See `examine.Examination`."""
        self.check()
        janitor = self._janitor(older_than_seconds, run_age_limit, liveness_of)
        looking = Examination(
            janitor,
            lambda branch: self._connection.run(janitor.remove(branch)),
            deep=deep,
            checksums=self._connection.checksums,
        )
        yield from self._connection.drained(looking.run())

    @property
    def _manual_commits(self) -> ManualCommits:
        return ManualCommits(self._connection, self.name)

    def _janitor(self, older_than: float, run_age_limit: RunAgeLimit, liveness_of: AttemptLiveness) -> Janitor:
        connection = self._connection
        return Janitor(connection.client, connection.clock, self.name, older_than, run_age_limit, liveness_of)

    async def _plan_export(self, ref: str, spec: WorkspaceSpec) -> tuple[Transfer, Layout]:
        transfer = await self._reading(ref)
        return transfer, await plan_layout(transfer, ref, spec, may_be_missing=False)

    async def _find_file(self, ref: str, path: str) -> StoredFile | None:
        return await find_file(await self._reading(ref), ref, path)

    async def _find_files(self, ref: str, paths: Sequence[str]) -> list[StoredFile | None]:
        transfer = await self._reading(ref)

        async def find(path: str) -> StoredFile | None:
            return None if name_fault(path) else await find_file(transfer, ref, path)

        return await each(paths, find)

    async def _reading(self, ref: str) -> Transfer:
        """The transfer for a commit that exists.

        Raises:
            RefNotFoundError: `ref` is not a full commit id, or there is no such commit.
        """
        check_full_id(ref, self.name)
        try:
            if not self._connection.commits.has(self.name, ref):
                commit = await self._connection.client.get_commit(self.name, ref)
                self._connection.commits.remember(self.name, commit)
        except LakeFSError as exc:
            if exc.status not in NOT_THERE:
                raise
            await check_repository(self._connection.client, self.name)
            raise no_commit(self.name, ref) from exc
        return await self._connection.transfer(self.name)

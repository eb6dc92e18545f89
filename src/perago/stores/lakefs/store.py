"""The lakeFS store as one object: the store's ports, and what the commands need besides."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from perago.errors import RuntimeConfigError
from perago.findings import Finding
from perago.http.loop import LoopThread
from perago.models import History, StagedWorkspace, TaskExecution, WorkspaceInput
from perago.ports import Clock, Event, FileDigests, Observer, Phase, SystemClock, ignore
from perago.repositories import AttemptLiveness, LogEntry
from perago.spec import WHOLE_REPOSITORY, WorkspaceSpec
from perago.stores.lakefs.branches import staging_name
from perago.stores.lakefs.by_hand import ByHand
from perago.stores.lakefs.canary import Canary
from perago.stores.lakefs.clean import Janitor, cleanup_staging
from perago.stores.lakefs.client import LakeFSClient
from perago.stores.lakefs.commits import NOT_THERE, Commits, full_id
from perago.stores.lakefs.examine import staged_commits, stamp_findings
from perago.stores.lakefs.failure import LakeFSError
from perago.stores.lakefs.fence import FenceMode
from perago.stores.lakefs.history import read_history
from perago.stores.lakefs.import_export import Import, export
from perago.stores.lakefs.installation import FenceReport, check_fence, install_fence
from perago.stores.lakefs.log import log
from perago.stores.lakefs.materialize import Layout, check_layout, lay_out, plan_layout
from perago.stores.lakefs.publish import MERGE_SECONDS, NOT_GUARANTEED, Publishing, complete_noop
from perago.stores.lakefs.resolve import check_repository, resolve
from perago.stores.lakefs.stage import Staging, StagingJob
from perago.stores.lakefs.transfer import Transfer
from perago.stores.lakefs.values import ServerFacts
from perago.workspace.cache import ObjectCache
from perago.workspace.progress import Progress

T = TypeVar("T")


class LakeFSStore:
    """A versioned store on a lakeFS server. Any number of threads, processes and hosts may share one.

    The repository is each input's. Its server-side actions (`_lakefs_actions/`) are no part of any workspace: no task
    sees or changes them. Nothing is sent before the first call; `close` ends what was opened, and so does the end of
    the context.

    Args:
        endpoint_url: of the server, such as http://lakefs.example:8000; with or without /api/v1.
        access_key_id, secret_access_key: whom the server knows.
        fence: "exact" publishes from the expected head only, which the server's hooks see to; where it runs none, an
            attempt fails. "cooperative" needs no hooks: Perago's own attempts keep off each other as exactly, but a
            commit by anybody else, made in the moment of a publication, is only found out afterwards. Then nothing is
            lost, but the publication does not count, and the attempt fails.
        merge_timeout_seconds: how long moving a branch may take; `lakefs_merge_timeout_seconds` of a PublishBudget.
        ca_file: certificates that the server's may be signed with; None: the system's.
        connections: to the server, at most at once.
        cache: of the host's, for objects that were fetched or sent before; None: none is used.
        observer: gets the progress events of materializing and staging.
        clock: where time comes from.

    Raises:
        RuntimeConfigError: the endpoint is no URL of a server, or another argument is none that it takes.
    """

    def __init__(
        self,
        *,
        endpoint_url: str,
        access_key_id: str,
        secret_access_key: str,
        fence: FenceMode = "exact",
        merge_timeout_seconds: float = MERGE_SECONDS,
        ca_file: str | os.PathLike[str] | None = None,
        connections: int = 32,
        cache: ObjectCache | None = None,
        observer: Observer = ignore,
        clock: Clock | None = None,
    ) -> None:
        if fence not in ("exact", "cooperative"):
            raise RuntimeConfigError(f"fence is {fence!r}; it takes 'exact' or 'cooperative'")
        if merge_timeout_seconds <= 0:
            raise RuntimeConfigError(f"merge_timeout_seconds is {merge_timeout_seconds}; it takes seconds above 0")
        self._observer = observer
        self._clock = clock or SystemClock()
        self._client = LakeFSClient.connect(
            endpoint_url, access_key_id, secret_access_key, ca_file=ca_file, connections=connections
        )
        self._fence: FenceMode = fence
        self._commits = Commits(self._client)
        self._staging = Staging(self._client, self._commits, fence)
        self._publishing = Publishing(self._client, self._commits, fence, merge_timeout_seconds)
        self._canary = Canary(self._client, self._clock)
        self._loop = LoopThread("perago-lakefs")
        self._staged_on: dict[str, StagedWorkspace] = {}
        self._is_used = False
        self._cache = cache
        self._server: ServerFacts | None = None

    # ---- its life

    def close(self) -> None:
        """End all connections, and the thread that serves them. Twice is fine; afterwards no call is taken."""
        if self._is_used:
            self._is_used = False
            self._loop.run(self._client.close())
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()

    # ---- the ports; see `perago.ports` for what they promise

    def download_workspace(
        self, workspace_input: WorkspaceInput, workspace_spec: WorkspaceSpec, workspace_dir: Path, /
    ) -> FileDigests:
        """Lay out the input's files below the prefix.

        A prefix that is not there is an empty workspace for a writable task, whose output makes it.

        Raises:
            RefNotFoundError, BranchNotFoundError, RepositoryNotFoundError: the input names what is not there.
            PrefixNotFoundError: of a read-only task, or what is there is a file.
            ObjectNameError: something in the commit cannot be laid out; nothing was written.
            StoreError: content is missing or damaged, or the server did not answer.
            WorkspaceStorageError: the disk refused.
        """
        transfer, layout = self._run(self._plan(workspace_input, workspace_spec))
        check_layout(layout, workspace_dir)
        progress = self._progress(Phase.MATERIALIZE, len(layout.files))
        return lay_out(transfer, layout, workspace_dir, progress.add)

    def read_history(self, workspace_input: WorkspaceInput, /) -> History:
        """Read the head, then the first-parent line from it down to the input: a call for each 1,000 commits."""
        return self._run(read_history(self._client, self._commits, workspace_input))

    def stage_workspace(
        self,
        workspace_dir: Path,
        workspace_input: WorkspaceInput,
        workspace_spec: WorkspaceSpec,
        execution: TaskExecution,
        /,
    ) -> StagedWorkspace:
        """Upload the changed files to a hidden branch, and commit them on top of the plan's head.

        Raises, besides what the port says:
            FenceUnavailableError: the server would not guard the publication, and `fence` is "exact".
            ObjectNameError: a name that no workspace could take, or one of the server's actions.
        """
        return self._run(self._stage(workspace_dir, workspace_input, workspace_spec, execution))

    def publish_workspace(
        self,
        staged: StagedWorkspace,
        workspace_input: WorkspaceInput,
        _workspace_spec: WorkspaceSpec,
        execution: TaskExecution,
        /,
    ) -> str:
        """Merge the staged commit into the branch, on the head that it was staged upon; returns the merge's full id.

        Raises, besides what the port says:
            PublishVetoedError: another hook on the server refused.
            DirtyBranchError: the branch holds uncommitted changes.
            PublishFenceError: with fence="cooperative", somebody else's commit came in between.
        """
        published = self._run(self._publishing.publish(staged, workspace_input, execution))
        if self._fence == "cooperative":
            self._observer(_caution(execution, published.id))
        return published.id

    def complete_noop_workspace(
        self, workspace_input: WorkspaceInput, _workspace_spec: WorkspaceSpec, execution: TaskExecution, /
    ) -> str:
        """Say which commit an attempt without changes completes with."""
        return self._run(complete_noop(self._client, self._commits, workspace_input, execution))

    def cleanup_staging(self, staged: StagedWorkspace, /) -> None:
        """Remove the staging branch; one that is gone is fine."""
        self._run(self._clean(staged))

    # ---- what the commands need

    def branch_head(self, repository: str, branch: str) -> str | None:
        """Full id of the commit that a branch points at; None where there is no such branch, or repository."""
        found = self._run(self._client.find_branch(repository, branch))
        return found.commit_id if found is not None else None

    def branches(self, repository: str) -> list[str]:
        """Names of all branches but hidden ones, sorted.

        Raises:
            RepositoryNotFoundError
        """
        return self._run(self._branches(repository))

    def create_repository(self, repository: str, storage_namespace: str, branch: str) -> None:
        """Make a repository with one branch, which points at an empty first commit.

        Args:
            storage_namespace: where the server keeps its objects; used by no other repository.

        Raises:
            StoreError: the server refuses.
        """
        self._run(self._client.create_repository(repository, storage_namespace, default_branch=branch))

    def import_directory(
        self, repository: str, source: Path, branch: str, message: str, *, spec: WorkspaceSpec | None = None
    ) -> str | None:
        """Make a branch's content equal to a directory's. See `import_export.Import.run`."""
        job = Import(
            by_hand=self._by_hand(repository),
            transfer=self._run(self._transfer(repository)),
            run_coroutine=self._run,
            source=source,
            branch=branch,
            message=message,
            spec=spec or WorkspaceSpec(),
        )
        return job.run(self._progress(Phase.STAGE))

    def export(self, repository: str, ref: str, prefix: str, target: Path) -> int:
        """Lay out a commit's files below a new or empty directory; returns how many. See `import_export.export`."""
        transfer = self._run(self._transfer(repository))
        spec = WorkspaceSpec(prefix=prefix or WHOLE_REPOSITORY)
        return export(transfer, ref, spec, target, self._progress(Phase.MATERIALIZE))

    def check_fence(self, repository: str, branch: str) -> FenceReport:
        """Whether a branch has the fence, and the server heeds it. See `installation`."""
        return self._run(check_fence(self._by_hand(repository), branch))

    def install_fence(self, repository: str, branch: str) -> str | None:
        """Put the fence on a branch; returns the new head, None where it was there. See `installation`."""
        return self._run(install_fence(self._by_hand(repository), branch))

    def log(self, repository: str, ref: str, limit: int) -> list[LogEntry]:
        """The commit `ref` and its first parents, newest first, at most `limit` of them."""
        return self._run(log(self._client, repository, ref, limit))

    def examine(
        self,
        repository: str,
        *,
        older_than_seconds: float,
        liveness_of: AttemptLiveness = lambda _: "unknown",
        deep: bool = False,
    ) -> Iterator[Finding]:
        """Find staging branches that killed attempts left, and stamps that cannot be read; nothing is changed.

        Args:
            deep: look at all commits of each branch, not at the newest 1,000 only.
        """
        janitor = Janitor(self._client, self._clock, repository, older_than_seconds, liveness_of)
        yield from staged_commits(janitor, self._run)
        yield from self._run(stamp_findings(self._client, repository, deep=deep))

    def resolve(self, repository: str, ref: str) -> str:
        """Full id of the commit that a branch, a tag, an expression or the beginning of an id names."""
        return self._run(resolve(self._client, repository, ref))

    def sweep(
        self, repository: str, older_than_seconds: float, liveness_of: AttemptLiveness = lambda _: "unknown"
    ) -> tuple[str, ...]:
        """Remove the staging branches that killed attempts left; returns their names. See `clean.Janitor`."""
        return self._run(Janitor(self._client, self._clock, repository, older_than_seconds, liveness_of).sweep())

    # ---- inside

    def _by_hand(self, repository: str) -> ByHand:
        return ByHand(
            client=self._client,
            commits=self._commits,
            publishing=self._publishing,
            canary=self._canary,
            clock=self._clock,
            repository=repository,
        )

    async def _branches(self, repository: str) -> list[str]:
        try:
            return sorted([branch.id async for page in self._client.list_branches(repository) for branch in page])
        except LakeFSError as exc:
            if exc.status in NOT_THERE:
                await check_repository(self._client, repository)
            raise

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        self._is_used = True
        return self._loop.run(coroutine)

    async def _transfer(self, repository: str) -> Transfer:
        if self._server is None:
            self._server = await self._client.get_config()
        return Transfer(self._client, self._loop, repository, self._server, self._cache)

    async def _plan(self, workspace_input: WorkspaceInput, spec: WorkspaceSpec) -> tuple[Transfer, Layout]:
        """List the input's files, and see to it meanwhile that it is an input at all; that is told first."""
        base = full_id(workspace_input)
        transfer = await self._transfer(workspace_input.repository)
        checking = asyncio.ensure_future(self._commits.check_input(workspace_input))
        listing = asyncio.ensure_future(
            plan_layout(transfer, base, spec, may_be_missing=not spec.read_only),
        )
        try:
            await checking
            return transfer, await listing
        finally:
            checking.cancel()
            listing.cancel()
            await asyncio.gather(checking, listing, return_exceptions=True)

    async def _stage(
        self, workspace_dir: Path, workspace_input: WorkspaceInput, spec: WorkspaceSpec, execution: TaskExecution
    ) -> StagedWorkspace:
        before = self._staged_on.pop(execution.execution_id, None)
        if before is not None:
            await cleanup_staging(self._client, before)
        total = len(execution.changes.written) if execution.changes is not None else 0
        job = StagingJob(
            transfer=await self._transfer(workspace_input.repository),
            branch=staging_name(execution, self._clock.now()),
            workspace_dir=workspace_dir,
            workspace_input=workspace_input,
            spec=spec,
            execution=execution,
            done=self._progress(Phase.STAGE, total, execution).add,
        )
        staged = await self._staging.stage(job)
        self._staged_on[execution.execution_id] = staged
        if self._fence == "exact":
            try:
                commit = await self._commits.get(workspace_input.repository, staged.commit)
                await self._canary.check(workspace_input.repository, commit)
            except BaseException:
                await self._clean(staged)
                raise
        return staged

    def _progress(self, phase: Phase, total_files: int = 0, execution: TaskExecution | None = None) -> Progress:
        return Progress(self._observer, self._clock, phase, total_files=total_files, execution=execution)

    async def _clean(self, staged: StagedWorkspace) -> None:
        await cleanup_staging(self._client, staged)
        for execution_id in [key for key, value in self._staged_on.items() if value.branch == staged.branch]:
            del self._staged_on[execution_id]


def _caution(execution: TaskExecution, ref: str) -> Event:
    """What each cooperative publication tells of itself."""
    return Event(
        phase=Phase.PUBLISH,
        kind="progress",
        execution_id=execution.execution_id,
        task_id=execution.task_id,
        attributes={"ref": ref, "fence": NOT_GUARANTEED},
    )

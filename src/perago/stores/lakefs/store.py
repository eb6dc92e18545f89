"""The lakeFS store: the store's ports, for any repository of a server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from perago.errors import RuntimeConfigError, SourceGoneError, StoreError
from perago.files.credentials import Credentials
from perago.ports import (
    NOTHING_KEPT,
    Clock,
    CommitEntry,
    Event,
    FileDigests,
    KeepFiles,
    Kept,
    ListedFile,
    Observer,
    Phase,
    SystemClock,
    ignore,
)
from perago.stores.lakefs.api.answers import Commit
from perago.stores.lakefs.api.client import LakeFSClient
from perago.stores.lakefs.api.commits import Commits, check_full_id, full_id, is_full_id
from perago.stores.lakefs.clean import cleanup_staging
from perago.stores.lakefs.connection import StoreConnection
from perago.stores.lakefs.content.transfer import ChecksumRule, Transfer
from perago.stores.lakefs.content.upload import Sent
from perago.stores.lakefs.listing import has_same_files, keep_published
from perago.stores.lakefs.log import branch_heads, changes, changes_of, commits_since, log_page
from perago.stores.lakefs.materialize import (
    Layout,
    check_layout,
    lay_out,
    list_layout,
    plan_layout,
    sources,
)
from perago.stores.lakefs.publication.branches import staging_name
from perago.stores.lakefs.publication.fence import FenceMode
from perago.stores.lakefs.publication.history import read_history
from perago.stores.lakefs.publication.publish import MERGE_SECONDS, NOT_GUARANTEED, Mover, complete_noop, publish
from perago.stores.lakefs.publication.runs import create_run_branch
from perago.stores.lakefs.publication.stage import Merging, Staging, StagingJob
from perago.stores.lakefs.repository import LakeFSRepository
from perago.values.credentials import LAKEFS_TOKEN
from perago.values.history import Conflict, History, Merge
from perago.values.models import Changes, StagedWorkspace, TaskExecution, WorkspaceInput
from perago.values.spec import WorkspaceSpec
from perago.workspace.cache import ObjectCache
from perago.workspace.collector import collector_paused

_FORESEEN = 4
"""Listings under way for downloads to come."""


_REMEMBERED = 8
"""Executions that are remembered, besides the present one."""


@dataclass
class _Memory:
    """What is remembered of one execution.

    Attributes:
        sent: what it has staged, in case that its swap is lost.
        staged: its staging branch, until that is cleaned up.
        is_removed: the branch is gone already, although nobody has asked to clean it up.
    """

    sent: Sent = field(default_factory=Sent)
    staged: StagedWorkspace | None = None
    is_removed: bool = False


class LakeFSStore:
    """A versioned store on a lakeFS server. Any number of threads, processes and hosts may use it.

    Each input names its repository. Server-side actions (`_lakefs_actions/`) do not belong to any workspace: no task
    sees or changes them. Nothing is sent before the first call. Call `close`, or use it as a context manager.

    Args:
        endpoint_url: of the server, such as http://lakefs.example:8000; with or without /api/v1.
        access_key_id, secret_access_key: an access key.
        session_token: instead of an access key.
        credentials: instead of both, credentials that are read again when their files change; see
            `perago.files.credentials`.
        fence: "exact" publishes only onto the expected head, enforced by hooks on the server; without hooks, attempts
            fail. "cooperative" needs no hooks: attempts still exclude each other exactly, but somebody else's commit at
            the moment of a publication is only detected afterwards. Then nothing is lost, but the publication does not
            count, and the attempt fails.
        merge_timeout_seconds: limit for moving a branch; `publish_timeout_seconds` of a PublishBudget.
        ca_file: certificates to trust, in addition to the system's.
        connections: maximum to the server at the same time. A nearby server gets some 24 to 60. More are opened only
            while that does not slow down the answers.
        cache: the host's cache of objects fetched or sent before; None for no cache.
        checksums: "md5" treats a checksum that looks like an MD5 as that of the content, as lakeFS makes them, and
            refuses other content as damaged. From 5 MiB on the checksum may be that of parts, so only content that
            differs in each try is refused. "opaque" is for objects whose checksums a block store made differently.
        presign: move content directly to and from the block store if the server gives URLs for that; False for never.
        observer: gets progress events of materializing and staging, and the warning of a cooperative publication.
        clock: source of time.

    Raises:
        RuntimeConfigError: the endpoint is not a server's URL, or another argument is invalid.
    """

    def __init__(  # noqa: PLR0913 - the settings of a server
        self,
        *,
        endpoint_url: str,
        access_key_id: str = "",
        secret_access_key: str = "",
        session_token: str | None = None,
        credentials: Credentials | None = None,
        fence: FenceMode = "exact",
        merge_timeout_seconds: float = MERGE_SECONDS,
        ca_file: str | os.PathLike[str] | None = None,
        connections: int = 256,
        cache: ObjectCache | None = None,
        checksums: ChecksumRule = "md5",
        presign: bool = True,
        observer: Observer = ignore,
        clock: Clock | None = None,
    ) -> None:
        if fence not in ("exact", "cooperative"):
            raise RuntimeConfigError(f"fence is {fence!r}; give 'exact' or 'cooperative'")
        if checksums not in ("md5", "opaque"):
            raise RuntimeConfigError(f"checksums is {checksums!r}; give 'md5' or 'opaque'")
        if merge_timeout_seconds <= 0:
            raise RuntimeConfigError(f"merge_timeout_seconds is {merge_timeout_seconds}; give seconds above 0")
        if credentials is None and session_token:
            credentials = Credentials({LAKEFS_TOKEN: session_token}, {})
        if credentials is None and not (access_key_id and secret_access_key):
            raise RuntimeConfigError(
                "no credentials for lakeFS: give access_key_id and secret_access_key, or session_token"
            )
        client = LakeFSClient.connect(
            endpoint_url,
            access_key_id,
            secret_access_key,
            credentials=credentials,
            ca_file=ca_file,
            connections=connections,
        )
        mover = Mover(client, Commits(client), fence, merge_timeout_seconds)
        self._connection = StoreConnection(
            client,
            mover,
            cache=cache,
            observer=observer,
            clock=clock or SystemClock(),
            checksums=checksums,
            presign=presign,
        )
        self._executions: dict[str, _Memory] = {}
        self._foreseen: dict[str, asyncio.Task[tuple[Transfer, Layout]]] = {}

    # ---- lifetime

    def close(self) -> None:
        """Close all connections and end their thread. May be called twice; no call is possible afterwards."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()

    # ---- the ports; see `perago.ports` for their contract

    def foresee_download(self, workspace_input: WorkspaceInput, workspace_spec: WorkspaceSpec) -> None:
        """Begin to list the input's files for `download_workspace`."""
        self._connection.run(self._foresee(workspace_input, workspace_spec))

    def download_workspace(
        self, workspace_input: WorkspaceInput, workspace_spec: WorkspaceSpec, workspace_dir: Path
    ) -> FileDigests:
        """Lay out the input's files below the prefix.

        For a writable task, a missing prefix is an empty workspace, and its output creates the prefix.

        Raises:
            RefNotFoundError, BranchNotFoundError, RepositoryNotFoundError: something that the input names is missing.
            PrefixNotFoundError: the prefix of a read-only task is missing, or the prefix is a file.
            ObjectNameError: a name in the commit cannot be laid out; nothing was written.
            StoreError: content is missing or damaged, or the server did not answer.
            WorkspaceStorageError: the disk refused.
        """
        return self._lay_out(workspace_input, workspace_spec, workspace_dir, lambda _transfer, _layout: NOTHING_KEPT)

    def complete_workspace(
        self,
        workspace_input: WorkspaceInput,
        workspace_spec: WorkspaceSpec,
        workspace_dir: Path,
        keep: KeepFiles,
    ) -> FileDigests:
        """As `download_workspace`, without the files that are kept."""
        return self._lay_out(
            workspace_input,
            workspace_spec,
            workspace_dir,
            lambda transfer, layout: keep(sources(transfer, layout)),
        )

    def _lay_out(
        self,
        workspace_input: WorkspaceInput,
        workspace_spec: WorkspaceSpec,
        workspace_dir: Path,
        keep: Callable[[Transfer, Layout], Kept],
    ) -> FileDigests:
        transfer, layout = self._connection.run(self._layout(workspace_input, workspace_spec))
        with collector_paused():
            check_layout(layout, workspace_dir)
            kept = keep(transfer, layout)
        progress = self._connection.progress(Phase.MATERIALIZE, len(layout.files) - len(kept.digests))
        progress.cache_hits = None if transfer.cache is None else 0
        return lay_out(transfer, layout, workspace_dir, progress.add, progress.hit, kept=kept)

    def list_workspace(
        self, workspace_input: WorkspaceInput, workspace_spec: WorkspaceSpec
    ) -> Mapping[str, ListedFile]:
        """The input's files below the prefix. One call per 1,000; raises as `download_workspace`, but for the disk."""
        return list_layout(*self._connection.run(self._plan_layout(workspace_input, workspace_spec)))

    def read_history(self, workspace_input: WorkspaceInput) -> History:
        """Read the head, then the first-parent line from it down to the input. One call per 1,000 commits."""
        connection = self._connection
        return connection.run(read_history(connection.client, connection.commits, workspace_input))

    def validate_reads(
        self, workspace_input: WorkspaceInput, workspace_spec: WorkspaceSpec, merge: Merge
    ) -> Conflict | None:
        """What the task could see and the merge's foreign commits have changed. One call per 1,000 differences below
        the prefix, and more only if there is a conflict, or something to undo.
        """
        connection, base = self._connection, full_id(workspace_input)
        merging = Merging(connection.client, connection.commits, workspace_input.repository, base)
        return connection.run(merging.conflict_with_reads(merge, workspace_spec))

    def stage_workspace(
        self,
        workspace_dir: Path,
        workspace_input: WorkspaceInput,
        workspace_spec: WorkspaceSpec,
        execution: TaskExecution,
    ) -> StagedWorkspace:
        """Upload the changed files to a hidden branch, and commit them on top of the plan's head.

        Raises, in addition to the port's errors:
            FenceUnavailableError: `fence` is "exact", and the server would not guard the publication.
            ObjectNameError: a name is not allowed in workspaces, or belongs to the server's actions.
        """
        return self._connection.run(self._stage(workspace_dir, workspace_input, workspace_spec, execution))

    def publish_workspace(
        self,
        staged: StagedWorkspace,
        workspace_input: WorkspaceInput,
        workspace_spec: WorkspaceSpec,
        execution: TaskExecution,
    ) -> str:
        """Merge the staged commit into the branch, onto its expected head. Returns the merge's full id.

        Raises, in addition to the port's errors:
            PublishVetoedError: another hook on the server refused.
            DirtyBranchError: the branch has uncommitted changes.
            PublishFenceError: with fence="cooperative", somebody else's commit came in between.
        """
        mover = self._connection.mover
        published = self._connection.run(self._publish(staged, workspace_input, workspace_spec, execution))
        if mover.mode == "cooperative":
            self._connection.observer(_warning_of(execution, published.id))
        return published.id

    def complete_noop_workspace(
        self,
        workspace_input: WorkspaceInput,
        workspace_spec: WorkspaceSpec,  # noqa: ARG002 - named by the contract
        execution: TaskExecution,
    ) -> str:
        """Return the commit that an attempt without changes completes with."""
        connection = self._connection
        return connection.run(complete_noop(connection.client, connection.commits, workspace_input, execution))

    def cleanup_staging(self, staged: StagedWorkspace) -> None:
        """Remove the staging branch. A missing one is fine."""
        self._connection.run(self._clean(staged))

    # ---- of transactional runs; see `perago.ports.TransactionalStore`

    def create_run_branch(self, repository: str, branch: str, source: str) -> str:
        """Create the hidden branch of a run, unless it exists. See `runs.create_run_branch`."""
        connection = self._connection
        return connection.run(create_run_branch(connection.client, connection.commits, repository, branch, source))

    def changes_of_run(self, workspace_input: WorkspaceInput, run_ref: str) -> Changes:
        """The paths that differ from the input to a commit of the run's branch. One call per 1,000 of them."""
        base, repository = full_id(workspace_input), workspace_input.repository
        return self._connection.run(changes(self._connection.client, repository, base, run_ref))

    def stage_run(self, workspace_input: WorkspaceInput, run_ref: str, execution: TaskExecution) -> StagedWorkspace:
        """Commit what a run has changed on top of the plan's head, on a hidden branch. Moves no content.

        Only if earlier publications of the run must be undone beside others' commits, the server copies what differs.

        Raises, in addition to the port's errors:
            FenceUnavailableError: `fence` is "exact", and the server would not guard the publication.
        """
        check_full_id(run_ref, workspace_input.repository)
        return self._connection.run(self._stage(Path(), workspace_input, WorkspaceSpec(), execution, run_ref))

    # ---- of an index of history and a cache of runs; see `perago.ports.ReusableStore`

    def commits_since(self, repository: str, known: Callable[[str], bool]) -> Iterator[CommitEntry]:
        """All commits of all branches, without known ones and what comes before those.

        One call per 1,000 branches, and per 1,000 unknown commits. Calls `known` in the caller's thread.
        """
        client, run = self._connection.client, self._connection.run
        heads = run(branch_heads(client, repository))
        return commits_since(heads, known, lambda ref, amount: run(log_page(client, repository, ref, amount)))

    def changes_of(self, repository: str, commits: Sequence[CommitEntry], prefix: str = "") -> list[Changes]:
        """The names that each commit changed since its first parent; only those that begin with `prefix`.

        One call per commit and 1,000 names.
        """
        return self._connection.run(changes_of(self._connection.client, repository, commits, prefix))

    def has_same_files(self, workspace_input: WorkspaceInput, ref: str, workspace_spec: WorkspaceSpec) -> bool:
        """Whether the files that a spec selects are the same in two commits. One call per prefix of its patterns."""
        base, client = full_id(workspace_input), self._connection.client
        check_full_id(ref, workspace_input.repository)
        return self._connection.run(has_same_files(client, workspace_input.repository, (base, ref), workspace_spec))

    def stage_copy(
        self,
        source_ref: str,
        workspace_input: WorkspaceInput,
        workspace_spec: WorkspaceSpec,
        execution: TaskExecution,
    ) -> StagedWorkspace:
        """Have the server copy files of another commit to a hidden branch, and commit them on top of the plan's head.

        Three calls per file: to find it, to read its first byte, and to copy it. Raises as `stage_workspace`.
        """
        if not is_full_id(source_ref):
            raise SourceGoneError(f"{source_ref!r} is not the full id of a commit of this server")
        staging = self._stage(Path(), workspace_input, workspace_spec, execution, copy_ref=source_ref)
        return self._connection.run(staging)

    # ---- for the commands

    def repository(self, name: str) -> LakeFSRepository:
        """One repository of the server, to examine, import and export. Sends nothing."""
        return LakeFSRepository(self, self._connection, name)

    # ---- internals

    async def _foresee(self, workspace_input: WorkspaceInput, spec: WorkspaceSpec) -> None:
        for key in list(self._foreseen)[: -_FORESEEN + 1]:  # of attempts that ended before their download
            self._foreseen.pop(key).cancel()
        listing = asyncio.create_task(self._plan_layout(workspace_input, spec))
        listing.add_done_callback(lambda done: done.cancelled() or done.exception())  # it is the download's to raise
        self._foreseen[_key(workspace_input, spec)] = listing

    async def _layout(self, workspace_input: WorkspaceInput, spec: WorkspaceSpec) -> tuple[Transfer, Layout]:
        foreseen = self._foreseen.pop(_key(workspace_input, spec), None)
        return await (self._plan_layout(workspace_input, spec) if foreseen is None else foreseen)

    async def _plan_layout(self, workspace_input: WorkspaceInput, spec: WorkspaceSpec) -> tuple[Transfer, Layout]:
        """List the input's files, and check the input in parallel. Errors of the input are raised first."""
        base = full_id(workspace_input)
        transfer = await self._connection.transfer(workspace_input.repository)
        checking = asyncio.ensure_future(self._connection.commits.check_input(workspace_input))
        listing = asyncio.ensure_future(plan_layout(transfer, base, spec, may_be_missing=not spec.read_only))
        try:
            await checking
            return transfer, await listing
        finally:
            checking.cancel()
            listing.cancel()
            await asyncio.gather(checking, listing, return_exceptions=True)

    async def _stage(
        self,
        workspace_dir: Path,
        workspace_input: WorkspaceInput,
        spec: WorkspaceSpec,
        execution: TaskExecution,
        run_ref: str | None = None,
        copy_ref: str | None = None,
    ) -> StagedWorkspace:
        connection = self._connection
        memory = self._memory_of(execution)
        if memory.staged is not None:
            await self._clean(memory.staged)
        uploaded = execution.changes if run_ref is None else None
        total = len(uploaded.written) if uploaded is not None else 0
        job = StagingJob(
            transfer=await connection.transfer(workspace_input.repository),
            branch=staging_name(execution, connection.clock.now()),
            workspace_dir=workspace_dir,
            workspace_input=workspace_input,
            spec=spec,
            execution=execution,
            done=connection.progress(Phase.STAGE, total, execution).add,
            sent=memory.sent if copy_ref is None else Sent(),  # a body that runs after all may make other content
            run_ref=run_ref,
            copy_ref=copy_ref,
        )
        mover = connection.mover
        staging = Staging(connection.client, connection.commits, mover.mode, mover.merge_seconds)
        staged = await staging.stage(job)
        memory.staged = staged
        try:
            await connection.check_fence(staged.repository, staged.commit)
        except BaseException:
            await self._clean(staged)
            raise
        return staged

    def _memory_of(self, execution: TaskExecution) -> _Memory:
        """What is remembered of this execution. The oldest others are forgotten."""
        for key in list(self._executions)[:-_REMEMBERED]:
            self._executions.pop(key, None)
        return self._executions.setdefault(execution.execution_id, _Memory())

    async def _publish(
        self,
        staged: StagedWorkspace,
        workspace_input: WorkspaceInput,
        spec: WorkspaceSpec,
        execution: TaskExecution,
    ) -> Commit:
        memory = self._memory_of(execution)

        async def remove_early() -> None:
            """Remove the branch of the published commit, whose merge keeps it, so that cleaning up takes no time."""
            with suppress(StoreError):  # `cleanup_staging` tries again
                await cleanup_staging(self._connection.client, staged)
                memory.is_removed = memory.staged == staged

        published = await publish(self._connection.mover, staged, workspace_input, execution, remove_early)
        sent, memory.sent = memory.sent, Sent()
        if sent.commit_id == staged.commit and sent.changes is not None:
            transfer = await self._connection.transfer(staged.repository)
            keep_published(transfer, spec, (full_id(workspace_input), published.id), sent.changes)
        return published

    async def _clean(self, staged: StagedWorkspace) -> None:
        memory = next((one for one in self._executions.values() if one.staged == staged), _Memory())
        if not memory.is_removed:
            await cleanup_staging(self._connection.client, staged)
        memory.staged, memory.is_removed = None, False


def _key(workspace_input: WorkspaceInput, spec: WorkspaceSpec) -> str:
    return f"{workspace_input.model_dump_json()} {spec.model_dump_json(exclude={'pre', 'post'})}"


def _warning_of(execution: TaskExecution, ref: str) -> Event:
    """The event that warns about a cooperative publication."""
    return Event(
        phase=Phase.PUBLISH,
        kind="progress",
        execution_id=execution.execution_id,
        task_id=execution.task_id,
        attributes={"ref": ref, "fence": NOT_GUARANTEED},
    )

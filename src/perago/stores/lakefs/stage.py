"""Staging: the changed files onto a hidden branch, and a commit on top of the head that no one reads yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import assert_never

from perago.errors import StoreError
from perago.models import (
    Changes,
    Complete,
    Merge,
    Plan,
    Publish,
    Refuse,
    Seal,
    StagedWorkspace,
    Stamp,
    TaskExecution,
    WorkspaceInput,
    WritePlan,
)
from perago.names import check_object_name
from perago.plans import changes_for, plan_without_engine, refusal, stamp_for
from perago.spec import WorkspaceSpec
from perago.stores.lakefs.branches import content_name
from perago.stores.lakefs.changes import Entry, Merging, Overlay, is_same_content
from perago.stores.lakefs.client import LakeFSClient
from perago.stores.lakefs.commits import Commits, full_id
from perago.stores.lakefs.failure import LakeFSError
from perago.stores.lakefs.fence import (
    ACTIONS_PREFIX,
    FENCE_PATH,
    FenceMode,
    check_actions,
    fence_content,
    holds_fence,
    refuse_actions,
)
from perago.stores.lakefs.hidden import check_places
from perago.stores.lakefs.history import read_history
from perago.stores.lakefs.message import publication_message, seal_message, staged_metadata
from perago.stores.lakefs.protection import explained
from perago.stores.lakefs.together import both, each
from perago.stores.lakefs.transfer import Transfer
from perago.stores.lakefs.upload import Upload
from perago.stores.lakefs.values import Commit, ObjectStats

Actions = dict[str, ObjectStats]

_COMMIT_TRIES = 3
"""Of a commit on a branch of our own whose answer was unclear: each time the branch tells whether it is there."""


@dataclass(frozen=True, kw_only=True)
class StagingJob:
    """What one execution stages, and where.

    Attributes:
        transfer: how content gets there.
        branch: the staging branch's name, which is free.
        done: called with the size of each file that is uploaded.
    """

    transfer: Transfer
    branch: str
    workspace_dir: Path
    workspace_input: WorkspaceInput
    spec: WorkspaceSpec
    execution: TaskExecution
    done: Callable[[int], None]


@dataclass(frozen=True)
class Staging:
    """What staging needs: the server, the commits that are known of it, and the kind of fence."""

    client: LakeFSClient
    commits: Commits
    mode: FenceMode

    async def stage(self, job: StagingJob) -> StagedWorkspace:
        """See `ports.StageWorkspace`."""
        plan = await self._plan(job.workspace_input, job.execution)
        stamp = stamp_for(job.execution, plan)
        base = full_id(job.workspace_input)
        changes = changes_for(job.execution, plan)
        names = [job.spec.root + path for path in (*changes.written, *changes.deleted)]
        refuse_actions(names)
        for name in names[: len(changes.written)]:
            check_object_name(name)
        repository = job.workspace_input.repository
        head = await self.commits.get(repository, plan.head)
        await check_places(self.client, repository, base, job.spec, changes)
        draft = _Draft(
            client=self.client,
            commits=self.commits,
            job=job,
            changes=changes,
            base=base,
            head=head,
            fence=fence_content(self.mode, job.execution.execution_id),
        )
        try:
            staged = await draft.make(plan, stamp)
        except BaseException as exc:
            await draft.drop()
            if isinstance(exc, LakeFSError):
                raise await explained(self.client, repository, job.branch, exc) from exc
            raise
        self.commits.remember(repository, staged)
        return StagedWorkspace(repository, job.branch, staged.id)

    async def _plan(self, workspace_input: WorkspaceInput, execution: TaskExecution) -> WritePlan:
        plan: Plan | None = execution.plan
        if plan is None:
            plan = plan_without_engine(await read_history(self.client, self.commits, workspace_input))
        match plan:
            case Publish() | Merge() | Seal():
                return plan
            case Refuse():
                raise refusal(plan, workspace_input.branch, workspace_input.ref)
            case Complete():
                raise StoreError("a plan to complete without writing has nothing to stage")
        assert_never(plan)


@dataclass(frozen=True, kw_only=True)
class _Draft:
    """One staged commit in the making.

    Attributes:
        base: full id of the input.
        fence: content of the action file that the commit is to hold.
    """

    client: LakeFSClient
    commits: Commits
    job: StagingJob
    changes: Changes
    base: str
    head: Commit
    fence: bytes
    listed: dict[str, asyncio.Future[Actions]] = field(default_factory=dict)
    creating: list[asyncio.Future[None]] = field(default_factory=list)

    @property
    def repository(self) -> str:
        return self.job.workspace_input.repository

    async def make(self, plan: WritePlan, stamp: Stamp) -> Commit:
        """Put it together by plan, and check it."""
        message = seal_message(stamp) if isinstance(plan, Seal) else publication_message(stamp, self.changes)
        at_head, staged = await both(self._actions(self.head.id), self._commit_by(plan, stamp, message))
        check_actions(at_head, await self._actions(staged.id), self.fence)
        return staged

    async def drop(self) -> None:
        """Remove what there is of it; what cannot be removed is left to the janitor."""
        await asyncio.gather(*self.creating, return_exceptions=True)
        for name in (self.job.branch, content_name(self.job.branch)):
            with suppress(StoreError):
                await self.client.delete_branch(self.repository, name)

    async def _commit_by(self, plan: WritePlan, stamp: Stamp, message: str) -> Commit:
        match plan:
            case Publish() if self.head.id != self.base:
                return await self._replace(stamp, message)
            case Publish() | Seal():
                await self._fill(self.job.branch, self.head.id)
                empty = not self.changes
            case Merge():
                empty = await self._merge(plan)
            case _:
                assert_never(plan)
        metadata = staged_metadata(stamp, empty=empty)
        return await self._commit(self.job.branch, self.head.id, message, metadata, None)

    async def _replace(self, stamp: Stamp, message: str) -> Commit:
        """The input's content with the changes on it, as a commit on the head: by its meta range, nothing is copied."""
        beside = content_name(self.job.branch)
        await both(self._fill(beside, self.base), self._create(self.job.branch, self.head.id))
        content = await self._commit(beside, self.base, message, {}, None)
        empty, _ = await both(
            is_same_content(self.client, self.repository, self.head.id, content.id),
            self.client.delete_branch(self.repository, beside),
        )
        metadata = staged_metadata(stamp, empty=empty)
        return await self._commit(self.job.branch, self.head.id, message, metadata, content.meta_range_id)

    async def _merge(self, plan: Merge) -> bool:
        """The head with the changes on it, and what abandoned commits did undone; says whether that is nothing."""
        own = await self._fill(self.job.branch, self.head.id)
        merging = Merging(self.client, self.commits, self.repository, self.base)
        put_back = await merging.restoration(plan, own)
        remover = Upload(self.job.transfer, self.job.branch, self.job.workspace_dir, "", self.job.done)
        await both(
            each(
                [(path, source) for path, source in put_back.items() if source is not None],
                lambda item: self._copy(*item),
            ),
            remover.run([], [path for path, source in put_back.items() if source is None]),
        )
        return not self.changes and not put_back

    async def _fill(self, branch: str, source: str) -> Overlay:
        """Make a branch at a commit, and put the changes and the fence on it; returns the changes."""
        root = self.job.spec.root
        actions, _ = await both(self._actions(source), self._create(branch, source))
        upload = Upload(self.job.transfer, branch, self.job.workspace_dir, root, self.job.done)
        uploaded, _ = await both(
            upload.run(self.changes.written, self.changes.deleted), self._put_fence(branch, actions)
        )
        own: dict[str, Entry | None] = {root + path: None for path in self.changes.deleted}
        own.update((root + path, Entry.of(stats)) for path, stats in uploaded.items())
        return own

    async def _create(self, branch: str, source: str) -> None:
        """Make a branch. Nothing cuts this short: a request under way would make it after all, and behind our back."""
        creating = asyncio.ensure_future(self.client.create_branch(self.repository, branch, source, hidden=True))
        self.creating.append(creating)
        await asyncio.shield(creating)

    async def _put_fence(self, branch: str, actions: Mapping[str, ObjectStats]) -> None:
        if not holds_fence(actions, self.fence):
            await self.client.upload_object(self.repository, branch, FENCE_PATH, self.fence, size=len(self.fence))

    async def _copy(self, path: str, source: str) -> None:
        await self.client.copy_object(self.repository, self.job.branch, path, source_ref=source, source=path)

    def _actions(self, ref: str) -> asyncio.Future[Actions]:
        """The server's actions in a commit, listed once."""
        if ref not in self.listed:
            self.listed[ref] = asyncio.ensure_future(self._list_actions(ref))
        return self.listed[ref]

    async def _list_actions(self, ref: str) -> Actions:
        found: Actions = {}
        async for page in self.client.list_objects(self.repository, ref, prefix=ACTIONS_PREFIX):
            found.update((stats.path, stats) for stats in page)
        return found

    async def _commit(
        self, branch: str, parent: str, message: str, metadata: dict[str, str], source_metarange: str | None
    ) -> Commit:
        """Commit what is on a branch of ours; an unclear answer is settled by looking at the branch."""
        for tries in range(1, _COMMIT_TRIES + 1):
            try:
                made = await self.client.commit(
                    self.repository,
                    branch,
                    message,
                    metadata,
                    source_metarange=source_metarange,
                    allow_empty=source_metarange is None,
                )
            except LakeFSError as exc:
                if not exc.is_unclear:
                    raise
                tip = await self.client.get_branch(self.repository, branch)
                if tip.commit_id == parent and tries < _COMMIT_TRIES:
                    continue
                if tip.commit_id == parent:
                    raise
                made = await self.client.get_commit(self.repository, tip.commit_id)
            return await self._first_on(parent, made, metadata)
        raise AssertionError("the last try returns or raises")

    async def _first_on(self, parent: str, made: Commit, metadata: dict[str, str]) -> Commit:
        """The commit that stands on `parent`: a request that was repeated on its way made an empty one on top of it."""
        while made.parents[0] != parent:
            below = await self.client.get_commit(self.repository, made.parents[0])
            if dict(below.metadata) != metadata or below.meta_range_id != made.meta_range_id:
                raise StoreError(
                    f"somebody else writes to the staging branch {self.job.branch!r}. Nothing was published. Keep "
                    f"everything but Perago off branches that begin with 'perago-'"
                )
            made = below
        return made

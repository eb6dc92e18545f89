"""Staging: the changed files onto a hidden branch, and a commit on top of the head that no one reads yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from perago.errors import ObjectNameError, StoreError
from perago.stores.lakefs.api.client import LakeFSClient, both, each
from perago.stores.lakefs.api.commits import Commits, full_id
from perago.stores.lakefs.api.values import Commit
from perago.stores.lakefs.content.transfer import Transfer
from perago.stores.lakefs.publication.draft import CommitDraft, Merging, is_same_content
from perago.stores.lakefs.publication.fence import FenceMode, fence_content, refuse_actions
from perago.stores.lakefs.publication.history import publication_message, read_history, seal_message, staged_metadata
from perago.stores.lakefs.publication.publish import check_clean
from perago.values.history import Complete, Merge, Plan, Publish, Refuse, Seal, Stamp, WritePlan
from perago.values.models import Changes, StagedWorkspace, TaskExecution, WorkspaceInput
from perago.values.names import FOR_TASKS, Words, check_object_name, show_name, stands_for_directory
from perago.values.plans import changes_for, plan_without_engine, refusal, stamp_for
from perago.values.spec import WorkspaceSpec


async def check_places(
    client: LakeFSClient,
    repository: str,
    base: str,
    spec: WorkspaceSpec,
    changes: Changes,
    words: Words = FOR_TASKS,
) -> None:
    """Refuse an added file where a commit has a directory, and below a file, that the patterns hide.

    Without patterns there is nothing to ask: the file system that they come from has kept file and directory apart.

    Args:
        base: the commit that the changes are made on: a task's input, or the head of a branch.

    Raises:
        ObjectNameError
    """
    if not (spec.include or spec.exclude) or not changes.added:
        return
    gone = {spec.root + path for path in changes.deleted}
    added = [spec.root + path for path in changes.added]
    above = sorted({directory for name in added for directory in _above(name, spec.root)} - gone)
    for directory, found in zip(
        above, await each(above, lambda name: client.find_object(repository, base, name)), strict=True
    ):
        if found is not None:
            raise _refused(f"{directory}/", directory, words)

    async def first_below(name: str) -> str | None:
        async for page in client.list_objects(repository, base, prefix=name + "/"):
            for stats in page:
                if stats.path not in gone and not stands_for_directory(stats.path, stats.size):
                    return stats.path
        return None

    for name, below in zip(added, await each(added, first_below), strict=True):
        if below is not None:
            raise _refused(name, below, words)


def _above(name: str, root: str) -> Iterator[str]:
    """The directories above a name, down from the workspace's own."""
    end = name.rfind("/")
    while end >= len(root) and end > 0:
        yield name[:end]
        end = name.rfind("/", 0, end)


def _refused(name: str, hidden: str, words: Words) -> ObjectNameError:
    return ObjectNameError(
        f"{show_name(name)} cannot be written: the repository has {show_name(hidden)}, left as it is by "
        f"{words.means}, and a path cannot be both a file and a directory. Give the file another path"
    )


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
        draft = await self._draft(job, plan)
        async with draft:
            staged = await self._carry_out(plan, stamp, draft, job.workspace_input.ref)
            await draft.check(staged)
        self.commits.remember(draft.repository, staged)
        return StagedWorkspace(draft.repository, job.branch, staged.id)

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

    async def _draft(self, job: StagingJob, plan: WritePlan) -> CommitDraft:
        """What the plan stands on; every name that it writes is judged."""
        changes, repository, root = changes_for(job.execution, plan), job.workspace_input.repository, job.spec.root
        written = [root + path for path in changes.written]
        refuse_actions([*written, *(root + path for path in changes.deleted)])
        for name in written:
            check_object_name(name, prefix=root)
        base = full_id(job.workspace_input)
        head, _ = await both(self.commits.get(repository, plan.head), check_clean(self.client, job.workspace_input))
        await check_places(self.client, repository, base, job.spec, changes)
        return CommitDraft(
            transfer=job.transfer,
            branch=job.branch,
            head=head,
            fence=fence_content(self.mode, job.execution.execution_id),
            directory=job.workspace_dir,
            root=root,
            changes=changes,
            done=job.done,
        )

    async def _carry_out(self, plan: WritePlan, stamp: Stamp, draft: CommitDraft, base: str) -> Commit:
        message = seal_message(stamp) if isinstance(plan, Seal) else publication_message(stamp, draft.changes)
        match plan:
            case Publish() if draft.head.id != base:
                return await self._replace(stamp, draft, base, message)
            case Publish() | Seal():
                await draft.fill(draft.branch, draft.head.id)
                empty = not draft.changes
            case Merge():
                empty = await self._merge(plan, draft, base)
            case _:
                assert_never(plan)
        return await draft.commit(draft.branch, draft.head.id, message, staged_metadata(stamp, empty=empty))

    async def _replace(self, stamp: Stamp, draft: CommitDraft, base: str, message: str) -> Commit:
        """The input's content with the changes on it, as a commit on the head: by its meta range, nothing is copied."""
        await both(draft.fill(draft.beside, base), draft.create(draft.branch, draft.head.id))
        content = await draft.commit(draft.beside, base, message, {})
        empty, _ = await both(
            is_same_content(self.client, draft.repository, draft.head.id, content.id),
            self.client.delete_branch(draft.repository, draft.beside),
        )
        metadata = staged_metadata(stamp, empty=empty)
        return await draft.commit(draft.branch, draft.head.id, message, metadata, content.meta_range_id)

    async def _merge(self, plan: Merge, draft: CommitDraft, base: str) -> bool:
        """The head with the changes on it, and what abandoned commits did undone; says whether that is nothing."""
        own = await draft.fill(draft.branch, draft.head.id)
        merging = Merging(self.client, self.commits, draft.repository, base)
        restoration = await merging.restoration(plan, own)
        await draft.put_back(restoration)
        return not draft.changes and not restoration

"""Staging: upload the changed files to a hidden branch, and commit them on top of the head, unread by others.

`draft.CommitDraft` holds content on a copy of a commit, checked and committed. `Merging` finds what must be changed on
a head to merge with it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import assert_never

from perago.errors import ObjectNameError, StoreError
from perago.stores.lakefs.api.answers import Commit, ObjectStats
from perago.stores.lakefs.api.client import LakeFSClient, both, each
from perago.stores.lakefs.api.commits import Commits, full_id
from perago.stores.lakefs.content.transfer import Transfer
from perago.stores.lakefs.content.upload import Sent
from perago.stores.lakefs.publication.draft import CommitDraft, Entry, Overlay, Restoration, RestoreSource
from perago.stores.lakefs.publication.fence import (
    ACTIONS_PREFIX,
    FenceMode,
    fence_content,
    is_action,
    refuse_actions,
)
from perago.stores.lakefs.publication.history import (
    is_same_content,
    publication_message,
    read_history,
    seal_message,
    staged_metadata,
)
from perago.stores.lakefs.publication.publish import check_clean
from perago.values.history import Conflict, Merge, Plan, Publish, Seal, Stamp, WritePlan
from perago.values.models import Changes, StagedWorkspace, TaskExecution, WorkspaceInput
from perago.values.names import FOR_TASKS, Words, check_object_name, show_name, stands_for_directory
from perago.values.plans import (
    changes_for,
    compared,
    conflict,
    foreign_changes,
    plan_without_engine,
    stamp_for,
    suspects,
    writing,
)
from perago.values.spec import WorkspaceSpec
from perago.workspace.merge import changed_reads, conflict_at, merge_paths, nothing_below
from perago.workspace.patterns import visible_to


@dataclass(frozen=True, kw_only=True)
class StagingJob:
    """What one execution stages, and where.

    Attributes:
        transfer: moves the content.
        branch: the staging branch's name, which is unused.
        done: called with the size of each uploaded file.
        sent: what the execution has staged before; replaced by what it stages now.
        run_ref: full id of a run's commit, whose content is staged in place of a directory's.
        copy_ref: full id of a commit that has the written files, in place of the directory.
    """

    transfer: Transfer
    branch: str
    workspace_dir: Path
    workspace_input: WorkspaceInput
    spec: WorkspaceSpec
    execution: TaskExecution
    done: Callable[[int], None]
    sent: Sent = field(default_factory=Sent)
    run_ref: str | None = None
    copy_ref: str | None = None

    def changes(self, plan: WritePlan) -> Changes:
        """The changes that the plan's commit makes."""
        return changes_for(self.execution, plan)


@dataclass(frozen=True)
class Staging:
    """The means to stage: the server, its known commits, the kind of fence, and a limit of waits for a clean branch."""

    client: LakeFSClient
    commits: Commits
    mode: FenceMode
    wait_seconds: float

    async def stage(self, job: StagingJob) -> StagedWorkspace:
        """See `ports.StageWorkspace`, `ports.TransactionalStore.stage_run` and `ports.ReusableStore.stage_copy`."""
        plan = await self._plan(job.workspace_input, job.execution)
        stamp = stamp_for(job.execution, plan)
        draft = await self._draft(job, plan)
        async with draft:
            staged = await self._carry_out(plan, stamp, draft, job)
        job.sent.commit_id, job.sent.objects = staged.id, draft.uploaded
        job.sent.changes = _changes_of_input(plan, draft, job)
        self.commits.remember(draft.repository, staged)
        self.commits.begin_listing(draft.repository, staged, ACTIONS_PREFIX)  # for the check before the merge
        return StagedWorkspace(draft.repository, job.branch, staged.id)

    async def _plan(self, workspace_input: WorkspaceInput, execution: TaskExecution) -> WritePlan:
        plan: Plan | None = execution.plan
        if plan is None:
            plan = plan_without_engine(await read_history(self.client, self.commits, workspace_input))
        return writing(plan, workspace_input)

    async def _draft(self, job: StagingJob, plan: WritePlan) -> CommitDraft:
        """A draft on the plan's head. Checks every name that it writes."""
        repository, root = job.workspace_input.repository, job.spec.root
        changes = job.changes(plan) if job.run_ref is None else Changes()
        written = [root + path for path in changes.written]
        refuse_actions([*written, *(root + path for path in changes.deleted)])
        for name in written:
            check_object_name(name, prefix=root)
        base = full_id(job.workspace_input)

        async def is_ready() -> None:
            await both(
                check_clean(self.client, job.workspace_input, self.wait_seconds),
                check_places(self.client, repository, base, job.spec, changes),
            )

        return CommitDraft(
            transfer=job.transfer,
            commits=self.commits,
            branch=job.branch,
            head=await self.commits.get(repository, plan.head),
            fence=fence_content(self.mode, job.execution.execution_id),
            directory=job.workspace_dir,
            root=root,
            changes=changes,
            done=job.done,
            is_ready=is_ready,
            before=job.sent,
            copy_ref=job.copy_ref,
        )

    async def _carry_out(self, plan: WritePlan, stamp: Stamp, draft: CommitDraft, job: StagingJob) -> Commit:
        base, run_ref, head = job.workspace_input.ref, job.run_ref, draft.head.id
        message = seal_message(stamp) if isinstance(plan, Seal) else publication_message(stamp, job.changes(plan))
        content: str | None = None  # meta range; None for what is uncommitted on the staging branch
        match plan:
            case Publish() if run_ref is not None:
                content, empty = await self._replace_by_run(draft, base, run_ref, message)
            case Publish() if head != base:
                content, empty = await self._replace(draft, base, message)
            case Publish() | Seal():
                await draft.fill(draft.branch, head)
                empty = not draft.changes
            case Merge() if run_ref is not None and not plan.abandoned:
                content, empty = await self._merge_run(plan, draft, base, run_ref, message)
            case Merge():
                empty = await self._merge(plan, draft, base, run_ref)
            case _:
                assert_never(plan)
        return await draft.commit(draft.branch, head, message, staged_metadata(stamp, empty=empty), content)

    async def _replace(self, draft: CommitDraft, base: str, message: str) -> tuple[str, bool]:
        """The input's content with the changes, to commit on the head by its meta range. Copies nothing.

        Returns:
            the meta range, and whether it has the same files as the head.
        """
        await both(draft.fill(draft.beside, base), draft.create(draft.branch, draft.head.id))
        content = await draft.commit(draft.beside, base, message, {})
        empty, _ = await both(
            is_same_content(self.client, draft.repository, draft.head.id, content.id),
            self.client.delete_branch(draft.repository, draft.beside),
        )
        return content.meta_range_id, empty

    async def _replace_by_run(self, draft: CommitDraft, base: str, run_ref: str, message: str) -> tuple[str, bool]:
        """As `_replace`, with the content of a run. Its last task has left the fence there, unless each publication
        has a fence of its own.
        """
        run = await self.commits.get(draft.repository, run_ref)
        creating = both(draft.create(draft.branch, draft.head.id), draft.is_ready())
        has_fence, _ = await both(draft.has_fence(run), creating)
        if not has_fence:
            await draft.create(draft.beside, run_ref)
            run = await draft.add_fence(draft.beside, run, message)
            await self.client.delete_branch(draft.repository, draft.beside)
        if draft.head.id == base:
            return run.meta_range_id, False
        return run.meta_range_id, await is_same_content(self.client, draft.repository, draft.head.id, run.id)

    async def _merge_run(
        self, plan: Merge, draft: CommitDraft, base: str, run_ref: str, message: str
    ) -> tuple[str, bool]:
        """As `_replace`, with what the server merges from the run's content and the head, on their common input.

        The merge takes the run's side in a conflict. There is none except in the fence, and at paths where both sides
        have the same bytes.
        """
        repository = draft.repository
        merging = Merging(self.client, self.commits, repository, base)
        own = await changed_between(self.client, repository, base, run_ref)
        await merging.restoration(plan, own)
        lacking = await merging.lacking(plan.head, own)
        run = await self.commits.get(repository, run_ref)
        creating = both(draft.create(draft.branch, draft.head.id), draft.create(draft.beside, base))
        await both(creating, draft.is_ready())
        run = await draft.commit(draft.beside, base, message, {}, run.meta_range_id)  # now nothing but `base` is common
        merged = await draft.merge(draft.beside, run.id, plan.head)
        if not await draft.has_fence(merged):
            merged = await draft.add_fence(draft.beside, merged, message)
        found, _ = await both(
            changed_between(self.client, repository, plan.head, merged.id),
            self.client.delete_branch(repository, draft.beside),
        )
        if {path: entry for path, entry in found.items() if path in lacking or path not in own} != lacking:
            raise StoreError(
                f"the server's merge of the run's commit {run_ref[:12]} with {plan.head[:12]} is not the sum of their "
                f"changes. Nothing was published. Run the task again. If it happens again, the server works differently"
            )
        return merged.meta_range_id, not lacking

    async def _merge(self, plan: Merge, draft: CommitDraft, base: str, run_ref: str | None) -> bool:
        """Put the changes on the head, and undo what abandoned commits did. Returns whether nothing changed."""
        own = await draft.fill(draft.branch, draft.head.id)
        merging = Merging(self.client, self.commits, draft.repository, base)
        if run_ref is not None:
            own = await changed_between(self.client, draft.repository, base, run_ref)
        restoration = await merging.restoration(plan, own)
        if run_ref is not None:
            for path, entry in (await merging.lacking(plan.head, own)).items():
                restoration[path] = None if entry is None else RestoreSource(run_ref, entry.size)
        await draft.put_back(restoration)
        return not draft.changes and not restoration


def _changes_of_input(plan: WritePlan, draft: CommitDraft, job: StagingJob) -> dict[str, ObjectStats | None] | None:
    """See `Sent.changes`. A `Publish` commits the input's content with the changes, whatever its head is."""
    if not isinstance(plan, Publish) or job.run_ref is not None or job.copy_ref is not None:
        return None
    changes: dict[str, ObjectStats | None] = {draft.root + path: None for path in draft.changes.deleted}
    changes.update(draft.uploaded)
    return changes


async def changed_between(
    client: LakeFSClient, repository: str, left: str, right: str, prefix: str = ""
) -> dict[str, Entry | None]:
    """The entry in `right` of each path that differs from `left`, without the server's actions."""
    changed: dict[str, Entry | None] = {}
    async for page in client.diff_refs(repository, left, right, prefix=prefix, stats=True):
        for entry in page:
            if not is_action(entry.path):
                removed = entry.kind == "removed"
                changed[entry.path] = None if removed else Entry(entry.checksum, entry.size, entry.executable)
    return changed


@dataclass(frozen=True)
class Merging:
    """Merges one attempt's changes onto a head with foreign commits.

    Attributes:
        base: full id of the input commit.
    """

    client: LakeFSClient
    commits: Commits
    repository: str
    base: str

    async def restoration(self, plan: Merge, own: Overlay) -> Restoration:
        """The paths to restore on the head, besides the attempt's own changes. Empty if nothing is abandoned.

        Raises:
            PublishFenceError: the attempt and others changed the same path.
        """
        if not plan.abandoned:
            foreign = [await changed_between(self.client, self.repository, self.base, plan.head)]
            await self._merge(plan, foreign, own, {})
            return {}
        foreign = foreign_changes(plan, await self._changed_by(compared(plan)))
        before = await self._before(plan.head)
        await self._merge(plan, foreign, own, before)
        now = await self._present(plan.head, [path for changes in foreign for path in changes])
        return self._undone(plan.foreign, foreign, before, now, own)

    async def lacking(self, head: str, own: Overlay) -> Overlay:
        """The attempt's changes that the head does not have."""
        now = await changed_between(self.client, self.repository, self.base, head)
        return {path: entry for path, entry in own.items() if path not in now or now[path] != entry}

    async def conflict_with_reads(self, plan: Merge, spec: WorkspaceSpec) -> Conflict | None:
        """See `ports.ValidateReads`."""
        sees, prefix = visible_to(spec), spec.root
        if not plan.abandoned:
            now = await changed_between(self.client, self.repository, self.base, plan.head, prefix)
            if not any(map(sees, now)):
                return None
            before = await self._before(plan.head, prefix)
            changed = [path for path, entry in now.items() if sees(path) and entry != before[path]]
            return conflict_at(changed, await self._changed_by(suspects(plan), prefix)) if changed else None
        foreign = foreign_changes(plan, await self._changed_by(compared(plan), prefix))
        before = await self._before(plan.head, prefix)
        paths = dict.fromkeys(path for changes in foreign for path in changes if sees(path) and path not in before)
        at_base = {**before, **await self._entries(self.base, [*paths])}
        return changed_reads(dict(zip(plan.foreign, foreign, strict=True)), at_base.get, sees)

    async def _before(self, head: str, prefix: str = "") -> Overlay:
        """The input's entries at the paths where the head differs."""
        return await changed_between(self.client, self.repository, head, self.base, prefix)

    async def _present(self, head: str, paths: Iterable[str]) -> dict[str, Entry | None]:
        """The head's entries at these paths, and wherever it differs from the input."""
        present = await changed_between(self.client, self.repository, self.base, head)
        asked = [path for path in dict.fromkeys(paths) if path not in present]
        return present | await self._entries(head, asked)

    async def _entries(self, ref: str, paths: Sequence[str]) -> dict[str, Entry | None]:
        found = await each(paths, lambda path: self.client.find_object(self.repository, ref, path))
        return {path: Entry.of(stats) if stats is not None else None for path, stats in zip(paths, found, strict=True)}

    async def _changed_by(self, commit_ids: Sequence[str], prefix: str = "") -> dict[str, Overlay]:
        async def changed_by(commit_id: str) -> Overlay:
            commit = await self.commits.get(self.repository, commit_id)
            return await changed_between(self.client, self.repository, commit.parents[0], commit_id, prefix)

        return dict(zip(commit_ids, await each(commit_ids, changed_by), strict=True))

    async def _merge(self, plan: Merge, foreign: Sequence[Overlay], own: Overlay, before: Overlay) -> None:
        """Refuse paths that both changed. `before` has the input's entries where the head differs.

        Files of the input that are unchanged on the head need no check: they already fit beside its other files.
        """
        asked = [path for path in own if path not in before and any(path in changes for changes in foreign)]
        at_base = {**before, **await self._entries(self.base, asked)}
        merged = merge_paths(foreign, own, at_base.get, _Below(before) if before else nothing_below)
        if not merged.conflicts:
            return
        if plan.abandoned:
            changes = dict(zip(plan.foreign, foreign, strict=True))
        else:  # `foreign` has the changes of all of them in one
            changes = await self._changed_by(suspects(plan))
        found = conflict_at(merged.conflicts, changes)
        if found is not None:
            raise conflict(found, plan)

    def _undone(
        self, names: Sequence[str], foreign: Sequence[Overlay], before: Overlay, now: Overlay, own: Overlay
    ) -> Restoration:
        """The differences between the head and the input's tree with the foreign changes on it."""
        made_by = {path: name for name, changes in zip(names, foreign, strict=True) for path in changes}
        wanted: dict[str, Entry | None] = dict(before)
        for changes in foreign:
            wanted.update(changes)
        put_back: Restoration = {}
        for path, entry in wanted.items():
            if path not in own and entry != now[path]:
                put_back[path] = None if entry is None else RestoreSource(made_by.get(path, self.base), entry.size)
        return put_back


class _Below:
    """The files below a path, found by binary search."""

    def __init__(self, entries: Overlay) -> None:
        self._paths = sorted(path for path, entry in entries.items() if entry is not None)

    def __call__(self, path: str) -> Iterable[str]:
        prefix = path + "/"
        at = bisect_left(self._paths, prefix)
        while at < len(self._paths) and self._paths[at].startswith(prefix):
            yield self._paths[at]
            at += 1


async def check_places(
    client: LakeFSClient,
    repository: str,
    base: str,
    spec: WorkspaceSpec,
    changes: Changes,
    words: Words = FOR_TASKS,
) -> None:
    """Refuse added files that clash with files that the patterns hide: a file where a directory is, or the reverse.

    Without patterns nothing is hidden, and the source's file system has prevented such clashes.

    Args:
        base: the commit to change: a task's input, or the head of a branch.

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
    """The directories above a name, innermost first, below the workspace's root."""
    end = name.rfind("/")
    while end >= len(root) and end > 0:
        yield name[:end]
        end = name.rfind("/", 0, end)


def _refused(name: str, hidden: str, words: Words) -> ObjectNameError:
    return ObjectNameError(
        f"{show_name(name)} cannot be written: the repository has {show_name(hidden)}, which is left out by "
        f"{words.means}, and a path cannot be both a file and a directory. Give the file another path"
    )

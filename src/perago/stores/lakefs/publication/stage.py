"""Staging: upload the changed files to a hidden branch, and commit them on top of the head, unread by others.

`CommitDraft` is the draft: content on a copy of a commit, checked and committed. `Merging` finds what must be changed
on a head to merge with it.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, assert_never

from perago.errors import ObjectNameError, StoreError
from perago.stores.lakefs.api.answers import Commit, LakeFSError, ObjectStats
from perago.stores.lakefs.api.client import LakeFSClient, both, each
from perago.stores.lakefs.api.commits import Commits, full_id
from perago.stores.lakefs.content.transfer import Transfer
from perago.stores.lakefs.content.upload import Upload
from perago.stores.lakefs.publication.branches import STAGING_PREFIX, content_name
from perago.stores.lakefs.publication.fence import (
    ACTIONS_PREFIX,
    FENCE_PATH,
    FenceMode,
    check_actions,
    fence_content,
    holds_fence,
    is_action,
    refuse_actions,
)
from perago.stores.lakefs.publication.history import publication_message, read_history, seal_message, staged_metadata
from perago.stores.lakefs.publication.publish import check_clean
from perago.values.history import Complete, Merge, Plan, Publish, Refuse, Seal, Stamp, WritePlan
from perago.values.models import Changes, StagedWorkspace, TaskExecution, WorkspaceInput
from perago.values.names import FOR_TASKS, Words, check_object_name, show_name, stands_for_directory
from perago.values.plans import (
    changes_for,
    compared,
    conflict,
    foreign_changes,
    plan_without_engine,
    refusal,
    stamp_for,
)
from perago.values.spec import WorkspaceSpec
from perago.workspace.merge import merge_paths, nothing_below


@dataclass(frozen=True, kw_only=True)
class StagingJob:
    """What one execution stages, and where.

    Attributes:
        transfer: moves the content.
        branch: the staging branch's name, which is unused.
        done: called with the size of each uploaded file.
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
    """The means to stage: the server, its known commits, and the kind of fence."""

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
                raise StoreError("a Complete plan writes nothing, so there is nothing to stage")
        assert_never(plan)

    async def _draft(self, job: StagingJob, plan: WritePlan) -> CommitDraft:
        """A draft on the plan's head. Checks every name that it writes."""
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
        """Commit the input's content with the changes on the head, by its meta range. Copies nothing."""
        await both(draft.fill(draft.beside, base), draft.create(draft.branch, draft.head.id))
        content = await draft.commit(draft.beside, base, message, {})
        empty, _ = await both(
            is_same_content(self.client, draft.repository, draft.head.id, content.id),
            self.client.delete_branch(draft.repository, draft.beside),
        )
        metadata = staged_metadata(stamp, empty=empty)
        return await draft.commit(draft.branch, draft.head.id, message, metadata, content.meta_range_id)

    async def _merge(self, plan: Merge, draft: CommitDraft, base: str) -> bool:
        """Put the changes on the head, and undo what abandoned commits did. Returns whether nothing changed."""
        own = await draft.fill(draft.branch, draft.head.id)
        merging = Merging(self.client, self.commits, draft.repository, base)
        restoration = await merging.restoration(plan, own)
        await draft.put_back(restoration)
        return not draft.changes and not restoration


class Entry(NamedTuple):
    """The content of a path, as compared in a merge. Checksums are the server's."""

    checksum: str
    size: int
    executable: bool

    @classmethod
    def of(cls, stats: ObjectStats) -> Entry:
        return cls(stats.checksum, stats.size, stats.executable)


Overlay = Mapping[str, Entry | None]
"""Path -> its current entry; None if it is deleted."""


class RestoreSource(NamedTuple):
    """The source of a copy: a commit's full id; `size` in bytes, for the deadline."""

    commit_id: str
    size: int


Restoration = dict[str, RestoreSource | None]
"""Path -> the source that restores it; None to delete the path."""


async def changed_between(client: LakeFSClient, repository: str, left: str, right: str) -> dict[str, Entry | None]:
    """The entry in `right` of each path that differs from `left`, without the server's actions."""
    changed: dict[str, Entry | None] = {}
    async for page in client.diff_refs(repository, left, right, stats=True):
        for entry in page:
            if not is_action(entry.path):
                removed = entry.kind == "removed"
                changed[entry.path] = None if removed else Entry(entry.checksum, entry.size, entry.executable)
    return changed


async def is_same_content(client: LakeFSClient, repository: str, left: str, right: str) -> bool:
    """Whether two commits have the same files, apart from the server's actions."""
    async for page in client.diff_refs(repository, left, right):
        if any(not is_action(entry.path) for entry in page):
            return False
    return True


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
        names = compared(plan)
        foreign = foreign_changes(plan, dict(zip(names, await each(names, self._changed_by), strict=True)))
        before = await changed_between(self.client, self.repository, plan.head, self.base)
        await self._merge(plan, foreign, own, before)
        now = await self._present(plan.head, [path for changes in foreign for path in changes])
        return self._undone(plan.foreign, foreign, before, now, own)

    async def _present(self, head: str, paths: Iterable[str]) -> dict[str, Entry | None]:
        """The head's entries at these paths, and wherever it differs from the input."""
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
        """Refuse paths that both changed. `before` has the input's entries where the head differs.

        Files of the input that are unchanged on the head need no check: they already fit beside its other files.
        """
        asked = [path for path in own if path not in before and any(path in changes for changes in foreign)]
        at_base = {**before, **await self._entries(self.base, asked)}
        merged = merge_paths(foreign, own, at_base.get, _Below(before) if before else nothing_below)
        if merged.conflicts:
            raise conflict(merged.conflicts, plan)

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


_FORBIDDEN = 403


class ProtectedBranchError(StoreError):
    """A branch protection rule matches Perago's staging branches. Nothing was published."""

    retry_can_help = False


async def explained(client: LakeFSClient, repository: str, branch: str, fault: LakeFSError) -> StoreError:
    """The error for a failed call on a staging branch: for the rule that forbids it, or the fault itself."""
    if fault.status != _FORBIDDEN:
        return fault
    try:
        patterns = await client.get_protected_branches(repository)
    except LakeFSError:
        return fault
    matching = [pattern for pattern in patterns if fnmatchcase(branch, pattern)]
    if not matching:
        return fault
    return ProtectedBranchError(
        f"repository {repository!r} protects branches that match {', '.join(map(repr, matching))}, which includes this "
        f"attempt's staging branch {branch!r}. Nothing was published. Narrow the rule so that it excludes names that "
        f"start with {STAGING_PREFIX!r}"
    )


Actions = dict[str, ObjectStats]


_COMMIT_TRIES = 3
"""Tries of a commit on a staging branch after unclear answers. Each time the branch shows whether it was made."""


@dataclass(frozen=True, kw_only=True)
class CommitDraft:
    """The draft of a commit on a head. A context manager that removes everything if it fails.

    Attributes:
        transfer: moves content to the repository.
        branch: the staging branch's name, which is unused.
        head: the commit's parent.
        fence: content of the commit's action file.
        directory: location of the changed files; root: the part of their names before the path below it.
        changes: to put on the branch.
        done: called with the size of each uploaded file.
    """

    transfer: Transfer
    branch: str
    head: Commit
    fence: bytes
    directory: Path
    root: str
    changes: Changes
    done: Callable[[int], None]
    _listed: dict[str, asyncio.Future[Actions]] = field(default_factory=dict, init=False)
    _creating: list[asyncio.Future[None]] = field(default_factory=list, init=False)

    @property
    def client(self) -> LakeFSClient:
        return self.transfer.client

    @property
    def repository(self) -> str:
        return self.transfer.repository

    @property
    def beside(self) -> str:
        """A second branch, for content that is not prepared on the head."""
        return content_name(self.branch)

    # ---- content

    async def create(self, branch: str, source: str) -> None:
        """Create a branch. Shielded from cancellation: the server could still complete a cancelled request."""
        creating = asyncio.ensure_future(self.client.create_branch(self.repository, branch, source, hidden=True))
        self._creating.append(creating)
        await asyncio.shield(creating)

    async def fill(self, branch: str, source: str) -> Overlay:
        """Create a branch at a commit, and put the changes and the fence on it. Returns the changes."""
        actions, _ = await both(self._actions(source), self.create(branch, source))
        upload = Upload(self.transfer, branch, self.directory, self.root, self.done)
        uploaded, _ = await both(
            upload.run(self.changes.written, self.changes.deleted), self._put_fence(branch, actions)
        )
        own: dict[str, Entry | None] = {self.root + path: None for path in self.changes.deleted}
        own.update((self.root + path, Entry.of(stats)) for path, stats in uploaded.items())
        return own

    async def put_back(self, restoration: Restoration) -> None:
        """Restore other commits' entries on the staging branch, and delete the paths that they do not have."""
        gone = [path for path, source in restoration.items() if source is None]
        kept = [(path, source) for path, source in restoration.items() if source is not None]
        remover = Upload(self.transfer, self.branch, self.directory, "", self.done)
        await both(each(kept, lambda item: self._copy(*item)), remover.run([], gone))

    async def _copy(self, path: str, source: RestoreSource) -> None:
        await self.client.copy_object(
            self.repository, self.branch, path, source_ref=source.commit_id, source=path, size=source.size
        )

    async def _put_fence(self, branch: str, actions: Mapping[str, ObjectStats]) -> None:
        if not holds_fence(actions, self.fence):
            await self.client.upload_object(self.repository, branch, FENCE_PATH, self.fence, size=len(self.fence))

    # ---- the commit

    async def commit(
        self, branch: str, parent: str, message: str, metadata: Mapping[str, str], source_metarange: str | None = None
    ) -> Commit:
        """Commit the changes on a staging branch, or the content of a meta range.

        After an unclear answer, the branch shows the outcome, because nobody else writes there.
        """
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
                if tip.commit_id == parent:
                    if tries == _COMMIT_TRIES:
                        raise
                    continue
                made = await self.client.get_commit(self.repository, tip.commit_id)
            return await self._first_on(parent, made, metadata)
        raise AssertionError("the last try returns or raises")

    async def _first_on(self, parent: str, made: Commit, metadata: Mapping[str, str]) -> Commit:
        """The commit directly on `parent`. If a proxy repeated the request, an empty commit is on top of it."""
        while made.parents[0] != parent:
            below = await self.client.get_commit(self.repository, made.parents[0])
            if dict(below.metadata) != dict(metadata) or below.meta_range_id != made.meta_range_id:
                raise StoreError(
                    f"somebody else writes to the staging branch {self.branch!r}. Nothing was published. Allow only "
                    f"Perago to write to branches that start with 'perago-'"
                )
            made = below
        return made

    async def check(self, staged: Commit) -> None:
        """Check that the publication is guarded and does not change the server's actions.

        Raises:
            PublishFenceError
        """
        at_head, at_staged = await both(self._actions(self.head.id), self._actions(staged.id))
        check_actions(at_head, at_staged, self.fence)

    # ---- the end

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        """After a failure, remove the branches. The janitor removes what cannot be removed here."""
        if exc is None:
            return
        await asyncio.gather(*self._creating, return_exceptions=True)
        for name in (self.branch, self.beside):
            with suppress(StoreError):
                await self.client.delete_branch(self.repository, name)
        if isinstance(exc, LakeFSError):
            told = await explained(self.client, self.repository, self.branch, exc)
            if told is not exc:
                raise told from exc

    def _actions(self, ref: str) -> asyncio.Future[Actions]:
        """The server's actions in a commit, listed once."""
        if ref not in self._listed:
            self._listed[ref] = asyncio.ensure_future(self._list_actions(ref))
        return self._listed[ref]

    async def _list_actions(self, ref: str) -> Actions:
        found: Actions = {}
        async for page in self.client.list_objects(self.repository, ref, prefix=ACTIONS_PREFIX):
            found.update((stats.path, stats) for stats in page)
        return found


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

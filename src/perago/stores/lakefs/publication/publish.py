"""Publishing a staged commit: merge it onto its expected head, and find out the outcome of the merge.

lakeFS does not merge onto a branch with uncommitted changes. That is checked before the upload and again here.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from perago.errors import DirtyBranchError, HeadMovedError, PublishFenceError, PublishVetoedError, StoreError
from perago.http.answer import FaultKind, HttpFault
from perago.http.parallel import nothing
from perago.stores.lakefs.api.answers import Commit, LakeFSError, unanswered, uri
from perago.stores.lakefs.api.client import LakeFSClient, both
from perago.stores.lakefs.api.commits import Commits
from perago.stores.lakefs.publication.fence import HOOK_REFUSED, FenceMode, check_staged, fence_content, vetoes
from perago.stores.lakefs.publication.history import Publication, find_publication, publication_metadata, read_history
from perago.values.backoff import backoff
from perago.values.history import Merge, Publish, Seal, Stamp
from perago.values.models import StagedWorkspace, TaskExecution, WorkspaceInput
from perago.values.names import show_name
from perago.values.plans import noop_commit, plan_without_engine, stamp_for

_LOGGER = logging.getLogger("perago.stores.lakefs")

_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 2.0

_TOLD_AT = 4
"""The pause at which the log mentions the wait for a clean branch: 1.5 s have passed by then."""

_SHOWN_PATHS = 10
"""Uncommitted paths that an error names."""


async def uncommitted(client: LakeFSClient, target: WorkspaceInput, amount: int = 1) -> list[str]:
    """The first paths that have uncommitted changes on the branch; empty if it is clean."""
    async for page in client.diff_branch(target.repository, target.branch, amount=amount):
        return [entry.path for entry in page]
    return []


async def wait_until_clean(client: LakeFSClient, target: WorkspaceInput, deadline: float) -> None:
    """Wait until the branch has no uncommitted changes: a person uploads, and commits seconds later.

    Args:
        deadline: of the wait, in the loop's time.

    Raises:
        DirtyBranchError: it still has some. The error names them.
        LakeFSError: the server did not answer.
    """
    for number in itertools.count():
        if not await uncommitted(client, target):
            return
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0:
            raise dirty(target, await uncommitted(client, target, _SHOWN_PATHS + 1))
        if number == _TOLD_AT:
            named = _named(await uncommitted(client, target, _SHOWN_PATHS + 1))
            _LOGGER.warning("branch %s has uncommitted changes%s; waiting for their commit", target.branch, named)
        await asyncio.sleep(min(backoff(_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS, number), left))


async def check_clean(client: LakeFSClient, target: WorkspaceInput, seconds: float) -> None:
    """Check before an upload that the branch can be published to. If that is unknown, the merge decides.

    Args:
        seconds: to wait for it.

    Raises:
        DirtyBranchError: it has uncommitted changes for so long.
    """
    with suppress(LakeFSError):
        await wait_until_clean(client, target, asyncio.get_running_loop().time() + seconds)


def dirty(target: WorkspaceInput, paths: Sequence[str]) -> DirtyBranchError:
    """The error for a branch with uncommitted changes of these paths. With more than `_SHOWN_PATHS`, some are left out.

    If somebody has just committed them, there are none to name.
    """
    return DirtyBranchError(
        f"branch {target.branch!r} has uncommitted changes{_named(paths)}, and lakeFS does not merge onto them. "
        f"Nothing was published. Commit them, or discard them with `lakectl branch reset "
        f"{uri(target.repository, target.branch)}`; then run the task again"
    )


def _named(paths: Sequence[str]) -> str:
    more = ", and others" if len(paths) > _SHOWN_PATHS else ""
    return f" of {', '.join(map(show_name, paths[:_SHOWN_PATHS]))}{more}" if paths else ""


MERGE_SECONDS = 60.0
"""Default limit for a merge, including its retries and the checks between them."""

NOT_GUARANTEED = (
    "Published with fence='cooperative', without a hook on the server: exact publication is not guaranteed. The merge "
    "may include a commit that somebody made at the same moment. Perago would detect that, and nothing would be lost"
)

_ANSWERED_TRIES = 6
"""Merges that the server answered with 5xx, with "later" (429), or with 400, before the error is final; 2 s of pauses
in total. A branch with uncommitted changes is waited for as long as there is time."""

LAST_LOOK_SECONDS = 10.0
"""Limit for a check of the branch after the merge's own time is over, so that the outcome is known."""

_BAD_REQUEST = 400


@dataclass(frozen=True)
class Mover:
    """The means to move branches: the server, its known commits, the kind of fence, and a time limit."""

    client: LakeFSClient
    commits: Commits
    mode: FenceMode
    merge_seconds: float = MERGE_SECONDS

    async def move(
        self,
        target: WorkspaceInput,
        staged: Commit,
        metadata: Mapping[str, str],
        *,
        check: Callable[[], Awaitable[object]] = nothing,
        tidy: Callable[[], Awaitable[object]] = nothing,
    ) -> Commit:
        """Merge a staged commit into the target's branch, on the staged commit's parent: once, or not at all.

        Checks the head before each merge, because a merge that hooks refuse leaves a trace on the branch.

        Args:
            metadata: of the merge.
            check: awaited beside the first look at the branch, before any merge.
            tidy: awaited after a merge, beside the reading of what it made.

        Returns:
            the merge commit, even if an earlier call made it.

        Raises:
            HeadMovedError: the branch has another head; nothing was published.
            PublishVetoedError, DirtyBranchError, StoreError: it was not moved, or that is unknown, as the message says.
            PublishFenceError: the fence did not hold.
        """
        deadline = asyncio.get_running_loop().time() + self.merge_seconds
        found = await _Swap(self, target, staged, metadata, deadline, check, tidy).run()
        self._verify(found, staged, target)
        return found

    @property
    def warning(self) -> str:
        """The warning in the merge's message."""
        return f"\n\n{NOT_GUARANTEED}." if self.mode == "cooperative" else ""

    def _verify(self, found: Commit, staged: Commit, target: WorkspaceInput) -> None:
        """Verify that the server did what it was asked. If not, the fence did not hold."""
        expected = staged.parents[0]
        if found.parents[0] == expected and found.meta_range_id == staged.meta_range_id:
            return
        cooperative = (
            "fence='cooperative' detects this only afterwards"
            if self.mode == "cooperative"
            else ("a hook should have refused that: check that the server runs hooks (actions.enabled)")
        )
        raise PublishFenceError(
            f"the server moved branch {target.branch!r} not from {expected[:12]} but from {found.parents[0][:12]}, "
            f"which somebody committed at the same time; {cooperative}. Nothing is lost: merge {found.id[:12]} "
            f"contains both, and does not count as a publication. Check it, revert it if it is not wanted, and run the "
            f"task again from the current head"
        )


@dataclass
class _Swap:
    """One merge, retried until its outcome is known."""

    mover: Mover
    target: WorkspaceInput
    staged: Commit
    metadata: Mapping[str, str]
    deadline: float
    check: Callable[[], Awaitable[object]]
    tidy: Callable[[], Awaitable[object]]
    tries: int = field(default=0, init=False)

    async def run(self) -> Commit:
        """The publishing commit. There is at most one, even if this is called again."""
        fault: LakeFSError | None = None
        published, _ = await both(self._look(None), self.check())
        while True:
            if published.commit is not None:
                return published.commit
            await self._judge(published, fault)
            try:
                return await self._merge()
            except LakeFSError as exc:
                fault = exc
                published = await self._look(fault)

    @property
    def _expected(self) -> str:
        return self.staged.parents[0]

    @property
    def _client(self) -> LakeFSClient:
        return self.mover.client

    def _left(self) -> float:
        return self.deadline - asyncio.get_running_loop().time()

    async def _merge(self) -> Commit:
        self.tries += 1
        given = self.target
        head = await self.mover.commits.get(given.repository, self._expected)
        same = self.staged.meta_range_id == head.meta_range_id
        merged = await self._client.merge(
            given.repository,
            self.staged.id,
            given.branch,
            message=self.staged.message + self.mover.warning,
            metadata=self.metadata,
            options={"allow_empty": True} if same else {},
            timeout=max(self._left(), 0.001),
        )
        found, _ = await both(self._client.get_commit(given.repository, merged), self.tidy())
        return found

    async def _look(self, fault: LakeFSError | None) -> Publication:
        """Read the branch. After a possible merge, retry until the branch answers."""
        while True:
            try:
                return await self._find()
            except LakeFSError as exc:
                if fault is None or not exc.may_pass or self._left() <= 0:
                    raise await self._unsettled(exc, fault) from exc
                await self._pause()

    async def _find(self) -> Publication:
        seconds = max(self._left(), LAST_LOOK_SECONDS)
        try:
            async with asyncio.timeout(seconds):
                return await find_publication(self._client, self.target, self.staged)
        except TimeoutError:
            silence = HttpFault(FaultKind.TIMEOUT, f"no answer in {seconds:.0f} s")
            raise unanswered("logCommits", self._client.root, silence) from None

    async def _judge(self, found: Publication, fault: LakeFSError | None) -> None:
        """Decide what follows if the commit is not published: raise, or return to try again on the same head.

        A retry after an unclear answer is safe: the head is still the expected one, and the server makes only one of
        two merges of one staged commit.
        """
        branch, expected = self.target.branch, self._expected
        if found.head != expected:
            raise HeadMovedError(
                f"branch {branch!r} moved from {expected[:12]} to {found.head[:12]}; nothing was published"
            )
        if fault is None:
            return
        if fault.status == HOOK_REFUSED:
            raise await self._vetoed(fault) from fault
        if fault.status != _BAD_REQUEST and not fault.may_pass:
            raise fault
        if fault.status == _BAD_REQUEST and await uncommitted(self._client, self.target):
            await wait_until_clean(self._client, self.target, self.deadline)
            self.tries = 0
            await self._judge(await self._look(fault), None)  # what was uncommitted may have been committed
        elif self._left() <= 0 or (fault.status is not None and self.tries >= _ANSWERED_TRIES):
            raise self._too_often(fault) from fault
        else:
            await self._pause()

    async def _unsettled(self, exc: LakeFSError, fault: LakeFSError | None) -> StoreError:
        if fault is None:
            return await self.mover.commits.explained(exc, self.target)
        return StoreError(
            f"it is unknown whether branch {self.target.branch!r} was moved: {fault}; then {exc}. If it was, a retry "
            f"of this task finds the commit and completes with it"
        )

    async def _vetoed(self, fault: LakeFSError) -> StoreError:
        found = await vetoes(self._client, self.target.repository, fault)
        who = [str(veto) for veto in found if not veto.is_ours]
        named = ", ".join(who) if who else "a hook on the server"
        return PublishVetoedError(
            f"{named} refused the publication to branch {self.target.branch!r}: {fault.message}. Nothing was "
            f"published. Correct what the hook checks, or the hook"
        )

    def _too_often(self, fault: LakeFSError) -> StoreError:
        hint = (
            "Allow more time with publish_timeout_seconds in the task's PublishBudget"
            if self._left() <= 0
            else ("Check the server's log")
        )
        return StoreError(
            f"branch {self.target.branch!r} was not moved in {self.tries} tries, within "
            f"{self.mover.merge_seconds:g} s: {fault}. Nothing is published yet; if the server still does it, a retry "
            f"of this task finds the commit. {hint}"
        )

    async def _pause(self) -> None:
        longest = min(backoff(_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS, self.tries), max(self._left(), 0.0))
        await asyncio.sleep(longest * random.random())  # noqa: S311 - spreads load, not for security


async def publish(
    mover: Mover,
    staged: StagedWorkspace,
    workspace_input: WorkspaceInput,
    execution: TaskExecution,
    tidy: Callable[[], Awaitable[object]] = nothing,
) -> Commit:
    """Move the branch from the head that was staged upon to the staged commit. See `ports.PublishWorkspace`.

    Args:
        tidy: see `Mover.move`.
    """
    commit = await mover.commits.get(workspace_input.repository, staged.commit)
    if len(commit.parents) != 1:
        raise StoreError(f"{staged.commit} was not staged by an attempt: it does not have exactly one parent")
    stamp = _stamp_on(execution, commit.parents[0])
    content = fence_content(mover.mode, execution.execution_id)
    return await mover.move(
        workspace_input,
        commit,
        publication_metadata(stamp, commit),
        check=lambda: check_staged(mover.commits, workspace_input.repository, commit, content),
        tidy=tidy,
    )


async def complete_noop(
    client: LakeFSClient, commits: Commits, workspace_input: WorkspaceInput, execution: TaskExecution
) -> str:
    """The commit that an attempt without changes completes with. See `ports.CompleteNoopWorkspace`."""
    plan = execution.plan or plan_without_engine(await read_history(client, commits, workspace_input))
    return noop_commit(plan, workspace_input, decided_by_store=execution.plan is None)


def _stamp_on(execution: TaskExecution, head: str) -> Stamp:
    """The stamp of what was staged on `head`."""
    plan = execution.plan
    stamp = stamp_for(execution, plan if isinstance(plan, Publish | Merge | Seal) else Publish(head))
    return replace(stamp, expected_head=head)

"""Publish a staged commit: merge it onto the head that it was made for, and settle what became of the merge.

lakeFS merges nothing onto a branch with uncommitted changes, which is told before anything is uploaded, and again here.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from perago.errors import DirtyBranchError, HeadMovedError, PublishFenceError, PublishVetoedError, StoreError
from perago.http.faults import FaultKind, HttpFault
from perago.stores.lakefs.api.answers import Commit, LakeFSError, unanswered, uri
from perago.stores.lakefs.api.client import LakeFSClient
from perago.stores.lakefs.api.commits import Commits
from perago.stores.lakefs.publication.fence import HOOK_REFUSED, FenceMode, vetoes
from perago.stores.lakefs.publication.history import Publication, find_publication, publication_metadata, read_history
from perago.values.history import Complete, Merge, Publish, Refuse, Seal, Stamp
from perago.values.models import StagedWorkspace, TaskExecution, WorkspaceInput
from perago.values.plans import plan_without_engine, refusal, stamp_for

_PAUSES = (0.1, 0.2, 0.4, 0.8)
"""Seconds between looks: whoever is about to commit has done it by then."""


async def is_dirty(client: LakeFSClient, target: WorkspaceInput) -> bool:
    """Whether something lies on the branch that is not committed."""
    async for page in client.diff_branch(target.repository, target.branch, amount=1):
        return bool(page)
    return False


async def check_clean(client: LakeFSClient, target: WorkspaceInput) -> None:
    """See to it that the branch can be published to, before anything is uploaded for it.

    Raises:
        DirtyBranchError: it holds uncommitted changes, and keeps them. What cannot be told is left to the merge.
    """
    for pause in (*_PAUSES, None):
        try:
            if not await is_dirty(client, target):
                return
        except LakeFSError:
            return
        if pause is not None:
            await asyncio.sleep(pause)
    raise dirty(target)


def dirty(target: WorkspaceInput) -> DirtyBranchError:
    """The error for a branch that stays dirty."""
    return DirtyBranchError(
        f"branch {target.branch!r} holds uncommitted changes, onto which lakeFS does not publish. Nothing was "
        f"published. Commit them, or drop them with `lakectl branch reset "
        f"{uri(target.repository, target.branch)}`; then run the task again"
    )


MERGE_SECONDS = 60.0
"""How long a merge may take, its repetitions and the looks between them included, where nobody says otherwise."""

NOT_GUARANTEED = (
    "Published with fence='cooperative', no hook of the server's guarding it: not guaranteed is that a commit which "
    "somebody else makes in the same moment is not merged with. It would be found out afterwards, and nothing be lost"
)

_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 2.0
_ANSWERED_TRIES = 6
"""Merges that the server answered with a failure of its own (5xx), with "later" (429), or because somebody was about to
commit what lay on the branch (400), before it is believed; 2 s of pauses together."""

LAST_LOOK_SECONDS = 10.0
"""How long a look at the branch may take when the merge's own time is over: what became of it is worth that much."""

_BAD_REQUEST = 400


@dataclass(frozen=True)
class Mover:
    """What moving branches needs: the server, what is known of its commits, the kind of fence, and a bound."""

    client: LakeFSClient
    commits: Commits
    mode: FenceMode
    merge_seconds: float = MERGE_SECONDS

    async def move(self, target: WorkspaceInput, staged: Commit, metadata: Mapping[str, str]) -> Commit:
        """Merge a staged commit into the target's branch, on the head that it stands on: once, or not at all.

        The head is looked at before each merge: a merge that hooks refuse leaves a trace on the branch.

        Args:
            metadata: of the merge.

        Returns:
            the merge, whoever made it: a second call finds the first one's.

        Raises:
            HeadMovedError: the branch is elsewhere; nothing was published.
            PublishVetoedError, DirtyBranchError, StoreError: it was not moved, or that is not known, as they say.
            PublishFenceError: the fence did not hold.
        """
        deadline = asyncio.get_running_loop().time() + self.merge_seconds
        found = await _Swap(self, target, staged, metadata, deadline).run()
        self._verify(found, staged, target)
        return found

    @property
    def caution(self) -> str:
        """What the merge's message says besides."""
        return f"\n\n{NOT_GUARANTEED}." if self.mode == "cooperative" else ""

    def _verify(self, found: Commit, staged: Commit, target: WorkspaceInput) -> None:
        """See to it that the server did what it was asked; it always has, or the fence did not hold."""
        expected = staged.parents[0]
        if found.parents[0] == expected and found.meta_range_id == staged.meta_range_id:
            return
        cooperative = (
            "which fence='cooperative' can find out only afterwards"
            if self.mode == "cooperative"
            else ("although a hook was to refuse that: check that the server runs hooks (actions.enabled)")
        )
        raise PublishFenceError(
            f"the server merged what was to move branch {target.branch!r} from {expected[:12]} with commit "
            f"{found.parents[0][:12]}, which somebody made meanwhile, {cooperative}. Nothing is lost: merge "
            f"{found.id[:12]} holds both, and counts as nobody's publication. Look at it, revert it if it is not "
            f"wanted, and run the task again from the present head"
        )


@dataclass
class _Swap:
    """One merge, as often as it takes to know its outcome."""

    mover: Mover
    target: WorkspaceInput
    staged: Commit
    metadata: Mapping[str, str]
    deadline: float
    tries: int = field(default=0, init=False)

    async def run(self) -> Commit:
        """The commit that published; there is one at most, however often this is called."""
        fault: LakeFSError | None = None
        while True:
            published = await self._look(fault)
            if published.commit is not None:
                return published.commit
            await self._judge(published, fault)
            try:
                return await self._merge()
            except LakeFSError as exc:
                fault = exc

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
            message=self.staged.message + self.mover.caution,
            metadata=self.metadata,
            options={"allow_empty": True} if same else {},
            timeout=max(self._left(), 0.001),
        )
        return await self._client.get_commit(given.repository, merged)

    async def _look(self, fault: LakeFSError | None) -> Publication:
        """What the branch says; asked until it answers, if a merge may have been made."""
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
        """It is not published: raise why it will not be; or return, for another try on the same head.

        Trying again is safe where the answer was unclear: the head is still the expected one, and of two merges of one
        staged commit the server makes one.
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
        if self._left() <= 0 or (fault.status is not None and self.tries >= _ANSWERED_TRIES):
            stays_dirty = fault.status == _BAD_REQUEST and await is_dirty(self._client, self.target)
            raise (dirty(self.target) if stays_dirty else self._too_often(fault)) from fault
        await self._pause()

    async def _unsettled(self, exc: LakeFSError, fault: LakeFSError | None) -> StoreError:
        if fault is None:
            return await self.mover.commits.explained(exc, self.target)
        return StoreError(
            f"whether branch {self.target.branch!r} was moved is not known: {fault}; and then {exc}. "
            f"If it was, a retry of this task finds it, and completes with it"
        )

    async def _vetoed(self, fault: LakeFSError) -> StoreError:
        found = await vetoes(self._client, self.target.repository, fault)
        who = [str(veto) for veto in found if not veto.is_ours]
        named = ", ".join(who) if who else "a hook on the server"
        return PublishVetoedError(
            f"{named} refused the publication to branch {self.target.branch!r}: {fault.message}. Nothing was "
            f"published. Mend what the hook checks, or the hook"
        )

    def _too_often(self, fault: LakeFSError) -> StoreError:
        hint = (
            "Give it longer with lakefs_merge_timeout_seconds in the task's PublishBudget"
            if self._left() <= 0
            else ("Look at the server's log")
        )
        return StoreError(
            f"branch {self.target.branch!r} was not moved in {self.tries} tries, within "
            f"{self.mover.merge_seconds:g} s: {fault}. Nothing is published as yet; should the server still do "
            f"it, a retry of this task finds it. {hint}"
        )

    async def _pause(self) -> None:
        longest = min(_LONGEST_PAUSE_SECONDS, _PAUSE_SECONDS * 2.0**self.tries, max(self._left(), 0.0))
        await asyncio.sleep(longest * random.random())  # noqa: S311 - spreads load, guards nothing


async def publish(
    mover: Mover, staged: StagedWorkspace, workspace_input: WorkspaceInput, execution: TaskExecution
) -> Commit:
    """Move the branch from the head that was staged upon to the staged commit. See `ports.PublishWorkspace`."""
    commit = await mover.commits.get(workspace_input.repository, staged.commit)
    if len(commit.parents) != 1:
        raise StoreError(f"{staged.commit} was not staged by an attempt: it does not stand on one head")
    stamp = _stamp_on(execution, commit.parents[0])
    return await mover.move(workspace_input, commit, publication_metadata(stamp, commit))


async def complete_noop(
    client: LakeFSClient, commits: Commits, workspace_input: WorkspaceInput, execution: TaskExecution
) -> str:
    """Say which commit an attempt without changes completes with. See `ports.CompleteNoopWorkspace`."""
    plan = execution.plan or plan_without_engine(await read_history(client, commits, workspace_input))
    match plan:
        case Complete(ref):
            return ref
        case Refuse():
            raise refusal(plan, workspace_input.branch, workspace_input.ref)
        case Publish() if execution.plan is None:
            return workspace_input.ref
    raise StoreError(f"an attempt without changes cannot be completed by a plan to {type(plan).__name__}")


def _stamp_on(execution: TaskExecution, head: str) -> Stamp:
    """The stamp of what was staged on this head."""
    plan = execution.plan
    stamp = stamp_for(execution, plan if isinstance(plan, Publish | Merge | Seal) else Publish(head))
    return replace(stamp, expected_head=head)

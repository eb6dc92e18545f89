"""Publishes: decide, fence, stage, fence, publish, clean. Starts again from the new head if another attempt was faster.

The order is that of the protocol: read the head, then the engine, then pass the attempt fence before staging and again
before publishing. So a swap never starts from a head that is newer than the fence.

Attempts that write one branch take turns, as far as the queue can see them. A turn begins before the decision, so that
the head stays as it was judged. Only an attempt with many or large changes first stages them, so that nobody waits for
an upload; if the head has moved by its turn, the store stages the same content again without moving it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, assert_never

from perago.attempt import fence
from perago.attempt.membership import assert_may_publish, may_publish
from perago.attempt.phases import Phases
from perago.attempt.stamp import of_workflow
from perago.errors import EngineError, HeadMovedError, PublishFenceError, StoreError, required
from perago.ports import (
    AttemptEngine,
    BranchQueue,
    CleanupStaging,
    CompleteNoopWorkspace,
    CompletesWorkspaces,
    CompleteWorkspace,
    DownloadWorkspace,
    ForeseeDownload,
    ForeseesDownload,
    ListWorkspace,
    LoadCurrentAttempt,
    LoadRecord,
    Phase,
    PublishWorkspace,
    ReadHistory,
    ReusableStore,
    StageWorkspace,
    Turn,
    ValidateReads,
    WorkspaceStore,
)
from perago.values.history import Complete, History, Merge, Plan, Publish, Refuse, Seal, Validate
from perago.values.json_text import JsonObject
from perago.values.models import Attempt, Changes, StagedWorkspace, TaskExecution, WorkspaceInput
from perago.values.plans import Subject, refusal
from perago.values.record import NO_RECORD, InstanceRecord
from perago.values.spec import WorkspaceSpec

MAX_SWAPS = 64
"""Lost swaps after which an attempt gives up. Each loss is another attempt's success, so this many in a row mean too
many writers for one branch; a later retry by the engine has better chances."""
LIGHT_FILES, LIGHT_BYTES = 100, 8 * 1024 * 1024
"""Changes up to this size are staged within the turn: it takes a lakeFS server on the same machine 0.1 s."""

Decide = Callable[[History, InstanceRecord, fence.Applicant], Plan | Validate | None]

How = Literal["published", "merged", "replaced", "adopted", "unchanged", "cached"]


@dataclass(frozen=True, kw_only=True)
class AttemptPorts:
    """The store and the engine of an attempt, as callables. `attempt.compat` has those for callables that are missing.

    Attributes:
        foresee_download, complete_workspace: None if the store cannot.
        reusable: the store, if its results can be used again.
    """

    download_workspace: DownloadWorkspace
    list_workspace: ListWorkspace
    load_current_attempt: LoadCurrentAttempt
    stage_workspace: StageWorkspace
    publish_workspace: PublishWorkspace
    cleanup_staging: CleanupStaging
    complete_noop_workspace: CompleteNoopWorkspace
    read_history: ReadHistory
    load_record: LoadRecord
    validate_reads: ValidateReads
    foresee_download: ForeseeDownload | None = None
    complete_workspace: CompleteWorkspace | None = None
    reusable: ReusableStore | None = None

    @classmethod
    def of(cls, store: WorkspaceStore, engine: AttemptEngine) -> AttemptPorts:
        return cls(
            download_workspace=store.download_workspace,
            list_workspace=store.list_workspace,
            load_current_attempt=engine.load_current_attempt,
            stage_workspace=store.stage_workspace,
            publish_workspace=store.publish_workspace,
            cleanup_staging=store.cleanup_staging,
            complete_noop_workspace=store.complete_noop_workspace,
            read_history=store.read_history,
            load_record=engine.load_record,
            validate_reads=store.validate_reads,
            foresee_download=store.foresee_download if isinstance(store, ForeseesDownload) else None,
            complete_workspace=store.complete_workspace if isinstance(store, CompletesWorkspaces) else None,
            reusable=store if isinstance(store, ReusableStore) else None,
        )


@dataclass(frozen=True)
class PublicationResult:
    """The commit that the attempt completes with. `result` is another try's, or None for the attempt's own."""

    ref: str
    how: How
    result: JsonObject | None = None


Settled = tuple[PublicationResult, JsonObject]
"""How an attempt completes, and the result of its own that goes with it."""


@dataclass(frozen=True)
class Due:
    """Nothing is settled yet: the body must run, or an earlier result must take its place.

    Attributes:
        is_first: no other delivery of this task, and no other try of it, was before.
    """

    is_first: bool


@dataclass(frozen=True)
class _Seen:
    """What a plan is based on: the history, then the engine's record, and the attempt by its name in its tree."""

    history: History
    record: InstanceRecord
    asking: fence.Applicant

    @property
    def is_first_delivery(self) -> bool:
        """Whether neither the engine nor the history has an earlier delivery of this task."""
        stamps = (commit.stamp for commit in self.history.commits)
        published = any(stamp is not None and stamp.logical_task == self.asking.logical_task for stamp in stamps)
        return not published and fence.is_first_delivery(self.record, self.asking)

    def stamped(self, execution: TaskExecution) -> TaskExecution:
        """The execution with this name, and the params of its workflow, in its stamp."""
        if execution.stamp is None:
            return execution
        stamp = execution.stamp.in_tree(self.asking.logical_task)
        return replace(execution, stamp=of_workflow(stamp, self.record.params))


@dataclass(frozen=True, kw_only=True)
class PublicationTarget:
    """The branch that one attempt publishes to.

    Attributes:
        subject: what is published, in a refusal.
        queue: where the attempt waits for its turn to publish.
        is_cancelled: ends that wait.
        seals_noop: record an attempt that changed nothing by a seal, so that its result is found again.
        cached_from: the commit whose result stands for that of a body.
    """

    ports: AttemptPorts
    attempt: Attempt
    workspace_input: WorkspaceInput
    spec: WorkspaceSpec
    applicant: fence.Applicant
    phases: Phases
    queue: BranchQueue
    is_cancelled: Callable[[], bool]
    subject: Subject = "task"
    seals_noop: bool = False
    cached_from: str | None = None

    def begin(self, execution: TaskExecution, workspace_dir: Path) -> PublicationResult | Due:
        """Before the body: complete as another try did, adopt, or refuse."""
        return self._until_settled(fence.plan_start, execution, workspace_dir, wait_first=False)

    def finish(self, execution: TaskExecution, workspace_dir: Path, written_bytes: int) -> PublicationResult:
        """After the body: publish `execution.changes`, or complete without publishing if there are none.

        Args:
            written_bytes: size of all files that the changes write.
        """
        changes = execution.changes or Changes()
        changed = bool(changes)
        is_light = len(changes.written) <= LIGHT_FILES and written_bytes <= LIGHT_BYTES

        def decide(history: History, record: InstanceRecord, asking: fence.Applicant) -> Plan | Validate:
            return fence.plan_publication(history, record, asking, changed=changed, seals_noop=self.seals_noop)

        outcome = self._until_settled(decide, execution, workspace_dir, wait_first=changed and is_light)
        settled = outcome if isinstance(outcome, PublicationResult) else None
        return required(settled, "a publication is always decided")

    def is_first_delivery(self) -> bool:
        """Whether the engine knows no earlier delivery of this task, and no other try of it."""
        with self.phases(Phase.DECIDE):
            record = self.ports.load_record(self.attempt)
            return fence.is_first_delivery(record, self.applicant.in_tree(record))

    def recorded(self, execution: TaskExecution, workspace_dir: Path) -> PublicationResult:
        """Complete with the input. If the branch has it, a result with a key is sealed, so that it is found again."""

        def decide(history: History, _record: InstanceRecord, asking: fence.Applicant) -> Plan:
            return Seal(history.head, asking.input_ref)

        if execution.stamp is not None and execution.stamp.cache_key is not None:
            with suppress(PublishFenceError, HeadMovedError):
                self._until_settled(decide, execution, workspace_dir, wait_first=True)
        return PublicationResult(self.workspace_input.ref, "unchanged")

    def _until_settled(
        self,
        decide: Decide,
        execution: TaskExecution,
        workspace_dir: Path,
        *,
        wait_first: bool,
    ) -> PublicationResult | Due:
        """Decide and carry out the plan, until no swap is lost.

        Args:
            wait_first: wait for the turn before the first decision; otherwise before the first swap.
        """
        self._refuse_outsiders()
        with ExitStack() as end:
            place = _PlaceInQueue(lambda: end.enter_context(self.queue(self.workspace_input, self.is_cancelled)))
            for lost in range(MAX_SWAPS):
                if wait_first or lost:
                    place.wait()
                try:
                    plan, seen = self._plan(decide)
                    if plan is None:
                        return Due(seen.is_first_delivery)
                    return self._carry_out(plan, seen.stamped(execution), workspace_dir, place)
                except HeadMovedError:
                    place.wait().lost(lost + 1)
        raise HeadMovedError(
            f"branch {self.workspace_input.branch!r} moved {MAX_SWAPS} times while this attempt was publishing. "
            f"Nothing was published. Run the task again, or let fewer tasks write this branch at once"
        )

    def _refuse_outsiders(self) -> None:
        """Refuse the branch of a run that the attempt is not part of. Asks the engine only about a sub-workflow's."""
        branch, instance = self.workspace_input.branch, self.applicant.identity.workflow_instance_id
        if not may_publish(branch, instance, NO_RECORD):
            with self.phases(Phase.DECIDE):
                record = self.ports.load_record(self.attempt)
                fence.assert_instance_counts(record, self.applicant)
                assert_may_publish(branch, instance, record)

    def _plan(self, decide: Decide) -> tuple[Plan | None, _Seen]:
        with self.phases(Phase.DECIDE) as span:
            history = self.ports.read_history(self.workspace_input).on_branch(self.workspace_input.branch)
            record = self._record(history)
            fence.assert_instance_counts(record, self.applicant)
            seen = _Seen(fence.in_tree(history, record), record, self.applicant.in_tree(record))
            plan = decide(seen.history, record, seen.asking)
            if isinstance(plan, Validate):
                plan = self._validated(plan, seen)
            how = None if plan is None or isinstance(plan, Refuse) else self._how(plan)
            span.note(head=history.head, commits=len(history.commits), plan=_name(plan), how=how)
            if record.workflow is not None:
                span.note(root=record.workflow_instance_id, root_workflow=record.workflow)
            match plan:
                case Seal(_, completes) | Complete(completes):
                    span.note(completes=completes)
            if isinstance(plan, Refuse):
                raise self._refusal(plan)
        return plan, seen

    def _record(self, history: History) -> InstanceRecord:
        """The engine's record, with the sub-workflows that have published since the input."""
        record = self.ports.load_record(self.attempt)
        unread = fence.unread_paths(history, record)
        return self.ports.load_record(self.attempt, unread) if unread else record

    def _validated(self, plan: Validate, seen: _Seen) -> Plan | None:
        conflict = self.ports.validate_reads(self.workspace_input, self.spec, plan.merge)
        if conflict is None:
            return plan.then
        return fence.refuse_conflict(conflict, seen.history, seen.record, seen.asking)

    def _carry_out(
        self, plan: Plan, execution: TaskExecution, workspace_dir: Path, place: _PlaceInQueue
    ) -> PublicationResult:
        if isinstance(plan, Refuse):
            raise self._refusal(plan)
        planned, how = replace(execution, plan=plan, changes=execution.changes or Changes()), self._how(plan)
        match plan:
            case Complete(_, None):
                self._attempt_fence()
                ref = self.ports.complete_noop_workspace(self.workspace_input, self.spec, planned)
                return PublicationResult(self._commit_id("complete_noop_workspace", ref), how)
            case Complete(ref, result):
                self._attempt_fence()
                return PublicationResult(ref, how, result)
            case Seal(_, completes, source):
                sealed = plan if source is not None else replace(plan, source=execution.stamp)
                self._write(replace(planned, plan=sealed), workspace_dir, place)
                return PublicationResult(completes, how, None if source is None else source.result)
            case Publish() | Merge():
                return PublicationResult(self._write(planned, workspace_dir, place), how)
        assert_never(plan)

    def _how(self, plan: Complete | Seal | Publish | Merge) -> How:
        how = how_of(plan)
        return how if self.cached_from is None or how == "adopted" else "cached"

    def _refusal(self, refuse: Refuse) -> PublishFenceError:
        return refusal(refuse, self.workspace_input.branch, self.applicant.input_ref, self.spec, self.subject)

    def _write(self, execution: TaskExecution, workspace_dir: Path, place: _PlaceInQueue) -> str:
        self._attempt_fence()
        returned: list[StagedWorkspace] = []  # to be cleaned up, whatever it is and even if its phase fails
        try:
            with self.phases(Phase.STAGE) as span:
                returned += [self.ports.stage_workspace(workspace_dir, self.workspace_input, self.spec, execution)]
                staged = _staged(returned[0])
                span.note(staged=staged.commit)
            place.wait()
            self._attempt_fence()
            with self.phases(Phase.PUBLISH) as span:
                ref = self.ports.publish_workspace(staged, self.workspace_input, self.spec, execution)
                ref = self._commit_id("publish_workspace", ref)
                span.note(ref=ref)
                return ref
        finally:
            for one in returned:
                self._clean(one)

    def _commit_id(self, name: str, ref: object) -> str:
        """Check the return value of a callable, which may be the user's."""
        if isinstance(ref, str) and ref.strip():
            return ref
        raise StoreError(
            f"{name} returned {ref!r}, which is not a commit id, so the head of branch "
            f"{self.workspace_input.branch!r} is unknown. Look at the branch, and make the callable return the id of "
            f"the {'published commit' if name == 'publish_workspace' else 'commit that the attempt completes with'}"
        )

    def _attempt_fence(self) -> None:
        with self.phases(Phase.FENCE):
            fresh = _loaded(self.ports.load_current_attempt(self.attempt))
            fence.assert_current_attempt_snapshot(self.attempt, fresh)

    def _clean(self, staged: StagedWorkspace) -> None:
        """Best effort: an error here, even `sys.exit`, goes to the observer and never changes the result."""
        try:
            with self.phases(Phase.CLEAN, what="staging", branch=str(getattr(staged, "branch", ""))):
                self.ports.cleanup_staging(staged)
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001 - the phase's `failed` event carries it; the janitor removes what is left
            return


class _PlaceInQueue:
    """An attempt's place in the queue. It waits for its turn once, and keeps the turn."""

    def __init__(self, enter: Callable[[], Turn]) -> None:
        self._enter = enter
        self._turn: Turn | None = None

    def wait(self) -> Turn:
        if self._turn is None:
            self._turn = self._enter()
        return self._turn


def how_of(plan: Complete | Seal | Publish | Merge) -> How:
    """How an attempt completes that carries out a plan."""
    match plan:
        case Complete(_, None) | Seal(_, _, None):
            return "unchanged"
        case Complete() | Seal():
            return "adopted"
        case Publish(_, abandoned):
            return "replaced" if abandoned else "published"
        case Merge():
            return "merged"
    assert_never(plan)


def _staged(staged: StagedWorkspace) -> StagedWorkspace:
    """Check the return value of a callable, which may be the user's."""
    if isinstance(getattr(staged, "commit", None), str):
        return staged
    fault = f"{staged!r}, which is not a StagedWorkspace"
    if hasattr(staged, "commit"):
        fault = f"a {type(staged).__name__} whose commit is {staged.commit!r}, which is not a commit id"
    raise StoreError(
        f"stage_workspace returned {fault}. Nothing was published. Make it return StagedWorkspace(repository, branch, "
        f"commit) for the staged commit"
    )


def _loaded(fresh: Attempt | None) -> Attempt:
    """As `_staged`."""
    if fresh is not None:
        return fresh
    raise EngineError(
        "load_current_attempt returned None instead of a task object, so the task's owner is unknown. "
        "Nothing was published. Make the callable return the engine's present state of the task"
    )


def _name(plan: Plan | None) -> str:
    return "run" if plan is None else type(plan).__name__.lower()

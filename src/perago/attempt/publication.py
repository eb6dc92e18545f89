"""Moving the target: decide, fence, stage, fence, publish, clean; again from the head if another was faster.

The order is the protocol's: the head is read first, then the engine, then the attempt fence is taken, before staging
and again before publishing. A swap can so never rest on a head that is newer than the fence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, assert_never

from perago.attempt import fence
from perago.attempt.phases import Phases
from perago.errors import EngineError, HeadMovedError, PublishFenceError, StoreError
from perago.ports import (
    AttemptEngine,
    CleanupStaging,
    CompleteNoopWorkspace,
    DownloadWorkspace,
    LoadCurrentAttempt,
    LoadRecord,
    Phase,
    PublishWorkspace,
    ReadHistory,
    StageWorkspace,
    WorkspaceStore,
)
from perago.values.history import Complete, History, Merge, Plan, Publish, Refuse, Seal
from perago.values.json_text import JsonObject
from perago.values.models import Attempt, Changes, StagedWorkspace, TaskExecution, WorkspaceInput
from perago.values.plans import refusal
from perago.values.record import InstanceRecord
from perago.values.spec import WorkspaceSpec

MAX_SWAPS = 64
"""Lost compare-and-swaps after which an attempt gives up. Each loss is another's success, so that this many in a row
mean a branch with far more writers than one target serves; the engine's retry comes later and fares better."""

How = Literal["published", "merged", "replaced", "adopted", "unchanged"]


@dataclass(frozen=True, kw_only=True)
class AttemptPorts:
    """The store and the engine of an attempt, as callables."""

    download_workspace: DownloadWorkspace
    load_current_attempt: LoadCurrentAttempt
    stage_workspace: StageWorkspace
    publish_workspace: PublishWorkspace
    cleanup_staging: CleanupStaging
    complete_noop_workspace: CompleteNoopWorkspace | None = None
    read_history: ReadHistory | None = None
    load_record: LoadRecord | None = None

    @classmethod
    def of(cls, store: WorkspaceStore, engine: AttemptEngine) -> AttemptPorts:
        return cls(
            download_workspace=store.download_workspace,
            load_current_attempt=engine.load_current_attempt,
            stage_workspace=store.stage_workspace,
            publish_workspace=store.publish_workspace,
            cleanup_staging=store.cleanup_staging,
            complete_noop_workspace=store.complete_noop_workspace,
            read_history=store.read_history,
            load_record=engine.load_record,
        )


@dataclass(frozen=True)
class PublicationResult:
    """What the attempt completes with. `result` is another try's; None: the attempt's own."""

    ref: str
    how: How
    result: JsonObject | None = None


@dataclass(frozen=True, kw_only=True)
class PublicationTarget:
    """The branch that one attempt means to move."""

    ports: AttemptPorts
    attempt: Attempt
    workspace_input: WorkspaceInput
    spec: WorkspaceSpec
    applicant: fence.Applicant
    phases: Phases

    def begin(self, execution: TaskExecution, workspace_dir: Path) -> PublicationResult | None:
        """At the start: complete as another try did, adopt what one published, or refuse; None: run the body."""
        if self.ports.read_history is None:
            return None
        return self._until_settled(fence.plan_start, execution, workspace_dir)

    def finish(self, execution: TaskExecution, workspace_dir: Path) -> PublicationResult:
        """After the body: publish `execution.changes`, or complete without if there are none."""
        changed = bool(execution.changes)
        if not changed and self.ports.complete_noop_workspace is None:
            raise PublishFenceError(
                f"the body changed nothing, and no complete_noop_workspace callable was given to say whether branch "
                f"{self.workspace_input.branch!r} still stands at the input; pass the store's complete_noop_workspace"
            )

        def decide(history: History, record: InstanceRecord | None, asking: fence.Applicant) -> Plan:
            return fence.plan_publication(history, record, asking, changed=changed)

        outcome = self._until_settled(decide, execution, workspace_dir)
        assert outcome is not None, "a publication is always decided"
        return outcome

    def _until_settled(
        self,
        decide: Callable[[History, InstanceRecord | None, fence.Applicant], Plan | None],
        execution: TaskExecution,
        workspace_dir: Path,
    ) -> PublicationResult | None:
        for _ in range(MAX_SWAPS):
            try:
                if self.ports.read_history is None:
                    return self._without_plan(execution, workspace_dir)
                plan = self._plan(self.ports.read_history, decide)
                return None if plan is None else self._carry_out(plan, execution, workspace_dir)
            except HeadMovedError:
                continue
        raise HeadMovedError(
            f"branch {self.workspace_input.branch!r} moved {MAX_SWAPS} times while this attempt tried to publish. "
            f"Nothing was published. Run the task again, or let fewer tasks write this branch at once"
        )

    def _plan(
        self,
        read_history: ReadHistory,
        decide: Callable[[History, InstanceRecord | None, fence.Applicant], Plan | None],
    ) -> Plan | None:
        with self.phases(Phase.DECIDE) as span:
            history = read_history(self.workspace_input).on_branch(self.workspace_input.branch)
            record = self.ports.load_record(self.attempt) if self.ports.load_record is not None else None
            plan = decide(history, record, self.applicant)
            span.note(head=history.head, commits=len(history.commits), plan=_name(plan), how=how_of(plan))
            if isinstance(plan, Refuse):
                raise refusal(plan, self.workspace_input.branch, history.base, self.spec)
        return plan

    def _without_plan(self, execution: TaskExecution, workspace_dir: Path) -> PublicationResult:
        """The store decides by itself, without an engine's word on anything."""
        noop = self.ports.complete_noop_workspace
        if not execution.changes and noop is not None:
            self._attempt_fence()
            ref = noop(self.workspace_input, self.spec, execution)
            return PublicationResult(self._commit_id("complete_noop_workspace", ref), "unchanged")
        return PublicationResult(self._write(execution, workspace_dir), "published")

    def _carry_out(self, plan: Plan, execution: TaskExecution, workspace_dir: Path) -> PublicationResult:
        planned = replace(execution, plan=plan, changes=execution.changes or Changes())
        match plan:
            case Complete(ref, None):
                return self._without_plan(replace(planned, plan=Complete(ref)), workspace_dir)
            case Complete(ref, result):
                self._attempt_fence()
                return PublicationResult(ref, "adopted", result)
            case Seal(_, completes, source):
                sealed = plan if source is not None else replace(plan, source=execution.stamp)
                self._write(replace(planned, plan=sealed), workspace_dir)
                if source is None:
                    return PublicationResult(completes, "unchanged")
                return PublicationResult(completes, "adopted", source.result)
            case Publish(_, abandoned):
                return PublicationResult(self._write(planned, workspace_dir), "replaced" if abandoned else "published")
            case Merge():
                return PublicationResult(self._write(planned, workspace_dir), "merged")
            case Refuse():
                raise refusal(plan, self.workspace_input.branch, self.applicant.input_ref, self.spec)
        assert_never(plan)

    def _write(self, execution: TaskExecution, workspace_dir: Path) -> str:
        self._attempt_fence()
        staged: StagedWorkspace | None = None  # known from the moment that staging returned, however its phase ends
        try:
            with self.phases(Phase.STAGE) as span:
                staged = _staged(self.ports.stage_workspace(workspace_dir, self.workspace_input, self.spec, execution))
                span.note(staged=staged.commit)
            self._attempt_fence()
            with self.phases(Phase.PUBLISH) as span:
                ref = self.ports.publish_workspace(staged, self.workspace_input, self.spec, execution)
                ref = self._commit_id("publish_workspace", ref)
                span.note(ref=ref)
                return ref
        finally:
            if staged is not None:
                self._clean(staged)

    def _commit_id(self, name: str, ref: object) -> str:
        """What a callable returned, which may be a user's own."""
        if isinstance(ref, str) and ref.strip():
            return ref
        raise StoreError(
            f"{name} returned {ref!r}, which is no commit id, so that nobody knows where branch "
            f"{self.workspace_input.branch!r} now stands. Look at the branch, and have the callable return the id of "
            f"the {'published commit' if name == 'publish_workspace' else 'commit that the attempt completes with'}"
        )

    def _attempt_fence(self) -> None:
        with self.phases(Phase.FENCE):
            fresh = _loaded(self.ports.load_current_attempt(self.attempt))
            fence.assert_current_attempt_snapshot(self.attempt, fresh)

    def _clean(self, staged: StagedWorkspace) -> None:
        """Best effort: what fails here, `sys.exit` too, is told to the observer, and never changes the result."""
        try:
            with self.phases(Phase.CLEAN, what="staging", branch=staged.branch):
                self.ports.cleanup_staging(staged)
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001 - the phase's `failed` event carries it; the janitor removes what is left
            return


def how_of(plan: Plan | None) -> How | None:
    """What an attempt that carries a plan out comes to; None: the plan does not say."""
    match plan:
        case Complete(_, None) | Seal(_, _, None):
            return "unchanged"
        case Complete() | Seal():
            return "adopted"
        case Publish(_, abandoned):
            return "replaced" if abandoned else "published"
        case Merge():
            return "merged"
        case _:
            return None


def _staged(staged: StagedWorkspace) -> StagedWorkspace:
    """What a callable returned, which may be a user's own, and without types."""
    if isinstance(getattr(staged, "commit", None), str):
        return staged
    raise StoreError(
        f"stage_workspace returned {staged!r}, which is no StagedWorkspace. Nothing was published. Have the callable "
        f"return StagedWorkspace(repository, branch, commit) of what it staged"
    )


def _loaded(fresh: Attempt | None) -> Attempt:
    """As `_staged`."""
    if fresh is not None:
        return fresh
    raise EngineError(
        "load_current_attempt returned None, which is no task object, so that nobody knows whose the task is now. "
        "Nothing was published. Have the callable return the engine's present state of the task"
    )


def _name(plan: Plan | None) -> str:
    return "run" if plan is None else type(plan).__name__.lower()

"""Begins and ends a transactional run: its tasks work on a branch of their own, which is published as a whole.

The end is an attempt like any other, on the branch that the run began at. Its input is the commit A at which the run's
branch was created. Its changes are those that the run has made: the publish fence judges them like those of a body.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from perago.attempt.body import BodyCall
from perago.attempt.context import RunContext
from perago.attempt.fence import Applicant, completed_since
from perago.attempt.join import resolve_join
from perago.attempt.membership import assert_may_publish, is_of_run
from perago.attempt.output import completed, workspace_output
from perago.attempt.parse import WORKSPACE_FIELDS, expect_fields, parse_params, parse_workspace, parse_workspace_input
from perago.attempt.publication import AttemptPorts, Due, PublicationTarget
from perago.attempt.stamp import StampDraft, of_run
from perago.attempt.told import what_changed, what_it_reads
from perago.errors import PublishFenceError, StoreError, TaskInputError, required
from perago.ports import (
    AttemptEngine,
    Phase,
    ReadHistory,
    StageWorkspace,
    TransactionalStore,
    ValidateReads,
    WorkspaceStore,
)
from perago.tasks.declare import TaskDefinition
from perago.values.history import CommitFacts, Conflict, History, Merge
from perago.values.joins import is_join
from perago.values.models import (
    RUN_PREFIX,
    Attempt,
    AttemptIdentity,
    RuntimeTaskResult,
    StagedWorkspace,
    TaskExecution,
    WorkspaceInput,
    run_branch_name,
)
from perago.values.record import InstanceRecord
from perago.values.spec import WorkspaceSpec
from perago.workflows.graph import BEGIN_TASK, END_TASK
from perago.workflows.transaction import Begun, EndParams, Published, PublishedTask, Scope

MAX_NAMED = 50
"""Newest commits of a run that its result names, so that it fits into a stamp."""
_NO_DIRECTORY = Path()
"""An end lays out no files and uploads none."""


def begins_or_ends(task: TaskDefinition) -> bool:
    """Whether an attempt of this task is for `begin_or_end`."""
    return task.name in (BEGIN_TASK, END_TASK)


def begin_or_end(
    task: TaskDefinition,
    input_data: Mapping[str, Any],
    attempt: Attempt,
    context: RunContext,
    *,
    store: WorkspaceStore,
    engine: AttemptEngine,
) -> RuntimeTaskResult:
    """Begin or end a run.

    Raises:
        StoreError: the store has no branches for runs; and all errors of an attempt.
    """
    if not isinstance(store, TransactionalStore):
        raise StoreError(
            f"{type(store).__name__} has no branches for transactional runs. Give it the methods of "
            f"perago.ports.TransactionalStore, or declare the workflow without transactional=True"
        )
    expect_fields(task, input_data, WORKSPACE_FIELDS, only=True)
    if task.name == BEGIN_TASK:
        record = engine.load_record(attempt)
        other = begun_elsewhere(record, AttemptIdentity.of(attempt))
        return other or _Beginning(task, attempt, context, store.read_history, store).begin(input_data, record)
    ports = AttemptPorts.of(store, engine)
    return _RunEnd(task, attempt, context, ports, store).publish(input_data)


# ---------------------------------------------------------------- begin


def begun_elsewhere(record: InstanceRecord, identity: AttemptIdentity) -> RuntimeTaskResult | None:
    """The result of another try that has begun the run since this one was scheduled; None if there is none.

    A rerun of a later task can hand out a failed try of the beginning again; it completes as the successful one did, so
    the run keeps its branch. A rerun of the beginning itself is scheduled after those tries, and begins anew.
    """
    path = record.path_of(identity.workflow_instance_id, identity.reference_task_name or BEGIN_TASK)
    entry = completed_since(record, identity, path)
    return None if entry is None or entry.output is None else completed(entry.output)


@dataclass(frozen=True)
class _Beginning:
    """One attempt to begin a run."""

    task: TaskDefinition
    attempt: Attempt
    context: RunContext
    read_history: ReadHistory
    store: TransactionalStore

    def begin(self, input_data: Mapping[str, Any], record: InstanceRecord) -> RuntimeTaskResult:
        """Create the run's branch at the given commit; without one, at the head of the given branch."""
        identity = AttemptIdentity.of(self.attempt)
        phases = self.context.phases(identity)
        with phases(Phase.PARSE):
            given = self._starting_point(input_data["workspace"])
            assert_may_publish(given.branch, identity.workflow_instance_id, record)  # else the end is refused
        with phases(Phase.STAGE) as span:
            branch = run_branch_name(identity)
            base = self.store.create_run_branch(given.repository, branch, given.ref)
            span.note(branch=branch, ref=base)
        target = given.model_copy(update={"ref": base})
        begun = Begun(target=target.model_dump())
        return completed(workspace_output(target.model_copy(update={"branch": branch}), base, begun.model_dump()))

    def _starting_point(self, raw: object) -> WorkspaceInput:
        """The commit to begin at. Without `ref`, the branch name stands in for it, so that the store takes the head.

        Raises:
            TaskInputError: it is not a valid workspace.
            PublishFenceError: the commit is not on the branch, where it could never be published.
        """
        if isinstance(raw, Mapping) and "ref" not in raw and not is_join(raw):
            return parse_workspace_input(self.task, {"refType": "commit", **raw, "ref": raw.get("branch")})
        given = resolve_join(parse_workspace(self.task, raw), self.read_history)
        self.read_history(given)  # only for its errors
        return given


# ---------------------------------------------------------------- end


@dataclass(frozen=True)
class _RunEnd:
    """One attempt to publish a run."""

    task: TaskDefinition
    attempt: Attempt
    context: RunContext
    ports: AttemptPorts
    store: TransactionalStore

    def publish(self, input_data: Mapping[str, Any]) -> RuntimeTaskResult:
        """Publish the run.

        An earlier try may have published it before somebody moved or deleted the run's branch. Then this one completes
        as that one did: a workflow must not fail once its target shows the run.
        """
        phases = self.context.phases(self.identity)
        with phases(Phase.PARSE):
            workspace_input = parse_workspace_input(self.task, input_data["workspace"])
            parsed, raw_params = parse_params(self.task, input_data)
            params = required(parsed if isinstance(parsed, EndParams) else None, "the end of a run has these params")
        call = BodyCall(
            task=self.task,
            params=params,
            raw_params=raw_params,
            metrics=None,
            context=self.context.of_task(self.task, self.identity),
        )
        draft = StampDraft.begin(self.task, call, self.identity, workspace_input, WorkspaceSpec(), self.context.clock)
        target = self._target(draft, workspace_input, params)
        try:
            with phases(Phase.PARSE) as span:
                run, published = self._run(params, workspace_input)
                span.note(reads=what_it_reads(run, WorkspaceSpec()), target=workspace_input.branch)
        except (PublishFenceError, StoreError):
            before = target.begin(draft.execution(self.attempt, self.context, {}), _NO_DIRECTORY)
            if isinstance(before, Due):
                raise
            return completed(workspace_output(workspace_input, before.ref, before.result or {}))
        with phases(Phase.DIFF) as span:
            changes = self.store.changes_of_run(workspace_input, run.ref)
            span.note(**what_changed(changes))
        result = published.model_dump()
        execution = self._of_run(replace(draft.execution(self.attempt, self.context, result), changes=changes), run)
        target = replace(target, ports=replace(target.ports, stage_workspace=self._staging(run)))
        try:
            outcome = target.finish(execution, _NO_DIRECTORY, written_bytes=0)
        except PublishFenceError as exc:
            raise type(exc)(f"{exc}. The run is kept on branch {run.branch!r}") from exc
        found = result if outcome.result is None else outcome.result
        return completed(workspace_output(workspace_input, outcome.ref, found))

    @property
    def identity(self) -> AttemptIdentity:
        return AttemptIdentity.of(self.attempt)

    def _of_run(self, execution: TaskExecution, run: WorkspaceInput) -> TaskExecution:
        """The execution with the time that the run has taken in its stamp."""
        stamp, began = execution.stamp, run_began(self.ports.load_record(self.attempt), run.branch)
        if began is None or stamp is None:
            return execution
        return replace(execution, stamp=of_run(stamp, began, self.context.clock.now()))

    def _target(self, draft: StampDraft, workspace_input: WorkspaceInput, params: EndParams) -> PublicationTarget:
        """The branch that the run began at. A publication to it is validated with the scopes of the run's tasks."""

        def validate(target: WorkspaceInput, _: WorkspaceSpec, merge: Merge) -> Conflict | None:
            return _conflict(self.ports.validate_reads, target, params.scopes, merge)

        return PublicationTarget(
            ports=replace(self.ports, validate_reads=validate),
            attempt=self.attempt,
            workspace_input=workspace_input,
            spec=WorkspaceSpec(isolation=params.isolation),
            applicant=Applicant(
                identity=self.identity,
                reference_task_name=draft.reference_task_name,
                input_ref=draft.input_ref,
                params_digest=draft.params_digest,
                code_digest=draft.code_digest,
                isolation=params.isolation,
            ),
            phases=self.context.phases(self.identity),
            queue=self.context.queue,
            is_cancelled=self.context.is_cancelled,
            subject="run",
        )

    def _staging(self, run: WorkspaceInput) -> StageWorkspace:
        """Stages the run's commit in place of a directory."""

        def stage(_: Path, target: WorkspaceInput, __: WorkspaceSpec, execution: TaskExecution) -> StagedWorkspace:
            return self.store.stage_run(target, run.ref, execution)

        return stage

    def _run(self, params: EndParams, target: WorkspaceInput) -> tuple[WorkspaceInput, Published]:
        """The commit to publish, and the run's result.

        Raises:
            TaskInputError: it is not on a run's branch, or in another repository than the target.
            PublishFenceError: somebody has moved the branch.
        """
        read_history = self.ports.read_history
        run = resolve_join(parse_workspace(self.task, params.run), read_history)
        if run.repository != target.repository or not run.branch.startswith(RUN_PREFIX):
            raise TaskInputError(
                f"task {self.task.name!r}: the run has left its branch: a task has published to branch {run.branch!r} "
                f"of repository {run.repository!r}. Give each task the workspace of the task before it"
            )
        history = read_history(run.model_copy(update={"ref": target.ref})).on_branch(run.branch)
        return run, published_run(history, run, params.workflow, self._is_of_run)

    def _is_of_run(self, commit: CommitFacts) -> bool:
        """Asks the engine only about commits of other workflow instances."""
        instance = self.identity.workflow_instance_id
        if is_of_run(commit, instance, InstanceRecord(instance)):
            return True
        return is_of_run(commit, instance, self.ports.load_record(self.attempt))


def _conflict(
    validate_reads: ValidateReads, target: WorkspaceInput, scopes: Sequence[Scope], merge: Merge
) -> Conflict | None:
    """What others have changed within the scopes."""
    paths: dict[str, tuple[str, ...]] = {}
    for scope in scopes:
        found = validate_reads(target, scope.as_spec(), merge)
        paths |= {} if found is None else found.paths
    return Conflict(dict(sorted(paths.items()))) if paths else None


def published_run(
    history: History, run: WorkspaceInput, workflow: str, is_of_run: Callable[[CommitFacts], bool]
) -> Published:
    """The result of a run.

    Args:
        history: of its branch, since the commit that it began at.
        is_of_run: whether one of the run's tasks has made a commit.

    Raises:
        PublishFenceError: it has a commit that none of the run's tasks has made, or lacks the commit to publish.
    """
    strange = next((commit for commit in history.commits if not is_of_run(commit)), None)
    if strange is not None:
        raise PublishFenceError(
            f"Not published: branch {run.branch!r} belongs to a run, and {_who(strange)} has committed "
            f"{strange.id[:12]} to it. Nothing is lost; the branch is kept. Commit to the branch that the run began "
            f"at, and run the workflow again"
        )
    ids = [commit.id for commit in history.commits]
    if run.ref not in (*ids, history.base):
        raise PublishFenceError(
            f"Not published: branch {run.branch!r} belongs to a run, and somebody has moved it to {history.head[:12]}, "
            f"which does not have the run's commit {run.ref[:12]}. Nothing is lost: move it back with a reset, and "
            f"retry, or run the workflow again"
        )
    start = ids.index(run.ref) if run.ref in ids else len(ids)
    made = [
        PublishedTask(task=commit.stamp.logical_task[1], ref=commit.id)
        for commit in reversed(history.commits[start:])
        if commit.stamp is not None and not commit.is_seal
    ]
    return Published(workflow=workflow, branch=run.branch, ref=run.ref, commits=len(made), tasks=made[-MAX_NAMED:])


def run_began(record: InstanceRecord, branch: str) -> datetime | None:
    """When the try was scheduled that began the run of a branch; None if the record does not have it."""
    times = (entry.scheduled_time for entry in record.tries if entry.output_branch == branch)
    first = min(times, default=None)
    return None if first is None else datetime.fromtimestamp(first / 1000, UTC)


def _who(commit: CommitFacts) -> str:
    stamp = commit.counting_stamp
    if stamp is not None:
        root, path = stamp.logical_task
        return f"task {path!r} of workflow {root}"
    return commit.author or "somebody"

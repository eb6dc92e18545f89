"""Reports a result so that the engine keeps it, and only for the current execution.

An engine accepts a result from any sender and silently drops a late one (Conductor does). So each report passes the
attempt fence once more, checks whether another try has completed, and is read back. A report that did not stick is
posted again in the same way. Heartbeats must be stopped and joined before.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any

from perago.attempt.fence import (
    Applicant,
    assert_current_attempt_snapshot,
    in_tree,
    is_same_execution,
    may_be_completed_elsewhere,
    plan_completed_elsewhere,
)
from perago.attempt.join import resolve_join
from perago.attempt.output import completed, workspace_output
from perago.attempt.parse import parse_params, parse_workspace
from perago.attempt.phases import Phases
from perago.attempt.stamp import describe_params
from perago.attempt.transaction import begun_elsewhere
from perago.errors import EngineError, StaleAttemptError, TaskNotFoundError
from perago.ports import Engine, LoadRecord, Phase, ReadHistory
from perago.tasks.code import code_digest
from perago.tasks.declare import TaskDefinition
from perago.values.joins import input_refs
from perago.values.models import Attempt, AttemptIdentity, RuntimeTaskResult
from perago.values.record import TryStatus
from perago.values.stamps import json_digest
from perago.workflows.graph import BEGIN_TASK

MAX_REPORTS = 5
"""Maximum posts of a result. A post that does not stick has lost a race in the engine: one in some dozens with a
heartbeat in flight, none in sixty without (measured on Conductor)."""


class Reported(enum.Enum):
    """Outcome of a report."""

    RECORDED = "recorded"
    STALE = "stale"  # not current: nothing was reported now, or the engine dropped it. An earlier post may have arrived


LastLook = Callable[[], RuntimeTaskResult | None]
"""Result of another try of the logical task that has completed, or None; `last_look` makes one."""


def report_attempt(
    engine: Engine,
    attempt: Attempt,
    result: RuntimeTaskResult,
    phases: Phases,
    *,
    last_look: LastLook = lambda: None,
    is_just_seen: bool = False,
) -> Reported:
    """Report a result until the engine shows that it stuck, as long as the execution is current.

    Args:
        last_look: called before each report of a COMPLETED result; a result that it returns is reported instead.
        is_just_seen: the engine has just shown that the execution is current (it handed it out), so that the first
            report skips the fence. It is still read back.

    Raises:
        EngineError: the result did not stick in `MAX_REPORTS` posts, or a call failed. The result of a post whose
            answer was lost may have been taken.
    """
    with phases(Phase.REPORT, status=result.status) as span:
        for posts in range(1, MAX_REPORTS + 1):
            if not (is_just_seen and posts == 1) and not _is_current(engine, attempt):
                span.note(reported=Reported.STALE.value)
                return Reported.STALE
            other = last_look() if result.status == "COMPLETED" else None
            span.note(posts=posts)
            engine.report_result(attempt, other or result)
            now = engine.load_current_attempt(attempt)
            if now.status != TryStatus.IN_PROGRESS:
                reported = Reported.RECORDED if has_taken(now, attempt, result) else Reported.STALE
                span.note(reported=reported.value)
                return reported
        raise EngineError(
            f"{AttemptIdentity.of(attempt).label}: the engine still shows it IN_PROGRESS after {MAX_REPORTS} reports "
            f"of {result.status}. What was published stays, and the next try adopts it"
        )


def last_look(
    task: TaskDefinition,
    input_data: Mapping[str, Any],
    attempt: Attempt,
    *,
    read_history: ReadHistory,
    load_record: LoadRecord,
) -> LastLook:
    """Make the last look of a workspace task's attempt: complete as another try did, not a second time.

    The history is read only if the engine shows another try that has completed, and before the engine is asked again.
    """

    def look() -> RuntimeTaskResult | None:
        identity = AttemptIdentity.of(attempt)
        reference_task_name = identity.reference_task_name or task.name
        before = load_record(attempt)
        path = before.path_of(identity.workflow_instance_id, reference_task_name)
        if not may_be_completed_elsewhere(before, identity.task_id, path):
            return None
        if task.name == BEGIN_TASK:
            return begun_elsewhere(load_record(attempt), identity)
        workspace_input = resolve_join(parse_workspace(task, input_data["workspace"]), read_history)
        asking = Applicant(
            identity=identity,
            reference_task_name=reference_task_name,
            input_ref=workspace_input.ref,
            input_refs=input_refs(input_data),
            params_digest=json_digest(describe_params(parse_params(task, input_data)[0])),
            code_digest=code_digest(task),
        )
        history = read_history(workspace_input).on_branch(workspace_input.branch)
        record = load_record(attempt)
        plan = plan_completed_elsewhere(in_tree(history, record), record, asking.in_tree(record))
        return None if plan is None else completed(workspace_output(workspace_input, plan.ref, plan.result or {}))

    return look


def has_taken(now: Attempt, attempt: Attempt, result: RuntimeTaskResult) -> bool:
    """Whether the engine shows (`now`) that the task ended by this execution's report."""
    # An engine turns a result that is too large into a failure, and an optional task's failure into success.
    is_done = result.status == "COMPLETED"
    made_of_it = TryStatus.FAILED_WITH_TERMINAL_ERROR if is_done else TryStatus.COMPLETED_WITH_ERRORS
    return now.status in (result.status, made_of_it) and is_same_execution(attempt, now)


def _is_current(engine: Engine, attempt: Attempt) -> bool:
    try:
        assert_current_attempt_snapshot(attempt, engine.load_current_attempt(attempt))
    except (StaleAttemptError, TaskNotFoundError):
        return False
    return True

"""Conversion between Conductor's JSON and Perago's values. Pure. A ValueError names an invalid document's field."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from perago.values.joins import input_refs
from perago.values.json_text import MAX_DEPTH, JsonObject, is_too_deep
from perago.values.models import Attempt, EngineTask, RuntimeTaskResult
from perago.values.record import TryRecord, TryStatus
from perago.values.tree import WorkflowInstance
from perago.values.workflow_params import showable_params

Document = Mapping[str, Any]

_BRANCH = "__index"
_SUB_WORKFLOW = "SUB_WORKFLOW"


def attempt_of(task: Document) -> EngineTask:
    """A task from a poll or from `GET /tasks/{id}`.

    Raises:
        ValueError: a field is missing or of the wrong type.
    """
    return EngineTask(
        status=_text(task, "status"),
        workflow_instance_id=_text(task, "workflowInstanceId"),
        task_id=_text(task, "taskId"),
        retry_count=_number(task, "retryCount"),
        reference_task_name=_text(task, "referenceTaskName"),
        task_def_name=_text_or(task, "taskDefName", _text_or(task, "taskType", "")),
        scheduled_time=_number(task, "scheduledTime"),
        poll_count=_number(task, "pollCount"),
        seq=_number(task, "seq"),
        iteration=_number_or(task, "iteration", 0),
        input_data=_given(_object(task, "inputData")),
        response_timeout_seconds=_number_or(task, "responseTimeoutSeconds", 0),
        start_time=_number_or(task, "startTime", 0) or None,
        worker_id=_text_or(task, "workerId", ""),
        retried_task_id=_text_or(task, "retriedTaskId", "") or None,
        correlation_id=_text_or(task, "correlationId", "") or None,
        domain=_text_or(task, "domain", "") or None,
        workflow_type=_text_or(task, "workflowType", "") or None,
        reason_for_incompletion=_text_or(task, "reasonForIncompletion", "") or None,
    )


def polled_attempt_of(task: object) -> EngineTask:
    """A task from a poll.

    Raises:
        ValueError: as `attempt_of`, or its input is missing.
    """
    if not isinstance(task, Mapping):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - an error of the document, not of the caller
    if _text_or(task, "externalInputPayloadStoragePath", "") and not _object(task, "inputData"):
        raise ValueError(
            "its input is larger than the server keeps with a task (3072 KB), and is in external storage; pass the "
            "name of a file in the workspace instead"
        )
    attempt = attempt_of(task)
    if any(map(is_too_deep, attempt.input_data.values())):
        raise ValueError(f"its input is nested more than {MAX_DEPTH} deep; put such data into a file of the workspace")
    return attempt


def refusal(task: object, reason: str) -> dict[str, Any] | None:
    """The update that fails a task for good if it cannot be run; None if its ids are missing."""
    if not isinstance(task, Mapping):
        return None
    ids = {name: task.get(name) for name in ("workflowInstanceId", "taskId")}
    if not all(isinstance(value, str) and value for value in ids.values()):
        return None
    return {**ids, "status": TryStatus.FAILED_WITH_TERMINAL_ERROR.value, "reasonForIncompletion": reason}


def try_of(task: Document) -> TryRecord:
    """A task of a workflow, as a try of its logical task.

    Raises:
        ValueError: a field is missing or of the wrong type.
    """
    status = TryStatus(_text(task, "status"))
    output = _object(task, "outputData") if status is TryStatus.COMPLETED else None
    return TryRecord(
        task_id=_text(task, "taskId"),
        reference_task_name=_text(task, "referenceTaskName"),
        retry_count=_number(task, "retryCount"),
        scheduled_time=_number(task, "scheduledTime"),
        poll_count=_number_or(task, "pollCount", 0),
        status=status,
        input_refs=input_refs(_object(task, "inputData")),
        output=None if output is None or is_too_deep(output) else output,
        ended_time=None if status.is_live else _number_or(task, "endTime", 0) or None,
        retried_task_id=_text_or(task, "retriedTaskId", "") or None,
        sub_workflow=_sub_workflow(task, status),
    )


def _sub_workflow(task: Document, status: TryStatus) -> str | None:
    """The instance of a sub-workflow; "" before it is started or attached. None for other tasks.

    A task that is handed out again shows its former instance until it has another.
    """
    if task.get("taskType") != _SUB_WORKFLOW:
        return None
    return "" if status is TryStatus.SCHEDULED else _text_or(task, "subWorkflowId", "")


def instance_of(workflow: Document) -> WorkflowInstance:
    """A workflow with its tasks, including tasks of Conductor's built-in types.

    Raises:
        ValueError: a field is missing or of the wrong type.
    """
    tasks = workflow.get("tasks")
    if not isinstance(tasks, list):
        raise ValueError("tasks is not a list")  # noqa: TRY004 - an error of the document, not of the caller
    placed = [(_number_or(task, "seq", 0), try_of(task)) for task in tasks if isinstance(task, Mapping)]
    placed.sort(key=lambda each: (each[0], each[1].scheduled_time))  # a rerun gives a task a new time, and no new place
    return WorkflowInstance(
        _text(workflow, "workflowId"),
        tuple(entry for _, entry in placed),
        _text_or(workflow, "parentWorkflowId", "") or None,
        _text_or(workflow, "parentWorkflowTaskId", "") or None,
        showable_params(_object(workflow, "workflowDefinition"), _object(workflow, "input")),
        _text_or(workflow, "workflowName", "") or None,
    )


def task_result(attempt: Attempt, result: RuntimeTaskResult, now: datetime) -> dict[str, Any]:
    """A result in the form that `POST /tasks` takes.

    Args:
        now: the time of its line in the task's log.
    """
    document = _update(attempt, result.status)
    if result.log is not None:
        created = round(now.timestamp() * 1000)
        document["logs"] = [{"log": result.log, "taskId": attempt.task_id, "createdTime": created}]
    if result.output is not None:
        document["outputData"] = result.output
    if result.reason_for_incompletion is not None:
        document["reasonForIncompletion"] = result.reason_for_incompletion
    return document


def heartbeat(attempt: Attempt) -> dict[str, Any]:
    """A heartbeat: extends the lease and changes nothing else."""
    return {**_update(attempt, TryStatus.IN_PROGRESS.value), "extendLease": True}


def give_back(attempt: Attempt) -> dict[str, Any]:
    """Return to the queue at once, without using up a retry: IN_PROGRESS that does not extend the lease."""
    return {**_update(attempt, TryStatus.IN_PROGRESS.value), "callbackAfterSeconds": 0}


def _update(attempt: Attempt, status: str) -> dict[str, Any]:
    document: dict[str, Any] = {
        "workflowInstanceId": attempt.workflow_instance_id,
        "taskId": attempt.task_id,
        "status": status,
    }
    worker_id = getattr(attempt, "worker_id", "")
    if worker_id:
        document["workerId"] = worker_id
    return document


def _text(document: Document, name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} is not a text")
    return value


def _text_or(document: Document, name: str, default: str) -> str:
    value = document.get(name)
    return value if isinstance(value, str) else default


def _number(document: Document, name: str) -> int:
    value = document.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name} is not a whole number")  # noqa: TRY004 - an error of the document, not of the caller
    return value


def _number_or(document: Document, name: str, default: int) -> int:
    value = document.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _object(document: Document, name: str) -> JsonObject:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def _given(inputs: JsonObject) -> JsonObject:
    """Without the number that Conductor gives each branch of a dynamic fork of one task: a workspace task takes nothing
    beside its workspace and its params."""
    return {name: value for name, value in inputs.items() if name != _BRANCH} if _BRANCH in inputs else inputs

"""Conductor's JSON and our values."""

import json
from datetime import UTC, datetime

import pytest

from perago.engines.conductor import mapping
from perago.engines.conductor.api import json_bytes
from perago.values.models import AttemptIdentity, RuntimeTaskResult
from perago.values.record import TryStatus

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TASK = {
    "taskType": "build",
    "status": "IN_PROGRESS",
    "inputData": {"workspace": {"ref": "a" * 40}, "params": {}},
    "referenceTaskName": "build_ref__2",
    "retryCount": 1,
    "seq": 7,
    "pollCount": 3,
    "taskDefName": "build",
    "scheduledTime": 1000,
    "startTime": 1100,
    "endTime": 0,
    "responseTimeoutSeconds": 60,
    "workflowInstanceId": "flow-1",
    "workflowType": "flow",
    "taskId": "task-2",
    "retriedTaskId": "task-1",
    "workerId": "here",
    "domain": "east",
    "correlationId": "order-9",
    "outputData": {},
    "iteration": 2,
    "aFieldOfALaterVersion": {"x": 1},
}


def test_a_task_is_an_attempt_with_its_whole_identity():
    attempt = mapping.attempt_of(TASK)
    assert AttemptIdentity.of(attempt) == AttemptIdentity(
        workflow_instance_id="flow-1",
        task_id="task-2",
        retry_count=1,
        reference_task_name="build_ref__2",
        task_def_name="build",
        scheduled_time=1000,
        poll_count=3,
        seq=7,
        iteration=2,
    )
    assert attempt.input_data == TASK["inputData"]
    assert (attempt.response_timeout_seconds, attempt.worker_id, attempt.domain) == (60, "here", "east")
    assert (attempt.retried_task_id, attempt.correlation_id, attempt.start_time) == ("task-1", "order-9", 1100)


@pytest.mark.parametrize("name", ["status", "workflowInstanceId", "taskId", "referenceTaskName"])
@pytest.mark.parametrize("value", [None, "", 5, []])
def test_a_task_without_an_identity_is_refused_and_the_field_named(name, value):
    with pytest.raises(ValueError, match=name):
        mapping.attempt_of({**TASK, name: value})


@pytest.mark.parametrize("name", ["retryCount", "scheduledTime", "pollCount", "seq"])
@pytest.mark.parametrize("value", [None, "1", True, 1.5])
def test_a_task_without_its_counts_is_refused_and_the_field_named(name, value):
    with pytest.raises(ValueError, match=name):
        mapping.attempt_of({**TASK, name: value})


def test_fields_that_are_not_there_have_defaults():
    few = {name: TASK[name] for name in ("status", "workflowInstanceId", "taskId", "referenceTaskName")}
    few |= {"retryCount": 0, "scheduledTime": 5, "pollCount": 1, "seq": 1}
    attempt = mapping.attempt_of(few)
    assert (attempt.iteration, attempt.input_data, attempt.worker_id, attempt.retried_task_id) == (0, {}, "", None)


def test_the_number_of_a_branch_of_a_dynamic_fork_is_no_input_of_a_task():
    attempt = mapping.attempt_of({**TASK, "inputData": {**TASK["inputData"], "__index": 3, "extra": 1}})
    assert attempt.input_data == {**TASK["inputData"], "extra": 1}


def test_an_attempts_text_does_not_show_its_data():
    assert "secret" not in repr(mapping.attempt_of({**TASK, "inputData": {"params": {"key": "secret"}}}))


def test_a_workflow_is_a_record_in_the_order_of_scheduling():
    done = {
        **TASK,
        "taskId": "task-1",
        "status": "FAILED",
        "seq": 6,
        "scheduledTime": 500,
        "endTime": 900,
        "outputData": {"x": 1},
    }
    done.pop("retriedTaskId")
    record = mapping.instance_of({"workflowId": "flow-1", "tasks": [TASK, done]})
    assert (record.workflow_id, record.parent_id, record.parent_task_id) == ("flow-1", None, None)
    first, second = record.tries
    assert (first.task_id, first.status, first.output, first.ended_time) == ("task-1", TryStatus.FAILED, None, 900)
    assert (second.task_id, second.retried_task_id, second.ended_time) == ("task-2", "task-1", None)
    assert {first.input_refs, second.input_refs} == {("a" * 40,)}


def test_a_try_stays_in_its_place_if_a_rerun_gives_it_a_new_time():
    """As of an older row of a sub-workflow, from whose instance somebody reruns a task: the newer row still counts."""
    older, newer = [{**TASK, "taskId": name, "seq": seq} for name, seq in (("older", 1), ("newer", 2))]
    older["scheduledTime"] = newer["scheduledTime"] + 1000
    record = mapping.instance_of({"workflowId": "flow-1", "tasks": [newer, older]})
    assert [entry.task_id for entry in record.tries] == ["older", "newer"]


def test_the_output_of_a_completed_try_names_its_commit():
    output = {"workspace": {"ref": "b" * 40}, "result": {}}
    done = mapping.try_of({**TASK, "status": "COMPLETED", "endTime": 2000, "outputData": output})
    assert (done.output, done.output_ref, done.ended_time) == (output, "b" * 40, 2000)


def deep(levels):
    return json.loads("[" * levels + "]" * levels)


def test_an_input_that_is_nested_too_deeply_is_refused_in_words():
    taken = {**TASK, "inputData": {"params": {"text": deep(199)}}}
    assert mapping.polled_attempt_of(taken).input_data == taken["inputData"]
    with pytest.raises(ValueError, match="its input is nested more than 200 deep"):
        mapping.polled_attempt_of({**TASK, "inputData": {"params": {"text": deep(900)}}})


def test_an_output_of_another_program_that_is_nested_too_deeply_is_left_out_of_the_record():
    other = {**TASK, "status": "COMPLETED", "outputData": {"response": deep(900)}}
    assert mapping.try_of(other).output is None


@pytest.mark.parametrize("workspace", [None, "text", {"ref": 5}, {}])
def test_an_input_without_a_workspace_has_no_ref(workspace):
    assert mapping.try_of({**TASK, "inputData": {"workspace": workspace}}).input_refs == ()


@pytest.mark.parametrize(
    ("kind", "status", "shown", "expected"),
    [
        ("SIMPLE", "IN_PROGRESS", None, None),
        ("SUB_WORKFLOW", "SCHEDULED", None, ""),
        ("SUB_WORKFLOW", "SCHEDULED", "the one before", ""),
        ("SUB_WORKFLOW", "IN_PROGRESS", "flow-2", "flow-2"),
        ("SUB_WORKFLOW", "CANCELED", "flow-2", "flow-2"),
        ("SUB_WORKFLOW", "FAILED", None, ""),
    ],
)
def test_a_sub_workflow_names_its_instance_once_it_has_one(kind, status, shown, expected):
    found = mapping.try_of({**TASK, "taskType": kind, "status": status, "subWorkflowId": shown})
    assert found.sub_workflow == expected


def test_an_instance_of_a_sub_workflow_names_its_parent():
    document = {"workflowId": "flow-2", "tasks": [], "parentWorkflowId": "flow-1", "parentWorkflowTaskId": "task-7"}
    found = mapping.instance_of(document)
    assert (found.parent_id, found.parent_task_id) == ("flow-1", "task-7")


@pytest.mark.parametrize("workflow", [{}, {"workflowId": "x"}, {"workflowId": "x", "tasks": {}}, {"tasks": []}])
def test_what_is_no_workflow_is_refused(workflow):
    with pytest.raises(ValueError, match=r"tasks|workflowId"):
        mapping.instance_of(workflow)


def test_a_status_that_nobody_knows_is_refused():
    with pytest.raises(ValueError, match="HALF_DONE"):
        mapping.try_of({**TASK, "status": "HALF_DONE"})


def test_a_result_says_whose_it_is():
    sent = mapping.task_result(mapping.attempt_of(TASK), RuntimeTaskResult("COMPLETED", {"result": {"n": 1}}), NOW)
    assert sent == {
        "workflowInstanceId": "flow-1",
        "taskId": "task-2",
        "workerId": "here",
        "status": "COMPLETED",
        "outputData": {"result": {"n": 1}},
    }


def test_the_line_of_a_result_goes_to_the_log_of_its_task():
    failed = RuntimeTaskResult("FAILED", reason_for_incompletion="no luck", log="perago: took 0.002 s")
    sent = mapping.task_result(mapping.attempt_of(TASK), failed, NOW)
    assert sent["logs"] == [{"log": "perago: took 0.002 s", "taskId": "task-2", "createdTime": 1_767_225_600_000}]


def test_a_failure_has_its_reason_and_no_output():
    failed = RuntimeTaskResult("FAILED", reason_for_incompletion="no luck")
    sent = mapping.task_result(mapping.attempt_of(TASK), failed, NOW)
    assert (sent["status"], sent["reasonForIncompletion"], "outputData" in sent) == ("FAILED", "no luck", False)


def test_a_heartbeat_extends_and_a_give_back_does_not():
    attempt = mapping.attempt_of(TASK)
    assert mapping.heartbeat(attempt)["extendLease"] is True
    given_back = mapping.give_back(attempt)
    assert (given_back["status"], given_back["callbackAfterSeconds"]) == ("IN_PROGRESS", 0)
    assert "extendLease" not in given_back


def test_what_is_sent_is_json_as_small_as_it_can_be():
    value = {"text": "\u00e4\u6f22\n", "n": [1, 2.5, None]}
    assert json.loads(json_bytes(value)) == value
    assert json_bytes(value) == '{"text":"\u00e4\u6f22\\n","n":[1,2.5,null]}'.encode()

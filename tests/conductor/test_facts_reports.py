"""How a Conductor server takes results and signs of life: it does not fence. Heartbeats and reports rest on it."""

import pytest

from servers.conductor_api import fresh, simple

LATE = ["COMPLETED", "FAILED", "IN_PROGRESS"]


def told(task):
    return {name: task.get(name) for name in ("status", "outputData", "endTime", "pollCount", "workerId")}


def test_a_result_is_taken_from_whoever_sends_it(conductor, flow):
    task = flow.begin()
    assert conductor.update(task, "COMPLETED", workerId="somebody-else", outputData={"x": 1}).status == 200
    assert conductor.task(task["taskId"])["outputData"] == {"x": 1}


@pytest.mark.parametrize("late", LATE)
def test_a_result_for_a_completed_task_answers_200_and_is_dropped(conductor, flow, late):
    task = flow.begin()
    conductor.update(task, "COMPLETED", outputData={"x": 1})
    before = told(conductor.task(task["taskId"]))
    assert conductor.update(task, late, outputData={"x": 2}).status == 200
    assert told(conductor.task(task["taskId"])) == before


@pytest.mark.parametrize("late", LATE)
def test_a_result_for_a_cancelled_task_answers_200_and_is_dropped(conductor, flow, late):
    task = flow.begin()
    conductor.terminate(flow.started[0])
    assert conductor.update(task, late, outputData={"x": 2}).status == 200
    assert conductor.task(task["taskId"])["status"] == "CANCELED"


@pytest.mark.parametrize("late", LATE)
def test_a_result_for_a_task_that_timed_out_answers_200_and_is_dropped(conductor, make_flow, late):
    flow = make_flow(responseTimeoutSeconds=1)
    task = flow.begin()
    conductor.wait_while_none(lambda: conductor.decide(flow.started[0]) or conductor.poll(flow.task))
    assert conductor.update(task, late, outputData={"x": 2}).status == 200
    assert conductor.task(task["taskId"])["status"] == "TIMED_OUT"


def test_a_result_for_a_task_that_nobody_knows_answers_404(conductor, flow):
    task = flow.begin()
    assert conductor.update({**task, "taskId": "no-such-task"}, "COMPLETED").status == 404


def test_a_heartbeat_moves_the_time_of_the_last_sign_and_nothing_else(conductor, flow):
    task = flow.begin()
    answer = conductor.update(task, "IN_PROGRESS", extendLease=True, outputData={"lost": True})
    assert answer.status == 200
    now = conductor.task(task["taskId"])
    assert now["updateTime"] > task["updateTime"]
    assert told(now) == told(task)
    assert conductor.poll(flow.task) is None


def test_a_heartbeat_never_tells_of_cancellation(conductor, flow):
    task = flow.begin()
    conductor.terminate(flow.started[0])
    assert conductor.update(task, "IN_PROGRESS", extendLease=True).status == 200
    assert conductor.task(task["taskId"])["status"] == "CANCELED"


def test_an_update_without_extending_puts_the_task_back_into_its_queue(conductor, flow):
    task = flow.begin()
    conductor.update(task, "IN_PROGRESS", callbackAfterSeconds=0)
    assert conductor.task(task["taskId"])["status"] == "SCHEDULED"
    assert conductor.wait_for_task(flow.task)["taskId"] == task["taskId"]


@pytest.mark.parametrize(("status", "workflow"), [("FAILED_WITH_TERMINAL_ERROR", "FAILED"), ("COMPLETED", "COMPLETED")])
def test_what_ends_a_task_for_good_ends_the_workflow(conductor, flow, status, workflow):
    conductor.update(flow.begin(), status)
    assert conductor.wait_for_end(flow.started[0])["status"] == workflow
    assert len(conductor.tasks(flow.started[0])) == 1


def test_a_paused_workflow_takes_results_and_hands_out_what_was_scheduled(conductor, flow):
    flow.start()
    conductor.wait_for(flow.started[0], lambda found: bool(found["tasks"]))
    conductor.expect("PUT", f"/workflow/{flow.started[0]}/pause")
    task = conductor.wait_for_task(flow.task)
    conductor.update(task, "COMPLETED")
    assert conductor.task(task["taskId"])["status"] == "COMPLETED"
    conductor.expect("PUT", f"/workflow/{flow.started[0]}/resume")


def test_a_join_may_be_completed_by_hand(conductor):
    """What is left to a person where Conductor was killed as it looked at one: it looks again after an hour."""
    before, after = (conductor.define_task(fresh(name)) for name in ("before", "after"))
    fork = {"name": "fork", "taskReferenceName": "fork", "type": "FORK_JOIN", "forkTasks": [[simple(before, "first")]]}
    join = {"name": "join", "taskReferenceName": "join", "type": "JOIN", "joinOn": ["first"]}
    workflow = conductor.start_workflow(conductor.define_workflow(fresh("flow"), [fork, join, simple(after, "last")]))
    (found,) = conductor.wait_while_none(lambda: conductor.tasks(workflow, "join") or None)
    assert conductor.update(found, "COMPLETED").status == 200
    assert conductor.wait_for_task(after)["referenceTaskName"] == "last"
    assert conductor.tasks(workflow, "join")[0]["status"] == "COMPLETED"
    conductor.terminate(workflow)


def test_the_log_is_kept_as_it_was_sent_also_after_the_end(conductor, flow):
    task = flow.begin()
    conductor.update(task, "COMPLETED")
    text = '{"not": "parsed"} \u6f22'
    headers = {"Content-Type": "application/json"}
    conductor.expect("POST", f"/tasks/{task['taskId']}/log", body=text.encode(), headers=headers)
    assert conductor.expect("GET", f"/tasks/{task['taskId']}/log")[-1]["log"] == text


@pytest.mark.parametrize("path", ["/tasks", "/tasks/update-v2"])
@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "FAILED_WITH_TERMINAL_ERROR"])
def test_a_report_may_bring_lines_of_the_task_s_log(conductor, flow, path, status):
    task = flow.begin()
    ids = {name: task[name] for name in ("workflowInstanceId", "taskId", "workerId")}
    line = {"log": "line \u6f22", "taskId": task["taskId"], "createdTime": 1_767_225_600_000}
    answer = conductor.call("POST", path, data={**ids, "status": status, "logs": [line], "outputData": {"x": 1}})
    assert answer.status in (200, 204)
    told = conductor.wait_while_none(lambda: conductor.expect("GET", f"/tasks/{task['taskId']}/log") or None)
    assert told == [line]
    now = conductor.task(task["taskId"])
    assert (now["status"], now["outputData"]) == (status, {"x": 1})


@pytest.mark.parametrize("path", ["/tasks", "/tasks/update-v2"])
def test_a_field_of_a_report_that_the_server_does_not_know_is_ignored(conductor, flow, path):
    """So a server that knew no lines in a report would take it all the same."""
    task = flow.begin()
    ids = {name: task[name] for name in ("workflowInstanceId", "taskId", "workerId")}
    conductor.call("POST", path, data={**ids, "status": "COMPLETED", "unknown": [{"log": "x"}]})
    assert conductor.task(task["taskId"])["status"] == "COMPLETED"


def test_lines_of_a_report_that_is_dropped_are_dropped(conductor, flow):
    task = flow.begin()
    conductor.update(task, "COMPLETED")
    conductor.update(task, "COMPLETED", logs=[{"log": "late", "taskId": task["taskId"], "createdTime": 1}])
    assert (conductor.expect("GET", f"/tasks/{task['taskId']}/log") or []) == []

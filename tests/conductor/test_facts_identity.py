"""What tells executions apart on a Conductor server. The fences rest on it, and must notice a change."""

import time

from servers.conductor_api import fresh, simple

IDENTITY = ("taskId", "retryCount", "scheduledTime", "pollCount")


def execution(task):
    return {name: task[name] for name in IDENTITY}


def again(conductor, flow):
    """The next execution, where the server has to notice a timeout first."""
    return conductor.wait_while_none(lambda: conductor.decide(flow.started[0]) or conductor.poll(flow.task))


def test_a_polled_task_carries_its_whole_identity(flow):
    task = flow.begin()
    assert {"workflowInstanceId", "referenceTaskName", "taskDefName", "seq", "iteration", *IDENTITY} <= task.keys()
    assert (task["status"], task["retryCount"], task["pollCount"]) == ("IN_PROGRESS", 0, 1)
    assert task["responseTimeoutSeconds"] == 60
    assert "retriedTaskId" not in task


def test_what_was_polled_is_what_is_read_afterwards(conductor, flow):
    task = flow.begin()
    assert execution(conductor.task(task["taskId"])) == execution(task)


def test_a_retry_is_a_new_task_that_names_the_one_before(conductor, flow):
    first = flow.begin()
    conductor.update(first, "FAILED")
    second = conductor.wait_for_task(flow.task)
    assert second["taskId"] != first["taskId"]
    assert (second["retryCount"], second["retriedTaskId"]) == (1, first["taskId"])
    assert second["referenceTaskName"] == first["referenceTaskName"]
    assert [task["taskId"] for task in conductor.tasks(flow.started[0])] == [first["taskId"], second["taskId"]]


def test_a_response_timeout_makes_a_retry(conductor, make_flow):
    flow = make_flow(responseTimeoutSeconds=1)
    first = flow.begin()
    second = again(conductor, flow)
    assert (second["retryCount"], second["retriedTaskId"]) == (1, first["taskId"])
    assert conductor.task(first["taskId"])["status"] == "TIMED_OUT"


def test_a_task_that_is_given_back_comes_again_with_the_next_poll_count(conductor, flow):
    first = flow.begin()
    conductor.update(first, "IN_PROGRESS", callbackAfterSeconds=0)
    second = conductor.wait_for_task(flow.task)
    assert execution(second) == {**execution(first), "pollCount": 2}


def test_a_rerun_keeps_all_but_the_times(conductor, flow):
    first = flow.begin()
    conductor.update(first, "COMPLETED")
    conductor.wait_for_end(flow.started[0])
    conductor.rerun(flow.started[0], first["taskId"])
    second = conductor.wait_for_task(flow.task)
    assert execution(second) == {**execution(first), "scheduledTime": second["scheduledTime"]}
    assert second["scheduledTime"] > first["scheduledTime"]


def rerun_from_the_later_task(conductor, one, two):
    """A workflow whose first task completed at its second try, rerun from its second: the failed try, and that task."""
    workflow = conductor.start_workflow(conductor.define_workflow(fresh("flow"), [simple(one, "a"), simple(two, "b")]))
    failed = conductor.wait_for_task(one)
    conductor.update(failed, "FAILED")
    conductor.update(conductor.wait_for_task(one), "COMPLETED")
    last = conductor.wait_for_task(two)
    conductor.update(last, "COMPLETED")
    conductor.wait_for_end(workflow)
    conductor.rerun(workflow, last["taskId"])
    return failed, last


def test_a_rerun_from_a_later_task_hands_out_the_failed_tries_of_those_before_it(conductor):
    """Each is an execution beside the try that completed; the protocol has them complete as that one did."""
    one, two = conductor.define_task(fresh("one")), conductor.define_task(fresh("two"))
    failed, last = rerun_from_the_later_task(conductor, one, two)
    assert conductor.wait_for_task(two)["taskId"] == last["taskId"]
    assert execution(conductor.wait_for_task(one)) == {**execution(failed), "pollCount": 2}


def test_a_failed_try_that_a_rerun_handed_out_never_times_out(conductor):
    """It has been retried already, so that the server looks at it no more: the workflow stays RUNNING."""
    one, two = conductor.define_task(fresh("one"), responseTimeoutSeconds=2), conductor.define_task(fresh("two"))
    failed, _ = rerun_from_the_later_task(conductor, one, two)
    conductor.update(conductor.wait_for_task(two), "COMPLETED")
    assert conductor.wait_for_task(one)["taskId"] == failed["taskId"]
    time.sleep(4)
    conductor.decide(failed["workflowInstanceId"])
    assert conductor.task(failed["taskId"])["status"] == "IN_PROGRESS"
    assert conductor.workflow(failed["workflowInstanceId"])["status"] == "RUNNING"
    conductor.terminate(failed["workflowInstanceId"])


def test_a_workflow_retry_makes_a_new_task_and_retry_counts_go_on(conductor, make_flow):
    flow = make_flow(retryCount=0)
    first = flow.begin()
    conductor.update(first, "FAILED")
    conductor.wait_for_end(flow.started[0])
    conductor.retry(flow.started[0])
    second = conductor.wait_for_task(flow.task)
    assert second["taskId"] != first["taskId"]
    assert (second["retryCount"], second["retriedTaskId"]) == (1, first["taskId"])


def test_a_restart_makes_new_tasks_and_knows_the_old_ones_no_more(conductor, flow):
    first = flow.begin()
    conductor.update(first, "COMPLETED")
    conductor.wait_for_end(flow.started[0])
    conductor.restart(flow.started[0])
    second = conductor.wait_for_task(flow.task)
    assert (second["retryCount"], second["workflowInstanceId"]) == (0, first["workflowInstanceId"])
    assert conductor.call("GET", f"/tasks/{first['taskId']}").status == 404
    assert [task["taskId"] for task in conductor.tasks(flow.started[0])] == [second["taskId"]]


def test_the_time_of_a_tries_end_is_kept(conductor, flow):
    first = flow.begin()
    assert conductor.task(first["taskId"])["endTime"] == 0
    conductor.update(first, "FAILED")
    second = conductor.wait_for_task(flow.task)
    ended = conductor.task(first["taskId"])["endTime"]
    assert first["scheduledTime"] <= ended <= second["scheduledTime"]

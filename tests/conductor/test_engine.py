"""What a worker does with the engine, on a real server."""

import json
import time

import pytest

from conductor_scene import DONE, taken
from perago.attempt.fence import assert_current_attempt_snapshot
from perago.engines.conductor import ConductorError
from perago.engines.limits import MAX_OUTPUT_BYTES
from perago.errors import EngineError, StaleAttemptError, TaskNotFoundError
from perago.values.models import RuntimeTaskResult
from perago.worker.supervisor.delivery import Delivered, Delivery, ResultSpool
from servers.conductor_api import fresh
from servers.faults import CutBefore, Refuse, Rule, Swallow
from servers.machine import slowness

# ---- polling


def test_a_poll_takes_no_more_than_it_asks_for(conductor, engine, flow):
    for _ in range(5):
        flow.start()
    first = taken(conductor, engine, [flow.task], 3)
    rest = taken(conductor, engine, [flow.task], 8)
    assert (len(first), len(rest)) == (3, 2)
    assert len({attempt.task_id for attempt in first + rest}) == 5
    assert engine.poll([flow.task], 8, "w") == []


def test_a_poll_of_nothing_answers_at_once(proxy, behind_proxy, flow):
    behind_proxy.poll([flow.task], 1, "w")
    began = time.monotonic()
    assert behind_proxy.poll([flow.task], 4, "w") == []
    assert time.monotonic() - began < 5 * slowness()
    assert "timeout=0" in proxy.seen()[-1].target.partition("?")[2].split("&")


def test_the_next_task_comes_along_with_a_report(conductor, engine, flow):
    flow.start()
    flow.start()
    (first,) = taken(conductor, engine, [flow.task])
    conductor.wait_for(flow.started[1], lambda found: bool(found["tasks"]))
    second = engine.report_and_take(first, DONE)
    assert second.workflow_instance_id == flow.started[1]
    assert (second.status, second.worker_id, second.poll_count) == ("IN_PROGRESS", "w", 1)
    assert engine.report_and_take(second, DONE) is None
    for attempt in (first, second):
        assert engine.load_current_attempt(attempt).status == "COMPLETED"


def test_the_next_task_comes_along_with_a_report_that_is_dropped_too(conductor, engine, flow):
    flow.start()
    flow.start()
    (first,) = taken(conductor, engine, [flow.task])
    conductor.wait_for(flow.started[1], lambda found: bool(found["tasks"]))
    conductor.terminate(first.workflow_instance_id)
    assert engine.report_and_take(first, DONE).workflow_instance_id == flow.started[1]
    assert engine.load_current_attempt(first).status == "CANCELED"


def test_a_poll_of_several_types_shares_its_count_among_them(conductor, engine, make_flow):
    one, other = make_flow(), make_flow()
    for _ in range(3):
        one.start()
        other.start()
    attempts = []
    while len(attempts) < 6:
        some = taken(conductor, engine, [one.task, other.task], 2)
        assert len(some) <= 2
        attempts += some
    assert {attempt.task_def_name for attempt in attempts[:4]} == {one.task, other.task}


def test_a_type_without_work_costs_the_others_nothing(conductor, engine, make_flow):
    empty, full = make_flow(), make_flow()
    full.start()
    assert len(taken(conductor, engine, [empty.task, full.task], 1)) == 1


def test_a_domain_has_a_queue_of_its_own(conductor, engine, flow):
    flow.start(taskToDomain={flow.task: "east"})
    conductor.wait_for(flow.started[0], lambda found: bool(found["tasks"]))
    assert engine.poll([flow.task], 1, "w") == []
    assert engine.poll([flow.task], 1, "w", "west") == []
    (attempt,) = taken(conductor, engine, [flow.task], domain="east")
    assert attempt.domain == "east"


def test_the_worker_is_named(conductor, engine, flow):
    flow.start()
    (attempt,) = taken(conductor, engine, [flow.task], worker="the-worker")
    assert attempt.worker_id == "the-worker"
    engine.report_result(attempt, DONE)
    assert conductor.task(attempt.task_id)["workerId"] == "the-worker"


def test_what_was_taken_before_a_type_failed_is_not_lost(conductor, proxy, behind_proxy, make_flow):
    good, bad = make_flow(), make_flow()
    good.start()
    proxy.add(Rule(Refuse(400), path=bad.task, times=None))
    attempts = conductor.wait_while_none(lambda: behind_proxy_poll(behind_proxy, [good.task, bad.task]))
    assert [attempt.task_def_name for attempt in attempts] == [good.task]


def behind_proxy_poll(engine, types):
    try:
        return engine.poll(types, 4, "w") or None
    except ConductorError:
        return None  # the bad one was first in turn


def test_a_poll_whose_answer_is_lost_is_not_made_again(conductor, proxy, behind_proxy, flow):
    flow.start()
    flow.start()
    conductor.wait_for(flow.started[1], lambda found: bool(found["tasks"]))
    proxy.add(Rule(Swallow(), path="poll/batch"))
    with pytest.raises(ConductorError, match="closed before"):
        behind_proxy.poll([flow.task], 1, "w")
    assert len(taken(conductor, behind_proxy, [flow.task], 2)) <= 1


def test_a_poll_that_was_never_sent_is_made_again_by_the_next(conductor, proxy, behind_proxy, flow):
    flow.start()
    proxy.add(Rule(CutBefore(reset=True), path="poll/batch", times=2))
    attempts = conductor.wait_while_none(lambda: behind_proxy_poll(behind_proxy, [flow.task]))
    assert len(attempts) == 1


def test_the_branches_of_a_dynamic_fork_of_one_task_have_the_inputs_that_they_were_given(conductor, engine):
    task = conductor.define_task(fresh("task"))
    inputs = [{"workspace": {}, "params": {"number": number}} for number in (1, 2)]
    fork = {"name": "fork", "taskReferenceName": "fork", "type": "FORK_JOIN_DYNAMIC"}
    fork["inputParameters"] = {"forkTaskName": task, "forkTaskInputs": inputs}
    join = {"name": "join", "taskReferenceName": "join", "type": "JOIN"}
    workflow = conductor.start_workflow(conductor.define_workflow(fresh("flow"), [fork, join]))
    attempts = [*taken(conductor, engine, [task]), *taken(conductor, engine, [task])]
    assert sorted((attempt.input_data for attempt in attempts), key=str) == inputs
    conductor.terminate(workflow)


def test_a_task_that_cannot_be_read_is_failed_and_costs_those_beside_it_nothing(conductor, proxy, behind_proxy, flow):
    """Its JSON is spoiled on the way, as a later server's might be."""
    flow.start()
    flow.start()
    good, bad = (conductor.wait_for_task(flow.task) for _ in range(2))
    answer = json.dumps([{**bad, "scheduledTime": "soon"}, "nonsense", {"taskId": 5}, good]).encode()
    proxy.add(Rule(Refuse(200, {"Content-Type": "application/json"}, answer), path="poll/batch"))
    (attempt,) = behind_proxy.poll([flow.task], 4, "w")
    assert attempt.task_id == good["taskId"]
    refused = conductor.task(bad["taskId"])
    assert refused["status"] == "FAILED_WITH_TERMINAL_ERROR"
    assert "scheduledTime is not a whole number" in refused["reasonForIncompletion"]


def test_an_input_that_the_server_has_moved_elsewhere_fails_plainly(conductor, engine, make_flow):
    flow = make_flow(inputs=["params"])
    flow.start(input_data={"params": {"text": "x" * 3_300_000}})
    conductor.wait_while_none(lambda: engine.poll([flow.task], 1, "w") or flow.ended())
    (task,) = conductor.tasks(flow.started[0])
    assert task["status"] == "FAILED_WITH_TERMINAL_ERROR"
    assert "its input is larger than the server keeps" in task["reasonForIncompletion"]


def test_an_input_that_is_nested_too_deeply_fails_plainly(conductor, engine, make_flow):
    flow = make_flow(inputs=["params"])
    flow.start(input_data={"params": json.loads('{"text": ' + "[" * 900 + "]" * 900 + "}")})
    conductor.wait_while_none(lambda: engine.poll([flow.task], 1, "w") or flow.ended())
    (task,) = conductor.tasks(flow.started[0])
    assert task["status"] == "FAILED_WITH_TERMINAL_ERROR"
    assert "its input is nested more than 200 deep" in task["reasonForIncompletion"]


# ---- giving back


def test_what_is_given_back_is_delivered_again_at_once_and_no_retry_is_spent(conductor, engine, flow):
    flow.start()
    (attempt,) = taken(conductor, engine, [flow.task])
    assert engine.give_back(attempt)
    (again,) = taken(conductor, engine, [flow.task])
    assert (again.task_id, again.retry_count, again.poll_count) == (attempt.task_id, 0, 2)
    with pytest.raises(StaleAttemptError, match="poll_count 1 is now 2"):
        assert_current_attempt_snapshot(attempt, engine.load_current_attempt(attempt))
    engine.report_result(again, DONE)
    conductor.wait_for_end(flow.started[0])
    assert len(conductor.tasks(flow.started[0])) == 1


def test_what_another_worker_has_by_now_is_not_given_back(conductor, engine, flow):
    flow.start()
    (attempt,) = taken(conductor, engine, [flow.task])
    engine.give_back(attempt)
    (again,) = taken(conductor, engine, [flow.task])
    assert not engine.give_back(attempt)
    assert_current_attempt_snapshot(again, engine.load_current_attempt(again))


def test_what_was_ended_or_removed_is_not_given_back(conductor, engine, make_flow):
    ended, removed = make_flow(), make_flow()
    attempts = []
    for flow in (ended, removed):
        flow.start()
        attempts += taken(conductor, engine, [flow.task])
    conductor.terminate(ended.started[0])
    conductor.expect("DELETE", f"/workflow/{removed.started[0]}/remove", query={"archiveWorkflow": False})
    assert [engine.give_back(attempt) for attempt in attempts] == [False, False]
    assert conductor.task(attempts[0].task_id)["status"] == "CANCELED"


def test_the_log_of_a_task_takes_lines_before_and_after_its_end(conductor, engine, flow):
    flow.start()
    (attempt,) = taken(conductor, engine, [flow.task])
    engine.log(attempt, 'half done: "\u6f22" \u00e4')
    engine.report_result(attempt, DONE)
    engine.log(attempt, "after the end")
    engine.log(attempt, "x" * 200_000)
    lines = [entry["log"] for entry in conductor.expect("GET", f"/tasks/{attempt.task_id}/log")]
    assert sorted(lines, key=len)[:2] == ["after the end", 'half done: "\u6f22" \u00e4']
    assert len(max(lines, key=len)) == 64 * 1024


# ---- reports


@pytest.mark.parametrize("fault", [Swallow(), CutBefore(), Refuse(503)], ids=lambda fault: type(fault).__name__)
def test_a_report_that_breaks_off_is_delivered_by_the_next_round(conductor, proxy, behind_proxy, flow, tmp_path, fault):
    flow.start()
    (attempt,) = taken(conductor, behind_proxy, [flow.task])
    delivery = Delivery(behind_proxy, ResultSpool(tmp_path / "reports"))
    proxy.add(Rule(fault, method="POST", path="/api/tasks$"))
    assert delivery.deliver(attempt, DONE) is Delivered.KEPT
    assert [outcome for _, outcome in delivery.deliver_kept()] == [Delivered.RECORDED]
    assert conductor.wait_for_end(flow.started[0])["output"] == DONE.output


def test_a_report_that_the_server_reverted_is_posted_again(conductor, proxy, behind_proxy, engine, flow, tmp_path):
    """A heartbeat of an earlier execution that comes between post and read back, as the server lets it."""
    flow.start()
    (attempt,) = taken(conductor, behind_proxy, [flow.task])
    rule = proxy.add(Rule(Refuse(200, body=b"taken"), method="POST", path="/api/tasks$"))
    delivery = Delivery(behind_proxy, ResultSpool(tmp_path / "reports"))
    assert delivery.deliver(attempt, DONE) is Delivered.RECORDED
    assert rule.fired == 1
    assert conductor.wait_for_end(flow.started[0])["status"] == "COMPLETED"


def test_a_result_that_is_too_large_fails_plainly(conductor, engine, flow):
    flow.start()
    (attempt,) = taken(conductor, engine, [flow.task])
    engine.report_result(attempt, RuntimeTaskResult("COMPLETED", {"result": {"text": "x" * (MAX_OUTPUT_BYTES)}}))
    now = engine.load_current_attempt(attempt)
    assert now.status == "FAILED_WITH_TERMINAL_ERROR"
    assert "too large for the engine" in now.reason_for_incompletion


def test_a_result_just_within_the_limit_is_kept_whole(conductor, engine, flow):
    flow.start()
    (attempt,) = taken(conductor, engine, [flow.task])
    output = {"result": {"text": "\u6f22" * ((MAX_OUTPUT_BYTES - 100) // 3)}}
    engine.report_result(attempt, RuntimeTaskResult("COMPLETED", output))
    assert engine.load_record(attempt).tries[0].output == output


# ---- what is not there


def test_a_task_that_is_not_there_is_an_error_of_its_own(engine):
    with pytest.raises(TaskNotFoundError, match="no-such-task"):
        engine.load_task("no-such-task")
    with pytest.raises(EngineError, match="400"):
        engine.load_task("../metadata/taskdefs")


def test_a_server_that_is_none_is_said(proxy, behind_proxy):
    proxy.add(Rule(Refuse(200, {"Content-Type": "text/html"}, b"<html>welcome</html>"), times=None))
    with pytest.raises(ConductorError, match="not JSON"):
        behind_proxy.get_taskdef("build")


def test_a_server_that_is_busy_for_a_moment_is_asked_again(proxy, behind_proxy):
    rule = proxy.add(Rule(Refuse(503), times=2))
    assert behind_proxy.get_taskdef(fresh("none")) is None
    assert rule.fired == 2

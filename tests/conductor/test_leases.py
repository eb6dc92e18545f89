"""Leases and looks at executions in flight, on a real server."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from conductor_scene import DONE, short_lease, taken
from perago.attempt.fence import assert_current_attempt_snapshot
from perago.errors import EngineError
from servers.faults import Delay, Refuse, Rule
from servers.machine import slowness
from waiting import wait_for

# ---- leases


def test_a_lease_that_is_held_outlives_the_response_timeout(conductor, engine, make_flow):
    seconds = short_lease()
    flow = make_flow(responseTimeoutSeconds=seconds, timeoutPolicy="RETRY")
    flow.start()
    (attempt,) = taken(conductor, engine, [flow.task])
    lease = engine.hold(attempt)
    until = time.monotonic() + 2.5 * seconds
    while time.monotonic() < until:
        conductor.decide(flow.started[0])
        time.sleep(0.1)
    assert not lease.is_late
    lease.stop()
    assert_current_attempt_snapshot(attempt, engine.load_current_attempt(attempt))
    engine.report_result(attempt, DONE)
    assert conductor.wait_for_end(flow.started[0])["status"] == "COMPLETED"
    assert len(conductor.tasks(flow.started[0])) == 1


def test_a_lease_that_is_not_held_is_lost(conductor, engine, make_flow):
    flow = make_flow(responseTimeoutSeconds=1, timeoutPolicy="RETRY")
    flow.start()
    (attempt,) = taken(conductor, engine, [flow.task])
    (again,) = conductor.wait_while_none(
        lambda: conductor.decide(flow.started[0]) or engine.poll([flow.task], 1, "w") or None
    )
    assert (again.retried_task_id, again.retry_count) == (attempt.task_id, 1)
    assert engine.load_current_attempt(attempt).status == "TIMED_OUT"


def test_a_lease_whose_heartbeats_do_not_arrive_says_so_and_recovers(conductor, proxy, behind_proxy, make_flow):
    flow = make_flow(responseTimeoutSeconds=1)
    flow.start()
    (attempt,) = taken(conductor, behind_proxy, [flow.task])
    rule = proxy.add(Rule(Refuse(503), method="POST", path="/api/tasks$", times=None))
    lease = behind_proxy.hold(attempt)
    conductor.wait_while_none(lambda: lease.is_late or None)
    assert rule.fired >= 2
    proxy.clear()
    conductor.wait_while_none(lambda: None if lease.is_late else True)
    lease.stop()


def test_stopping_a_lease_waits_for_the_heartbeat_in_flight(conductor, proxy, behind_proxy, make_flow):
    flow = make_flow(responseTimeoutSeconds=3)
    flow.start()
    (attempt,) = taken(conductor, behind_proxy, [flow.task])
    rule = proxy.add(Rule(Delay(0.5), method="POST", path="/api/tasks$"))
    lease = behind_proxy.hold(attempt)
    conductor.wait_while_none(lambda: rule.fired or None)
    assert not heartbeats(proxy)
    lease.stop()
    assert len(heartbeats(proxy)) == 1
    behind_proxy.report_result(attempt, DONE)
    assert conductor.wait_for_end(flow.started[0])["status"] == "COMPLETED"


def heartbeats(proxy):
    return [seen for seen in proxy.seen() if (seen.method, seen.target, seen.status) == ("POST", "/api/tasks", 200)]


def test_reports_after_heartbeats_that_were_joined_all_stick(conductor, engine, make_flow):
    """Without joining one of 60 reports is reverted, with three heartbeats in flight 64 of 150."""
    flow = make_flow(responseTimeoutSeconds=6)
    for _ in range(30):
        flow.start()
    leases = {}
    while len(leases) < 30:
        leases |= {attempt: engine.hold(attempt) for attempt in engine.poll([flow.task], 30, "w")}

    began = time.monotonic()

    def work(attempt):
        lease = leases[attempt]
        wait_for(lambda: time.monotonic() - began > 2)  # the interval: a heartbeat is in flight, or about to be
        lease.stop()
        engine.report_result(attempt, DONE)
        return engine.load_current_attempt(attempt).status

    with ThreadPoolExecutor(30) as threads:
        assert list(threads.map(work, leases)) == ["COMPLETED"] * 30
    assert [conductor.wait_for_end(workflow)["status"] for workflow in flow.started] == ["COMPLETED"] * 30


# ---- executions in flight


def test_a_task_that_cannot_be_read_hides_none_of_the_others(conductor, proxy, behind_proxy, flow):
    for _ in range(3):
        flow.start()
    attempts = []
    while len(attempts) < 3:
        attempts += behind_proxy.poll([flow.task], 3, "w")
    proxy.add(Rule(Refuse(500), method="GET", path=f"/api/tasks/{attempts[1].task_id}", times=None))
    found = behind_proxy.current_of(attempts)
    assert set(found) == {attempts[0].task_id, attempts[2].task_id}
    proxy.add(Rule(Refuse(500), method="GET", path="/api/tasks/", times=None))
    with pytest.raises(EngineError, match="500"):
        behind_proxy.current_of(attempts)


def test_a_look_at_many_tasks_takes_no_longer_than_one_that_gets_no_answer(
    conductor, proxy, behind_proxy, flow, monkeypatch
):
    monkeypatch.setattr("perago.engines.conductor.client.READS_SECONDS", 1.5)
    monkeypatch.setattr("perago.engines.conductor.client.MAX_READS_AT_ONCE", 1)
    for _ in range(4):
        flow.start()
    attempts = []
    while len(attempts) < 4:
        attempts += behind_proxy.poll([flow.task], 4, "w")
    behind_proxy.current_of(attempts)
    held = proxy.add(Rule(Delay(60.0), method="GET", path=f"/api/tasks/{attempts[1].task_id}", times=None))
    began = time.monotonic()
    assert set(behind_proxy.current_of(attempts)) == {attempts[0].task_id}
    assert time.monotonic() - began < 10 * slowness()
    assert held.fired == 1
    proxy.add(Rule(Delay(60.0), method="GET", path="/api/tasks/", times=None))
    with pytest.raises(EngineError, match=r"no answer within 1\.5 s"):
        behind_proxy.current_of(attempts)
    proxy.clear()


def test_many_tasks_are_looked_at_in_one_call(conductor, engine, flow):
    for _ in range(4):
        flow.start()
    attempts = []
    while len(attempts) < 4:
        attempts += engine.poll([flow.task], 4, "w")
    live, done, cancelled, removed = attempts
    engine.report_result(done, DONE)
    conductor.terminate(cancelled.workflow_instance_id)
    conductor.expect("DELETE", f"/workflow/{removed.workflow_instance_id}/remove", query={"archiveWorkflow": False})
    found = engine.current_of(attempts)
    assert {task_id: task and task.status for task_id, task in found.items()} == {
        live.task_id: "IN_PROGRESS",
        done.task_id: "COMPLETED",
        cancelled.task_id: "CANCELED",
        removed.task_id: None,
    }
    assert engine.current_of([]) == {}

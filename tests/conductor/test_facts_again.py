"""What a server does when a workflow, or a part of it, is to run again. `engines.conductor.again` relies on it."""

from __future__ import annotations

import pytest

from conductor_play import Play


@pytest.fixture
def play(conductor):
    made = Play(conductor)
    yield made
    if made.id and made.status in ("RUNNING", "PAUSED"):
        made.cancel()


# ---------------------------------------------------------------- rerun


def test_a_rerun_from_a_task_that_is_in_no_fork_runs_all_again_that_follows(play):
    play.start(*play.forked()).go().rerun("pre").go()
    assert (play.status, sorted(play.ran)) == ("COMPLETED", ["a1", "a2", "after", "b1", "b2", "pre"])
    play.rerun("after").go()
    assert (play.status, play.ran) == ("COMPLETED", ["after"])


@pytest.mark.parametrize(("start", "ran"), [("a1", ["a1", "a2"]), ("b2", ["b2"])])
def test_a_rerun_from_a_task_in_a_fork_never_comes_to_what_follows_the_fork(play, start, ran):
    play.start(*play.forked()).go().rerun(start)
    assert not {"after", *(["join"] if start == "a1" else [])} & play.steps.keys()
    play.go(only=ran)
    assert (play.status, play.ran) == ("RUNNING", ran)
    play.api.decide(play.id)
    assert "after" not in play.steps
    play.cancel()
    assert play.retry().status == 409  # nothing has failed
    play.rerun(None).go()
    assert play.status == "COMPLETED"


@pytest.mark.parametrize("start", ["fork", "join"])
def test_a_rerun_from_a_fork_or_a_join_does_nothing(play, conductor, start):
    play.start(*play.forked()).go().rerun(start)
    conductor.decide(play.id)
    assert (play.status, play.steps[start]["status"], play.go(only=[]).ran) == ("RUNNING", "SCHEDULED", [])
    assert "after" not in play.steps


def test_a_rerun_from_a_task_in_a_switch_runs_all_again_that_follows(play):
    case = {
        "name": "switch",
        "taskReferenceName": "switch",
        "type": "SWITCH",
        "evaluatorType": "value-param",
        "expression": "case",
        "inputParameters": {"case": "a"},
        "decisionCases": {"a": [play.one("a1"), play.one("a2")]},
        "defaultCase": [],
    }
    play.start(play.one("pre"), case, play.one("after")).go().rerun("a1").go()
    assert (play.status, play.ran) == ("COMPLETED", ["a1", "a2", "after"])


@pytest.mark.parametrize("first", ["a fork", "a sub-workflow", "a task"])
def test_a_rerun_without_a_task_begins_anew(play, first):
    begins = {
        "a fork": lambda: play.fork([play.one("a1")], [play.one("b1")]),
        "a sub-workflow": lambda: [play.sub(play.one("a1"), play.one("b1"))],
        "a task": lambda: [play.one("a1"), play.one("b1")],
    }
    play.start(*begins[first](), play.one("after")).go()
    before = {step["taskId"] for step in play.steps.values() if step["taskType"] == play.task}
    play.rerun(None).go()
    assert (play.status, sorted(play.ran)) == ("COMPLETED", ["a1", "after", "b1"])
    assert before.isdisjoint(step["taskId"] for step in play.steps.values())


def test_a_rerun_from_a_sub_workflow_does_nothing(play):
    play.start(play.one("pre"), play.sub(play.one("x"), play.one("y")), play.one("after")).go()
    assert play.rerun("s").go(only=["s"]).ran == []


def test_a_rerun_in_a_sub_workflow_leaves_what_has_followed_it_alone(play):
    play.start(play.one("pre"), play.sub(play.one("x"), play.one("y")), play.one("after")).go()
    inner = play.steps["s"]["subWorkflowId"]
    first = play.api.tasks(inner)[0]["taskId"]
    play.ran.clear()
    play.api.rerun(play.id, first)
    play.go()
    assert (play.status, play.ran) == ("COMPLETED", ["x", "y"])


def test_a_rerun_in_a_sub_workflow_that_nothing_has_followed_goes_on_behind_it(play):
    play.start(play.one("pre"), play.sub(play.one("x"), play.one("y")), play.one("after")).go(fails=["y"])
    inner = play.steps["s"]["subWorkflowId"]
    play.ran.clear()
    play.api.rerun(play.id, play.api.tasks(inner)[0]["taskId"])
    play.go()
    assert (play.status, play.ran) == ("COMPLETED", ["x", "y", "after"])


def test_a_rerun_never_hands_out_a_task_with_a_limit_unless_it_begins_anew(conductor):
    limited = Play(conductor, concurrentExecLimit=4)
    limited.start(limited.one("a")).go().rerun("a")
    conductor.decide(limited.id)
    assert (limited.status, limited.statuses, conductor.poll_many(limited.task, 5)) == (
        "RUNNING",
        {"a": "SCHEDULED"},
        [],
    )
    limited.cancel().rerun(None).go()
    assert (limited.status, limited.ran) == ("COMPLETED", ["a"])


def test_an_instance_keeps_the_definition_that_it_began_with(play, conductor):
    play.start(play.one("a"), play.one("b")).go()
    name = conductor.workflow(play.id)["workflowName"]
    conductor.define_workflow(name, [play.one("b"), play.one("c")])
    play.rerun("a").go()
    assert (play.status, play.ran) == ("COMPLETED", ["a", "b"])
    play.rerun(None).go()
    assert play.ran == ["a", "b"]


# ---------------------------------------------------------------- retry


def test_a_retry_tries_again_what_has_failed_or_was_cancelled(play):
    play.start(*play.forked()).go(fails=["b1"], keeps=["a1"])
    assert (play.statuses["a1"], play.statuses["b1"]) == ("CANCELED", "FAILED")
    assert play.retry().status == 204
    play.go()
    assert (play.status, sorted(play.ran)) == ("COMPLETED", ["a1", "a2", "after", "b1", "b2"])


def test_a_retry_fails_where_a_join_has_failed_before_all_branches_had_come_to_their_last_task(play):
    play.join_too_early(keeps=["a1", "b2"])
    assert play.statuses["join"] == "FAILED"
    answer = play.retry()
    assert (answer.status, b'"t\\" is null' in answer.body, play.status) == (500, True, "FAILED")
    play.rerun("pre").go()
    assert (play.status, sorted(play.ran)) == ("COMPLETED", ["a1", "a2", "after", "b1", "b2", "pre"])


def test_a_retry_works_where_a_join_has_failed_after_that(play):
    play.join_too_early(keeps=["a2", "b2"])
    assert play.retry().status == 204
    play.go()
    assert (play.status, sorted(play.ran)) == ("COMPLETED", ["a2", "after", "b2"])


def test_a_join_that_was_retried_is_not_scheduled_again_by_a_rerun(play):
    play.join_too_early(keeps=["a2", "b2"])
    play.retry()
    play.go()
    assert (play.status, play.steps["join"]["retryCount"]) == ("COMPLETED", 1)
    assert [step["taskType"] for step in play.api.tasks(play.id)].count("JOIN") == 1
    play.rerun("pre").go(only=["pre", "a2", "b2"])
    play.api.decide(play.id)
    assert (play.status, {"join", "after"} & play.steps.keys()) == ("RUNNING", set())


def test_a_retry_of_what_has_not_failed_is_refused(play):
    end = {
        "name": "end",
        "taskReferenceName": "end",
        "type": "TERMINATE",
        "inputParameters": {"terminationStatus": "FAILED"},
    }
    play.start(play.one("a"), end).go()
    assert (play.status, play.retry().status) == ("FAILED", 409)
    play.rerun("a").go()
    assert (play.status, play.ran) == ("FAILED", ["a"])


def test_a_retry_or_rerun_of_what_runs_is_refused(play, conductor):
    play.start(play.one("a"))
    assert play.retry().status == 404
    assert conductor.call("POST", f"/workflow/{play.id}/rerun", data={}).status == 409
    play.go()
    assert conductor.call("DELETE", f"/workflow/{play.id}").status == 409

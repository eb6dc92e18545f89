"""`perago watch`, `retry`, `rerun` and `cancel` in every state of a workflow: each does what fits, or refuses and says
what does. Nothing moves at a refusal, and every command that a message recommends works.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

import pytest

from cli_project import recommended
from conductor_play import LIVE, Play

COMMANDS = ("watch", "retry", "rerun", "cancel")
MAIN = {"repository": "data.git", "branch": "main", "refType": "commit"}


def running(play):
    return play.start(*play.forked()).go(keeps=["a1", "b1"])


def paused(play):
    running(play).api.expect("PUT", f"/workflow/{play.id}/pause")
    return play


def completed(play):
    return play.start(*play.forked()).go()


def failed(play):
    return play.start(*play.forked()).go(fails=["b1"], keeps=["a1"])


def failed_behind(play):
    return play.start(*play.forked()).go(fails=["after"])


def failed_by_itself(play):
    inputs = {"terminationStatus": "FAILED"}
    end = {"name": "end", "taskReferenceName": "end", "type": "TERMINATE", "inputParameters": inputs}
    return play.start(play.one("a"), end).go()


def joined_too_early(play):
    return play.join_too_early(keeps=["a1", "b2"])


def joined_too_early_at_the_beginning(play):
    play.start(*play.forked()[1:]).go(keeps=["a1", "b1"])
    return play.fail_join() or joined_too_early_at_the_beginning(play)


def cancelled(play):
    return running(play).cancel()


def cancelled_at_its_join(play):
    """Nothing but the join is cancelled, which a retry does not count."""
    play.start(*play.forked()).go(keeps=["a2", "b2"])
    play.api.expect("PUT", f"/workflow/{play.id}/pause")  # or the join would end at once
    for name in ("a2", "b2"):
        play.api.update(play.steps[name], "COMPLETED")
    return play.cancel()


def left_hanging(play):
    """A rerun from within a fork, by the server's own UI."""
    return completed(play).rerun("a1").go(only=["a1", "a2"]).cancel()


def joined_again(play):
    """Its JOIN was retried. A rerun from before it would never end."""
    play.join_too_early(keeps=["a2", "b2"]).retry()
    return play.go()


def joined_again_and_failed(play):
    play.join_too_early(keeps=["a2", "b2"]).retry()
    return play.go(fails=["after"])


def failed_within(play):
    return play.start(play.one("pre"), play.sub(play.one("x"), play.one("y")), play.one("after")).go(fails=["y"])


STATES: dict[Callable[[Play], Play], tuple[int | None, int, int, int]] = {
    # the exit codes of watch, retry, rerun, cancel; None where a command would go on
    running: (None, 2, 2, 0),
    paused: (None, 2, 2, 0),
    completed: (0, 2, 0, 2),
    failed: (1, 0, 0, 2),
    failed_behind: (1, 0, 0, 2),
    failed_by_itself: (1, 2, 0, 2),
    joined_too_early: (1, 2, 0, 2),
    joined_too_early_at_the_beginning: (1, 2, 0, 2),
    cancelled: (1, 0, 0, 2),
    cancelled_at_its_join: (1, 2, 0, 2),
    left_hanging: (1, 2, 0, 2),
    joined_again: (0, 2, 2, 2),
    joined_again_and_failed: (1, 0, 2, 2),
    failed_within: (1, 0, 0, 2),
}


@pytest.fixture
def play(conductor):
    made = Play(conductor)
    yield made
    if made.id and made.status in LIVE:
        made.cancel()


@pytest.fixture(autouse=True)
def server(conductor, perago, monkeypatch):
    monkeypatch.setenv("CONDUCTOR_SERVER_URL", conductor.url)


def facts(play):
    """What a command could move. The server still looks at a join for a while after the end."""
    found = play.api.workflow(play.id)
    steps = [step for step in found["tasks"] if step["taskType"] != "JOIN"]
    return found["status"], [(step["taskId"], step["status"], step["scheduledTime"]) for step in steps]


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_each_command_fits_or_says_what_does(perago, play, state):
    codes = dict(zip(COMMANDS, STATES[state], strict=True))
    advice: set[tuple[str, ...]] = set()
    state(play)
    for command in (name for name, code in codes.items() if code in (1, 2)):
        before = facts(play)
        said = perago(command, play.id)
        assert (said.code, facts(play)) == (codes[command], before), said.err
        found = recommended(said.err)
        assert found, f"{command} says nothing to do: {said.err}"
        advice |= {(name, *("ID" if one == play.id else one for one in rest)) for name, *rest in found}
    fitting = {(name, "ID") for name, code in codes.items() if code == 0}
    for name, *rest in sorted(advice | fitting):
        if name not in ("retry", "rerun", "cancel"):
            continue  # `watch` would follow the workflow; `submit` and `start` need a module
        state(play)
        said = perago(name, *(play.id if one == "ID" else one for one in rest))
        assert said.code == 0, f"{name} {rest}: {said.err}"
        if name in ("retry", "rerun"):
            assert play.status == "RUNNING"
            play.go()
        assert play.status in ("COMPLETED", "FAILED" if state is failed_by_itself else "TERMINATED"), (name, rest)


# ---------------------------------------------------------------- rerun


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ("a2", "--from pre` runs it again from there"),
        ("b1", "--from pre` runs it again from there"),
        ("nothing", "has no task 'nothing'. It has pre, a1, b1, a2, b2, after"),
    ],
)
def test_a_rerun_that_would_lose_what_runs_beside_it_is_refused(perago, play, start, said):
    completed(play)
    before = facts(play)
    refused = perago("rerun", play.id, "--from", start)
    assert (refused.code, facts(play)) == (2, before), refused.err
    assert said in " ".join(refused.err.split())


def test_a_rerun_of_a_sub_workflow_that_others_have_followed_is_refused(perago, play):
    play.start(play.one("pre"), play.sub(play.one("x"), play.one("y")), play.one("after")).go()
    before = facts(play)
    for start in ("s", "s/x"):
        refused = perago("rerun", play.id, "--from", start)
        assert (refused.code, facts(play)) == (2, before), refused.err
        assert f"perago rerun {play.id} --from pre" in " ".join(refused.err.split())


@pytest.mark.parametrize("fails", [False, True], ids=["itself", "a failed try before it"])
def test_a_rerun_that_would_have_a_task_with_a_limit_handed_out_again_is_refused(perago, conductor, play, fails):
    limited = Play(conductor, concurrentExecLimit=1, retryCount=1)
    limited.start(limited.one("a"), play.one("b"))
    play.id = limited.id
    if fails:
        conductor.update(conductor.wait_for_task(limited.task), "FAILED")
    conductor.update(conductor.wait_for_task(limited.task), "COMPLETED")
    play.go()
    for start, fits in (("a", False), ("b", not fails)):
        said = perago("rerun", play.id, "--from", start)
        assert said.code == (0 if fits else 2), said.err
        assert fits or recommended(said.err) == [("rerun", play.id)]
    if not fails:
        play.go()
    assert perago("rerun", play.id).code == 0
    conductor.update(conductor.wait_for_task(limited.task), "COMPLETED")
    assert play.go().status == "COMPLETED"


def test_a_rerun_in_a_sub_workflow_that_nothing_has_followed_runs_the_rest(perago, play):
    failed_within(play).ran.clear()
    assert perago("rerun", play.id, "--from", "s/x").code == 0
    assert (play.go().status, play.ran) == ("COMPLETED", ["x", "y", "after"])


def test_a_rerun_begins_at_the_first_try_of_its_task(perago, conductor, play):
    retried = Play(conductor, retryCount=1)
    retried.start(retried.one("a"), retried.one("b"))
    conductor.update(conductor.wait_for_task(retried.task), "FAILED")
    retried.go()
    assert perago("rerun", retried.id, "--from", "a").code == 0
    assert [step["retryCount"] for step in conductor.tasks(retried.id)] == [0]
    assert (retried.go().status, retried.ran[-2:]) == ("COMPLETED", ["a", "b"])


@pytest.mark.parametrize("command", ["retry", "rerun", "cancel"])
def test_a_sub_workflow_is_not_taken_for_a_workflow(perago, play, command):
    failed_within(play)
    refused = perago(command, play.steps["s"]["subWorkflowId"])
    assert (refused.code, f"is a sub-workflow of workflow {play.id}" in " ".join(refused.err.split())) == (2, True)


@pytest.mark.parametrize("command", ["watch", "retry", "rerun", "cancel"])
def test_an_unknown_id_is_refused(perago, command):
    refused = perago(command, "no-such-workflow")
    assert (refused.code, "Check the id" in refused.err) == (2, True), refused.err


@pytest.fixture
def published(play):
    """A workflow of two tasks that have published, and one between them that has not."""

    def writes(name, ref, made):
        return {**play.one(name), "inputParameters": {"workspace": {**MAIN, "ref": ref}, "made": made}}

    play.start(writes("a", "0" * 40, "a" * 40), writes("b", "a" * 40, "a" * 40), writes("c", "a" * 40, "c" * 40))
    for _ in range(3):
        task = play.api.wait_for_task(play.task)
        workspace = {**MAIN, "ref": task["inputData"]["made"]}
        play.api.update(task, "COMPLETED", outputData={"workspace": workspace, "result": {}})
    play.api.wait_for_end(play.id)
    return play


def test_what_a_rerun_replaces_is_listed_and_needs_consent(perago, published):
    before = facts(published)
    refused = perago("rerun", published.id)
    assert (refused.code, facts(published)) == (2, before)
    assert "a: commit aaaaaaaaaaaa on branch main\n  c: commit cccccccccccc on branch main\n" in refused.err
    assert "b: commit" not in refused.err
    assert "--yes" in refused.err
    said = perago("rerun", published.id, "--from", "b", "--yes", "--json")
    assert said.json == {
        "workflow_id": published.id,
        "from": "b",
        "replaced": [{"reference_name": "c", "branch": "main", "ref": "c" * 40}],
    }
    assert published.status == "RUNNING"


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 130)])
def test_on_a_terminal_a_rerun_asks(perago, published, monkeypatch, answer, code):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(answer + "\n"))
    said = perago("rerun", published.id)
    assert (said.code, published.status) == (code, "RUNNING" if code == 0 else "COMPLETED"), said.err
    assert "Run them again?" in said.err

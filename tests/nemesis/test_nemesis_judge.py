"""The judge of the nemesis finds each kind of fault when it is planted, and none where there is none."""

from __future__ import annotations

import pytest

from nemesis.judge import Branch, journal_faults

REFUSED = (
    "PublishFenceError: Not published: branch 'b' has commits that this attempt has not seen: {named} by perago (by "
    "hand) (input {base}, head {head}). Nothing is lost."
)


def commit_id(name):
    return (name * 64)[:64]


def commit(name, workflow=None, task=None, base=None, **more):
    metadata = {
        "perago.task": f"pipe.{task}",
        "perago.workflow-instance-id": workflow,
        "perago.reference-task-name": task,
        "perago.input-ref": commit_id(base or ""),
    }
    return {"id": commit_id(name), "metadata": {**metadata, **more} if workflow else {}}


def task(name, status, base, output=None, reason=None):
    return {
        "referenceTaskName": name,
        "status": status,
        "inputData": {"workspace": {"ref": commit_id(base)}},
        "outputData": {"workspace": {"ref": commit_id(output)}} if output else {},
        "reasonForIncompletion": reason,
    }


DONE = {"prepared.txt": b"w1\n", "finished.txt": b"w1\n"}


@pytest.fixture
def branch():
    """One workflow that completed, then a person's commit, and a workflow that was refused for it in its last task."""
    completed = [task("prepare", "COMPLETED", "0", "1"), task("count", "COMPLETED", "1", "1")]
    completed += [task("finish", "FAILED", "1", reason="killed"), task("finish", "COMPLETED", "1", "2")]
    refused = REFUSED.format(base=commit_id("3")[:12], head=commit_id("a")[:12], named=commit_id("a")[:12])
    return Branch(
        "b",
        log=[
            commit("a"),
            commit("3", "w2", "prepare", "2"),
            commit("4", "w1", "finish", "1", **{"perago.completes": commit_id("2")}),
            commit("2", "w1", "finish", "1"),
            commit("1", "w1", "prepare", "0"),
            commit("0"),
        ],
        contents={
            commit_id("0"): {},
            commit_id("1"): {"prepared.txt": b"w1\n"},
            commit_id("2"): DONE,
            commit_id("4"): DONE,
            commit_id("3"): {**DONE, "prepared.txt": b"w1\nw2\n"},
            commit_id("a"): {**DONE, "prepared.txt": b"w1\nw2\n", "by-hand.txt": b"by hand 1\n"},
        },
        seen={commit_id(name) for name in "0123a"},
        by_hand={commit_id("a"): "by-hand.txt"},
        workflows=[
            {"workflowId": "w1", "status": "COMPLETED", "tasks": completed},
            {
                "workflowId": "w2",
                "status": "FAILED",
                "tasks": [task("prepare", "COMPLETED", "2", "3"), task("finish", "FAILED", "3", reason=refused)],
            },
        ],
    )


def test_a_history_as_it_should_be_has_no_faults(branch):
    assert branch.faults() == []


def test_a_try_that_was_handed_out_without_a_workspace_may_fail(branch):
    """Conductor makes an input anew for each try, of the newest try of the task before, which may be under way."""
    malformed = {**task("count", "FAILED", "1"), "inputData": {"workspace": None}}
    branch.workflows[0]["tasks"].insert(1, malformed)
    assert branch.faults() == []


def test_a_refusal_for_a_commit_that_is_not_on_the_branch_is_found(branch):
    branch.workflows[1]["tasks"][1]["inputData"]["workspace"]["ref"] = commit_id("f")
    assert any("finish of w2 ended FAILED" in fault for fault in branch.faults())


SEEN = (
    "PublishFenceError: Not published: on branch 'b' others have changed what this task could see, 'by-hand.txt': "
    "{named} by perago (by hand) (input {base}, head {head}). Nothing is lost."
)


def refused_for(branch, path):
    """The refused workflow's last task was refused for what the person did to a path."""
    named = commit_id("a")[:12]
    branch.workflows[1]["tasks"][-1]["reasonForIncompletion"] = SEEN.format(
        base=commit_id("3")[:12], head=named, named=named
    )
    branch.contents[commit_id("a")] = {**DONE, "prepared.txt": b"w1\nw2\n", path: b"by hand 1\n"}
    branch.by_hand = {commit_id("a"): path}


def test_a_refusal_for_what_the_task_could_see_is_due(branch):
    refused_for(branch, "by-hand.txt")
    assert branch.faults() == []


def test_a_refusal_for_what_the_task_could_not_see_is_found(branch):
    refused_for(branch, "by-hand-1.txt")
    assert any("finish of w2 ended FAILED" in fault for fault in branch.faults())


def test_a_publication_over_what_the_task_could_not_see_is_one_of_merged_content(branch):
    refused_for(branch, "by-hand-1.txt")
    tree = {**branch.contents[commit_id("a")], "finished.txt": b"w1\nw2\n"}
    branch.log.insert(0, commit("9", "w2", "finish", "3"))
    branch.contents[commit_id("9")] = tree
    branch.workflows[1].update(status="COMPLETED")
    branch.workflows[1]["tasks"][-1] = task("finish", "COMPLETED", "3", "9")
    assert branch.faults() == []
    del tree["by-hand-1.txt"]
    assert branch.faults() != []


def lose_a_head(branch):
    branch.seen.add(commit_id("9"))


def lose_a_commit_by_hand(branch):
    branch.by_hand[commit_id("9")] = "by-hand.txt"


def lose_a_file_by_hand(branch):
    del branch.contents[commit_id("a")]["by-hand.txt"]


def publish_twice(branch):
    branch.log.insert(0, commit("9", "w1", "finish", "a"))


def complete_twice(branch):
    branch.workflows[0]["tasks"].append(task("finish", "COMPLETED", "1", "4"))


def complete_with_what_is_not_there(branch):
    branch.workflows[0]["tasks"][-1]["outputData"]["workspace"]["ref"] = commit_id("9")


def complete_with_anothers_commit(branch):
    branch.workflows[0]["tasks"][-1]["outputData"]["workspace"]["ref"] = commit_id("1")


def read_something_else(branch):
    branch.workflows[0]["tasks"][1]["outputData"]["workspace"]["ref"] = commit_id("2")


def publish_over_a_person(branch):
    branch.log[0], branch.log[1] = branch.log[1], branch.log[0]


def publish_of_a_strangers_workflow(branch):
    branch.log.insert(0, commit("9", "w9", "prepare", "a"))


def append_twice(branch):
    branch.contents[commit_id("3")]["prepared.txt"] += b"w2\n"


def lose_a_line(branch):
    branch.contents[commit_id("a")]["prepared.txt"] = b"w2\n"


def replace_what_is_effective(branch):
    branch.meddled.add("w1")
    branch.log[3], branch.log[4] = branch.log[4], branch.log[3]
    branch.log[4]["metadata"]["perago.input-ref"] = commit_id("0")
    branch.log[3]["metadata"]["perago.input-ref"] = commit_id("0")


def fail_when_all_is_calm(branch):
    branch.calm.add("w2")


def fail_for_something_else(branch):
    branch.workflows[1]["tasks"][-1]["reasonForIncompletion"] = "StoreError: the server does not answer"


def time_out(branch):
    branch.workflows[1]["status"] = "TIMED_OUT"
    branch.workflows[1]["tasks"][-1].update(status="TIMED_OUT", reasonForIncompletion="responseTimeout: 6 exceeded")


def hang_until_somebody_else_ends_it(branch):
    branch.meddled.add("w2")
    branch.workflows[1]["status"] = "TERMINATED"


def be_refused_for_no_person(branch):
    branch.by_hand.clear()


@pytest.mark.parametrize(
    ("plant", "told"),
    [
        (lose_a_head, "lost: "),
        (lose_a_commit_by_hand, "lost: "),
        (lose_a_file_by_hand, "the person's by-hand.txt is gone"),
        (publish_twice, "has 2 publications"),
        (complete_twice, "has 1 publications, and completed with ["),
        (complete_with_what_is_not_there, "with which finish of w1 completed"),
        (complete_with_anothers_commit, "which is another's"),
        (read_something_else, "which is not its input"),
        (publish_over_a_person, "and published over"),
        (publish_of_a_strangers_workflow, "which is no task of this branch"),
        (append_twice, "; due is "),
        (lose_a_line, "prepared.txt has 0 lines of w1"),
        (replace_what_is_effective, "and published over"),
        (fail_when_all_is_calm, "ended FAILED"),
        (fail_for_something_else, "ended FAILED"),
        (time_out, "ended TIMED_OUT"),
        (hang_until_somebody_else_ends_it, "ended TERMINATED"),
        (be_refused_for_no_person, "ended FAILED"),
    ],
)
def test_a_fault_is_found(branch, plant, told):
    plant(branch)
    assert any(told in fault and fault.startswith("b: ") for fault in branch.faults()), branch.faults()


def test_a_workflow_begun_anew_may_replace_its_own_publication(branch):
    """A restart: `finish` of w1 is published again from its input, over the seal and the one that counts no more."""
    branch.meddled.add("w1")
    again = commit("5", "w1", "finish", "1")
    branch.log.insert(2, again)
    branch.contents[commit_id("5")] = DONE
    branch.log[1]["metadata"]["perago.input-ref"] = commit_id("5")
    branch.workflows[0]["tasks"][-1]["outputData"]["workspace"]["ref"] = commit_id("5")
    assert branch.faults() == []
    branch.meddled.clear()
    assert any("has 2 publications" in fault for fault in branch.faults())


def test_a_workflow_that_the_person_terminated_may_end_so(branch):
    hang_until_somebody_else_ends_it(branch)
    branch.terminated.add("w2")
    assert branch.faults() == []


def test_a_workflow_whose_last_try_was_refused_may_be_called_timed_out(branch):
    branch.workflows[1]["status"] = "TIMED_OUT"
    assert branch.faults() == []


@pytest.mark.parametrize(
    ("event", "is_wrong"), [("publish.started", True), ("stage.started", True), ("clean.started", False)]
)
def test_what_goes_on_after_its_fence_had_failed_is_found(event, is_wrong):
    stale = {"event": "fence.failed", "error": "StaleAttemptError", "execution": "e1"}
    later = {"event": event, "execution": "e1", "task": "t1"}
    another = {"event": "publish.started", "execution": "e2", "task": "t2"}
    assert len(list(journal_faults([another, stale, another, later]))) == is_wrong

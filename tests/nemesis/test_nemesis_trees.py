"""The judge of the nemesis on workflows with sub-workflows: each is one workflow, and is held to the same."""

from __future__ import annotations

import pytest

from nemesis.judge import Branch
from nemesis.trees import has_only_completed, parts, whole
from servers.json_api import Answer, ApiError
from tests.nemesis.test_nemesis_judge import REFUSED, commit, commit_id, task

BEFORE = {"readme.txt": b"data"}
LINE = b"root\n"


def within(name, instance, status="COMPLETED", task_id="s"):
    found = task(name, status, "1", "4")
    return {**found, "taskType": "SUB_WORKFLOW", "subWorkflowId": instance, "taskId": task_id}


def step(name, *arguments, task_id="t", **more):
    return {**task(name, *arguments, **more), "taskType": "SIMPLE", "taskId": task_id}


def leaf(name, workflow, path, base):
    """A commit of a task in a sub-workflow."""
    stamp = {"perago.root-workflow-id": "root", "perago.path": path}
    return commit(name, workflow, path.split("/")[-1], base, **stamp)


INSTANCES = {
    "root": {
        "workflowId": "root",
        "status": "COMPLETED",
        "tasks": [
            step("prepare", "COMPLETED", "0", "1", task_id="a"),
            within("train", "given-up", "CANCELED", "b"),
            within("train", "train", task_id="c"),
            step("finish", "COMPLETED", "4", "5", task_id="d"),
        ],
    },
    "given-up": {"workflowId": "given-up", "status": "TERMINATED", "tasks": [step("grow", "COMPLETED", "1", "2")]},
    "train": {
        "workflowId": "train",
        "status": "COMPLETED",
        "tasks": [step("grow", "COMPLETED", "1", "3", task_id="e"), within("deep", "deep", task_id="f")],
    },
    "deep": {"workflowId": "deep", "status": "COMPLETED", "tasks": [step("weigh", "COMPLETED", "3", "4")]},
}


def load(workflow):
    if workflow not in INSTANCES:
        raise ApiError("GET /workflow", Answer(404, b""))
    return INSTANCES[workflow]


@pytest.fixture
def branch():
    """A tree whose sub-workflow was cancelled after its first commit, and begun anew."""
    prepared = {**BEFORE, "prepared.txt": LINE}
    grown = {**prepared, "grown.txt": LINE}
    weighed = {**grown, "weighed.txt": LINE}
    return Branch(
        "b",
        log=[
            commit("5", "root", "finish", "4"),
            leaf("4", "deep", "train/deep/weigh", "3"),
            leaf("3", "train", "train/grow", "1"),
            leaf("2", "given-up", "train/grow", "1"),
            commit("1", "root", "prepare", "0"),
            commit("0"),
        ],
        contents={
            commit_id("0"): BEFORE,
            commit_id("1"): prepared,
            commit_id("2"): grown,
            commit_id("3"): grown,
            commit_id("4"): weighed,
            commit_id("5"): {**weighed, "finished.txt": LINE},
        },
        by_hand={commit_id("0"): "readme.txt"},
        workflows=[whole(INSTANCES["root"], load)],
        meddled={"root"},
    )


def test_a_tree_is_one_workflow_without_what_has_begun_anew():
    names = [task["referenceTaskName"] for task in whole(INSTANCES["root"], load)["tasks"]]
    assert names == ["prepare", "train/grow", "train/deep/weigh", "finish"]
    assert not has_only_completed(INSTANCES["root"], load)
    assert has_only_completed(INSTANCES["train"], load)


def test_the_parts_of_a_tree_are_those_that_run_and_are_there():
    running = {"tasks": [within("train", "around", "IN_PROGRESS"), within("other", "not there yet", "IN_PROGRESS")]}
    around = {"tasks": [within("deep", "deep", "SCHEDULED"), within("done", "train")]}
    assert parts(running, lambda name: around if name == "around" else load(name)) == ["around", "deep"]


def test_a_tree_that_has_replaced_what_it_gave_up_has_no_faults(branch):
    assert branch.faults() == []


def keep_what_was_given_up(branch):
    branch.contents[commit_id("3")] = {**branch.contents[commit_id("3")], "grown.txt": 2 * LINE}


def judge_by_its_own_instance_only(branch):
    """As if the sub-workflow had been refused for what its earlier instance published."""
    reason = REFUSED.format(base=commit_id("1")[:12], head=commit_id("2")[:12], named=commit_id("2")[:12])
    branch.log = branch.log[3:]
    (tree,) = branch.workflows
    tree["status"] = "FAILED"
    tree["tasks"] = [tree["tasks"][0], step("train/grow", "FAILED", "1", reason=reason)]


def complete_with_what_was_given_up(branch):
    branch.workflows[0]["tasks"][1]["outputData"]["workspace"]["ref"] = commit_id("2")


def publish_a_task_of_the_tree_twice(branch):
    branch.meddled.clear()


def lose_a_line_of_a_sub_workflow(branch):
    for name in "45":
        del branch.contents[commit_id(name)]["grown.txt"]


@pytest.mark.parametrize(
    "spoil",
    [
        keep_what_was_given_up,
        judge_by_its_own_instance_only,
        complete_with_what_was_given_up,
        publish_a_task_of_the_tree_twice,
        lose_a_line_of_a_sub_workflow,
    ],
)
def test_a_planted_fault_in_a_tree_is_found(branch, spoil):
    spoil(branch)
    assert branch.faults() != []

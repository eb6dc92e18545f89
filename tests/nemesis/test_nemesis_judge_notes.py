"""The judge of the nemesis on tasks in snapshot isolation, which publish beside others."""

from __future__ import annotations

import pytest

from nemesis.judge import Branch
from tests.nemesis.test_nemesis_judge import commit, commit_id, task

CONFLICT = (
    "PublishFenceError: Not published: others have changed 1 of the paths that this attempt changed: 'note-2.txt'. "
    "Nothing is lost. Run the task again from the current head"
)
FORK = {"referenceTaskName": "fork", "taskType": "FORK", "status": "COMPLETED"}
JOIN = {"referenceTaskName": "join", "taskType": "JOIN", "status": "COMPLETED"}


@pytest.fixture
def branch():
    """Two notes and a person beside each other, then a note on the first; and a workflow with a note that conflicts."""
    completed = [task("note_1", "COMPLETED", "0", "1"), task("note_2", "COMPLETED", "0", "2")]
    completed += [JOIN, task("note_5", "COMPLETED", "1", "5")]
    cut_short = [task("note_1", "CANCELED", "5"), task("note_2", "FAILED_WITH_TERMINAL_ERROR", "5", reason=CONFLICT)]
    return Branch(
        "b",
        log=[
            commit("7", "w2", "note_1", "5"),
            commit("b"),
            commit("5", "w1", "note_5", "1"),
            commit("2", "w1", "note_2", "0"),
            commit("a"),
            commit("1", "w1", "note_1", "0"),
            commit("0"),
        ],
        contents={
            commit_id("0"): {"readme.txt": b"data"},
            commit_id("1"): dict(BY_NOTE_1),
            commit_id("a"): dict(BY_PERSON),
            commit_id("2"): dict(BY_NOTE_2),
            commit_id("5"): dict(BY_NOTE_5),
            commit_id("b"): {**BY_NOTE_5, "note-2.txt": b"by hand 2\n"},
            commit_id("7"): {**BY_NOTE_5, "note-2.txt": b"by hand 2\n", "note-1.txt": b"w1\nw2\n"},
        },
        seen={commit_id(name) for name in "012a"},
        by_hand={commit_id("a"): "by-hand-1.txt", commit_id("b"): "note-2.txt"},
        workflows=[
            {"workflowId": "w1", "status": "COMPLETED", "tasks": [FORK, *completed]},
            {"workflowId": "w2", "status": "FAILED", "tasks": [FORK, *cut_short, {**JOIN, "status": "CANCELED"}]},
        ],
    )


BY_NOTE_1 = {"readme.txt": b"data", "note-1.txt": b"w1\n"}
BY_PERSON = {**BY_NOTE_1, "by-hand-1.txt": b"by hand 1\n"}
BY_NOTE_2 = {**BY_PERSON, "note-2.txt": b"w1\n"}
BY_NOTE_5 = {**BY_NOTE_2, "note-5.txt": b"w1\n"}


def test_notes_beside_each_other_and_a_person_have_no_faults(branch):
    assert branch.faults() == []


def overwrite_a_person(branch):
    for name in "25b7":
        del branch.contents[commit_id(name)]["by-hand-1.txt"]


def overwrite_a_note(branch):
    branch.contents[commit_id("5")]["note-2.txt"] = b""


def lose_what_was_read(branch):
    branch.contents[commit_id("7")]["note-1.txt"] = b"w2\n"


def publish_over_the_same_path(branch):
    branch.contents[commit_id("a")] = {**BY_PERSON, "note-2.txt": b"by hand 1\n"}


def conflict_with_nobody(branch):
    branch.by_hand[commit_id("b")] = "by-hand-2.txt"
    for name in "b7":
        branch.contents[commit_id(name)] |= {"note-2.txt": b"w1\n", "by-hand-2.txt": b"by hand 2\n"}


def fail_of_something_else_beside(branch):
    branch.workflows[1]["tasks"][1].update(status="FAILED_WITH_TERMINAL_ERROR", reasonForIncompletion="broken")


def publish_twice_beside(branch):
    branch.log.insert(0, commit("8", "w2", "note_1", "5"))


def publish_though_refused(branch):
    branch.log.insert(0, commit("8", "w2", "note_2", "5"))


def fail_alone(branch):
    branch.workflows[1]["tasks"] = branch.workflows[1]["tasks"][1:2]


@pytest.mark.parametrize(
    ("plant", "told"),
    [
        (overwrite_a_person, "has in by-hand-1.txt None"),
        (overwrite_a_note, "has in note-2.txt b''"),
        (lose_what_was_read, "has in note-1.txt"),
        (publish_over_the_same_path, "and published over"),
        (conflict_with_nobody, "note_1 of w2 ended FAILED"),
        (fail_of_something_else_beside, "note_1 of w2 ended FAILED"),
        (publish_twice_beside, "('w2', 'note_1') has 2 publications"),
        (publish_though_refused, "('w2', 'note_2') has 1 publications"),
        (fail_alone, "note_1 of w2 ended FAILED"),
    ],
)
def test_a_fault_is_found(branch, plant, told):
    plant(branch)
    assert any(told in fault and fault.startswith("b: ") for fault in branch.faults()), branch.faults()


def restart(branch, *, undone):
    """The first workflow was begun anew, and its first note published once more on the old ones."""
    branch.meddled.add("w1")
    branch.workflows[0]["tasks"] = [FORK, task("note_1", "COMPLETED", "0", "8")]
    branch.workflows[0]["status"] = "TERMINATED"
    branch.terminated.add("w1")
    branch.log = [commit("8", "w1", "note_1", "0"), *branch.log[2:]]
    kept = BY_PERSON if undone else BY_NOTE_5
    branch.contents[commit_id("8")] = {**kept, "note-1.txt": b"w1\n"}
    del branch.workflows[1], branch.by_hand[commit_id("b")]


@pytest.mark.parametrize("undone", [True, False])
def test_what_a_workflow_gave_up_may_be_undone_or_stay_until_it_is_taken_up(branch, undone):
    restart(branch, undone=undone)
    assert branch.faults() == []


def test_what_a_workflow_gave_up_is_not_undone_together_with_a_persons_file(branch):
    restart(branch, undone=True)
    del branch.contents[commit_id("8")]["by-hand-1.txt"]
    assert any("has in by-hand-1.txt None" in fault for fault in branch.faults())


def test_a_commit_of_what_was_cut_short_may_stand_in_the_way_of_the_next(branch):
    """`note_1` of w2 published before it heard that it was over: to a workflow from the commit before, a stranger's."""
    refused = (
        f"PublishFenceError: Not published: branch 'b' has commits that this attempt has not seen: "
        f"{commit_id('7')[:12]} published by task 'note' (input {commit_id('b')[:12]}, head {commit_id('7')[:12]})."
    )
    late = {"workflowId": "w3", "status": "FAILED", "tasks": [task("prepare", "FAILED", "b", reason=refused)]}
    branch.workflows.append(late)
    assert branch.faults() == []
    branch.workflows[1]["tasks"].remove(FORK)  # then nothing ran beside it
    assert any("prepare of w3 ended FAILED" in fault for fault in branch.faults())


def test_a_try_that_comes_to_nothing_in_the_calm_is_a_fault(branch):
    branch.calm.add("w1")
    assert branch.faults() == []
    branch.workflows[0]["tasks"].insert(1, task("note_1", "TIMED_OUT", "0", reason="responseTimeout"))
    assert branch.faults() == ["b: note_1 of w1, in the calm, TIMED_OUT: responseTimeout"]


@pytest.fixture
def restarted():
    """Two notes, then both again: the first as before, which undid the second; then the second."""
    start = {"readme.txt": b"data"}
    first, second = {**start, "note-1.txt": b"w1\n"}, {**start, "note-1.txt": b"w1\n", "note-2.txt": b"w1\n"}
    names = {"9": "note_2", "8": "note_1", "2": "note_2", "1": "note_1"}
    return Branch(
        "b",
        log=[*(commit(each, "w1", name, "0") for each, name in names.items()), commit("0")],
        contents=dict(zip(map(commit_id, "98210"), (dict(second), first, second, first, start), strict=True)),
        meddled={"w1"},
        by_hand={commit_id("0"): "readme.txt"},
        workflows=[
            {
                "workflowId": "w1",
                "status": "COMPLETED",
                "tasks": [FORK, task("note_1", "COMPLETED", "0", "8"), task("note_2", "COMPLETED", "0", "9"), JOIN],
            }
        ],
    )


def test_notes_made_again_with_the_same_content_have_no_faults(restarted):
    assert restarted.faults() == []


def test_a_conflict_with_what_its_own_workflow_gave_up_is_a_fault(restarted):
    refused = CONFLICT.replace("note-2.txt", "note-1.txt")
    restarted.workflows[0]["tasks"][1] = task("note_1", "FAILED_WITH_TERMINAL_ERROR", "0", reason=refused)
    restarted.workflows[0]["status"] = "FAILED"
    assert any("note_1 of w1 ended FAILED" in fault for fault in restarted.faults()), restarted.faults()


def test_a_note_made_again_that_is_taken_for_the_one_given_up_is_a_fault(restarted):
    del restarted.contents[commit_id("9")]["note-1.txt"]
    assert any("has in note-1.txt None; due is b'w1\\n'" in fault for fault in restarted.faults()), restarted.faults()
    assert any("note-1.txt has 0 lines of w1; due are 1" in fault for fault in restarted.faults())

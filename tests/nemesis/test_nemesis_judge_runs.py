"""The judge and the reader of the nemesis on transactional runs: their target shows all or nothing (invariant 10)."""

from __future__ import annotations

import contextlib

import pytest

from nemesis.judge import Branch
from nemesis.reader import Reader
from nemesis.runs import END, PARTS, halves
from tests.nemesis.test_nemesis_judge import commit, commit_id, task
from waiting import wait_for

BEFORE = {"readme.txt": b"data"}
RUN = dict.fromkeys(PARTS.values(), b"w1\n")
BESIDE = {"by-hand-1.txt": b"by hand 1\n"}
INSIDE = {"part-by-hand-2.txt": b"by hand 2\n"}
SEEN = (
    "PublishFenceError: Not published: on branch 'b' others have changed what this task could see, {path!r}: {named} "
    "by admin (input {base}, head {named}). Nothing is lost. Run it again. The run is kept on branch 'perago-run-2'"
)


def of_run(name, output, *, run="perago-run-1"):
    """A task that has completed on the branch of a run."""
    made = task(name, "COMPLETED", "0", output)
    made["outputData"]["workspace"]["branch"] = run
    return made


@pytest.fixture
def branch():
    """A run that was merged with what a person did beside it, and one that was refused for what they did inside it."""
    outputs = dict(zip(PARTS, "xyz", strict=True))
    end = task(END, "COMPLETED", "0", "1")
    end["outputData"]["result"] = {"tasks": [{"task": name, "ref": commit_id(of)} for name, of in outputs.items()]}
    done = [of_run("perago_begin", "0"), *(of_run(name, of) for name, of in outputs.items()), end]
    reason = SEEN.format(path="part-by-hand-2.txt", named=commit_id("b")[:12], base=commit_id("1")[:12])
    refused = [of_run("perago_begin", "1", run="perago-run-2"), task(END, "FAILED", "1", reason=reason)]
    return Branch(
        "b",
        log=[commit("b"), commit("1", "w1", END, "0"), commit("a"), commit("0")],
        contents={
            commit_id("0"): BEFORE,
            commit_id("a"): {**BEFORE, **BESIDE},
            commit_id("1"): {**BEFORE, **BESIDE, **RUN},
            commit_id("b"): {**BEFORE, **BESIDE, **RUN, **INSIDE},
        },
        by_hand={
            commit_id("0"): "readme.txt",
            commit_id("a"): "by-hand-1.txt",
            commit_id("b"): "part-by-hand-2.txt",
        },
        workflows=[
            {"workflowId": "w1", "status": "COMPLETED", "tasks": done},
            {"workflowId": "w2", "status": "FAILED", "tasks": refused},
        ],
    )


def test_a_run_beside_a_person_has_no_faults(branch):
    assert branch.faults() == []


def show_a_part(branch):
    del branch.contents[commit_id("1")]["part-2.txt"]


def publish_a_part(branch):
    branch.log.insert(2, commit("9", "w1", "part_1", "a"))
    branch.contents[commit_id("9")] = {**BEFORE, **BESIDE, "part-1.txt": b"w1\n"}


def publish_before_the_last(branch):
    branch.workflows[0]["tasks"][-1]["outputData"]["result"]["tasks"].pop()


def publish_over_what_it_could_see(branch):
    branch.contents[commit_id("a")] = {**BEFORE, **INSIDE}
    branch.contents[commit_id("1")] = {**BEFORE, **INSIDE, **RUN}


def be_refused_for_what_it_could_not_see(branch):
    branch.contents[commit_id("b")] = {**BEFORE, **RUN, **BESIDE, "by-hand-2.txt": b"by hand 2\n"}
    branch.by_hand[commit_id("b")] = "by-hand-2.txt"


def lose_what_a_person_did(branch):
    del branch.contents[commit_id("1")]["by-hand-1.txt"]


@pytest.mark.parametrize(
    ("plant", "told"),
    [
        (show_a_part, "shows some parts of w1, and others not"),
        (publish_a_part, "('w1', 'part_1'), which is no task of this branch"),
        (publish_before_the_last, "which is without part_3"),
        (publish_over_what_it_could_see, "and published over"),
        (be_refused_for_what_it_could_not_see, f"{END} of w2 ended FAILED"),
        (lose_what_a_person_did, "has in by-hand-1.txt None"),
    ],
)
def test_a_fault_is_found(branch, plant, told):
    plant(branch)
    assert any(told in fault for fault in branch.faults()), branch.faults()


def test_a_part_is_one_line_too_few_or_too_many():
    assert halves({}) == halves({"other.txt": b"w9\n"}) == halves(RUN) == []
    assert halves({**RUN, "part-3.txt": b""}) == ["w1"]
    assert halves({**RUN, "part-3.txt": b"w1\nw1\n"}) == ["w1"]


def test_the_reader_sees_a_part_that_somebody_takes_away_at_once(lakefs_server, lakefs_repository, tmp_path):
    """It is on the branch for a moment only, and not in its history."""
    names = [lakefs_repository.branch(name, "main") for name in ("b0", "b1")]
    with Reader(lakefs_server, lakefs_repository.name, names, tmp_path / "read.jsonl") as reader:

        def seen(name):
            with contextlib.suppress(FileNotFoundError):
                return {found["commit"]: found["halves"] for found in reader.seen() if found["branch"] == name}
            return {}

        whole = lakefs_repository.commit_files("b0", RUN)
        wait_for(lambda: whole in seen("b0"))
        before = lakefs_repository.head("b1")
        part = lakefs_repository.commit_files("b1", {"part-1.txt": b"w2\n"})
        wait_for(lambda: part in seen("b1"))
        lakefs_repository.expect("PUT", "/branches/b1/hard_reset", query={"ref": before})
        assert reader.works
        assert seen("b0")[whole] == []
        assert seen("b1")[part] == ["w2"]
    assert not reader.works

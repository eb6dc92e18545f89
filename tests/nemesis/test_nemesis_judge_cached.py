"""The judge of the nemesis on tasks with a cache: what they complete with, and where it was taken from."""

from __future__ import annotations

import pytest

from nemesis.cached import COMPUTED, HITS, THERE, cached_faults, counted
from nemesis.judge import Branch
from tests.nemesis.test_nemesis_judge import commit, commit_id, task

README = {"readme.txt": b"data"}
DIGEST = {**README, "digest.txt": b"3 of data"}
DERIVED = {**DIGEST, "derived/all.txt": b"3 derived of 3 of data"}
BESIDE = {**DIGEST, "by-hand-1.txt": b"by hand 1\n"}


def stamped(name, workflow, step, base, key, **more):
    more = {"perago.params": '{"number":3}', "perago.cache-key": key, "perago.retry-count": "0", **more}
    return commit(name, workflow, step, base, **more)


def completed(name, base, output):
    done = task(name, "COMPLETED", base, output)
    done["inputData"]["params"] = {"number": 3}
    done["outputData"]["result"] = {"text": (DIGEST if name == "digest" else DERIVED)[FILE[name]].decode()}
    return done


FILE = {"digest": "digest.txt", "derive": "derived/all.txt"}


@pytest.fixture
def branch():
    """Results that a workflow computed, one that another took beside a person's commit, and one that was there."""
    return Branch(
        "b",
        log=[
            stamped("5", "w2", "digest", "a", "k1", **{"perago.completes": commit_id("a"), **taken("1")}),
            commit("a"),
            stamped("2", "w1", "derive", "1", "k2", **taken("9")),
            commit("b"),
            stamped("1", "w1", "digest", "0", "k1"),
            commit("0"),
        ],
        contents={
            commit_id("0"): README,
            commit_id("1"): DIGEST,
            commit_id("b"): dict(BESIDE),
            commit_id("2"): {**BESIDE, **DERIVED},
            commit_id("a"): {**BESIDE, **DERIVED, "by-hand-2.txt": b"by hand 2\n"},
            commit_id("5"): {**BESIDE, **DERIVED, "by-hand-2.txt": b"by hand 2\n"},
        },
        seen={commit_id(name) for name in "012ab"},
        by_hand={commit_id("b"): "by-hand-1.txt", commit_id("a"): "by-hand-2.txt"},
        workflows=[
            {
                "workflowId": "w1",
                "status": "COMPLETED",
                "tasks": [completed("digest", "0", "1"), completed("derive", "1", "2")],
            },
            {"workflowId": "w2", "status": "COMPLETED", "tasks": [completed("digest", "a", "a")]},
        ],
    )


def taken(name):
    return {"perago.cached-from": commit_id(name)}


ELSEWHERE = [stamped("9", "w9", "derive", "8", "k2")]


def faults(branch):
    return [*branch.faults(), *cached_faults([branch.log, ELSEWHERE])]


def test_results_that_were_computed_taken_and_there_have_no_faults(branch):
    assert faults(branch) == []
    tasks = [task for workflow in branch.workflows for task in workflow["tasks"]]
    assert counted([branch.log, ELSEWHERE], tasks) == {COMPUTED: 2, HITS: 1, THERE: 1}


def take_the_wrong_files(branch):
    for name in ("2", "a", "5"):
        branch.contents[commit_id(name)] = {**branch.contents[commit_id(name)], "derived/all.txt": b"2 derived of"}


def say_that_the_wrong_result_was_there(branch):
    branch.workflows[1]["tasks"][0]["inputData"]["params"] = {"number": 2}


def report_another_result(branch):
    branch.workflows[0]["tasks"][1]["outputData"]["result"] = {"text": "2 derived of"}


def lose_the_persons_file(branch):
    for name in ("2", "a", "5"):
        branch.contents[commit_id(name)] = {
            path: content for path, content in branch.contents[commit_id(name)].items() if path != "by-hand-1.txt"
        }


def take_it_over_what_it_could_see(branch):
    branch.by_hand[commit_id("b")] = "digest.txt"
    branch.contents[commit_id("b")] = {**DIGEST, "digest.txt": b"by hand 1\n"}


def take_what_has_another_key(branch):
    branch.log[2]["metadata"]["perago.cache-key"] = "k1"


def take_what_nobody_made(branch):
    branch.log[2]["metadata"] |= taken("7")


def take_what_was_taken(branch):
    branch.log[0]["metadata"] |= {"perago.cache-key": "k2", **taken("2")}


def take_what_was_adopted(branch):
    branch.log[2]["metadata"] |= taken("6")
    branch.log.insert(3, stamped("6", "w9", "derive", "8", "k2", **{"perago.completes": commit_id("9")}))
    branch.contents[commit_id("6")] = branch.contents[commit_id("b")]


def take_it_in_a_retry(branch):
    branch.log[2]["metadata"]["perago.retry-count"] = "1"


def publish_what_was_there(branch):
    del branch.log[0]["metadata"]["perago.completes"]


PLANTED = [
    take_the_wrong_files,
    say_that_the_wrong_result_was_there,
    report_another_result,
    lose_the_persons_file,
    take_it_over_what_it_could_see,
    take_what_has_another_key,
    take_what_nobody_made,
    take_what_was_taken,
    take_what_was_adopted,
    take_it_in_a_retry,
    publish_what_was_there,
]


@pytest.mark.parametrize("plant", PLANTED)
def test_each_kind_of_fault_is_found(branch, plant):
    plant(branch)
    assert faults(branch) != []

"""Tasks with a cache under the simulator: each way in which a result is taken, lost or computed after all."""

from collections import Counter
from dataclasses import replace

import pytest

from simulation.plan import Incident, Plan, WorkflowPlan
from simulation.run import simulate

CACHED = WorkflowPlan(
    shape="single",
    branch="main",
    snapshot=False,
    noop="never",
    big=False,
    long=False,
    shared_path=False,
    starts=0.0,
    cached=True,
)
ELSEWHERE_LATER = replace(CACHED, branch="other", starts=20.0)
SEEDS = range(6)


def at(point, number, kind, when="before", amount=0.5):
    return Incident(kind=kind, point=point, number=number, when=when, amount=amount)


def counts_of(path, workflows, *incidents, slots=(1,), seeds=SEEDS):
    """What happened in all of the schedules, none of which breaks a promise."""
    counts = Counter()
    for seed in seeds:
        plan = Plan(seed=seed, slots=slots, workflows=workflows, incidents=incidents)
        one = simulate(plan, path / str(seed))
        assert one.broken == ()
        counts += one.counts
        counts += Counter({f"{kind} at {point}": number for (kind, point), number in one.fired.items()})
    return counts


def test_what_one_workflow_computed_another_takes(fast_path):
    counts = counts_of(fast_path, (CACHED, ELSEWHERE_LATER))
    assert counts["cached: published"] == len(SEEDS)
    assert counts["cached: miss"] == len(SEEDS)


def test_what_is_there_already_is_taken_without_a_commit(fast_path):
    counts = counts_of(fast_path, (CACHED, replace(CACHED, starts=20.0)))
    assert counts["cached: hit"] == len(SEEDS)
    assert (counts["cached: seals"], counts["cached: published"]) == (0, 0)


def test_each_task_of_a_tree_and_of_a_run_takes_its_result(fast_path):
    for shape, tasks in (("tree", 3), ("join", 3), ("sequence", 2)):
        first = replace(CACHED, shape=shape)
        for twin in (first, replace(first, transactional=True, at_head=True)):
            counts = counts_of(fast_path, (first, replace(twin, branch="other", starts=30.0)), seeds=range(2))
            assert counts["cached: published"] >= tasks


def test_a_hit_that_loses_its_swap_is_decided_again(fast_path):
    """Somebody commits between its stage and its swap."""
    counts = counts_of(fast_path, (CACHED, ELSEWHERE_LATER), at("publish_workspace", 2, "person", amount=0.2))
    assert counts["cached: decided again after a lost swap"] == len(SEEDS)
    assert counts["cached: published"] == len(SEEDS)


def test_a_hit_that_finds_a_conflict_at_its_swap_is_refused_or_taken_anew(fast_path):
    """Somebody changes what the task sees, or makes, between its stage and its swap."""
    counts = counts_of(fast_path, (CACHED, ELSEWHERE_LATER), at("publish_workspace", 2, "conflict"), seeds=range(20))
    assert counts["cached: decided again after a lost swap"] > 0
    assert counts["decide failed: PublishFenceError"] > 0
    assert counts["cached: published"] > 0


def test_what_goes_in_the_middle_is_computed(fast_path):
    """It is looked for once more when the body has ended."""
    gone = [at("stage_copy", number, "gone") for number in (1, 2)]
    counts = counts_of(fast_path, (CACHED, ELSEWHERE_LATER), *gone)
    assert counts["cached: source gone"] == len(SEEDS)
    assert counts["gone at stage_copy"] == 2 * len(SEEDS)
    assert counts["cached: published"] == 0


def test_what_goes_after_a_lost_swap_is_computed(fast_path):
    """The first copy was staged in vain, and there is no second one."""
    moved, gone = at("publish_workspace", 2, "person", amount=0.2), at("stage_copy", 2, "gone")
    counts = counts_of(fast_path, (CACHED, ELSEWHERE_LATER), moved, gone)
    assert counts["gone at stage_copy"] == counts["cached: source gone"] == len(SEEDS)


@pytest.mark.parametrize("kind", ["error", "lost", "abandoned"])
def test_a_copy_whose_answer_is_lost_is_computed(fast_path, kind):
    counts = counts_of(fast_path, (CACHED, ELSEWHERE_LATER), at("stage_copy", 1, kind))
    assert counts[f"{kind} at stage_copy"] == counts["cached: source gone"] == len(SEEDS)


def test_a_history_that_cannot_be_read_is_a_miss(fast_path):
    lost = [at("commits_since", number, "lost") for number in range(1, 6)]
    counts = counts_of(fast_path, (CACHED, ELSEWHERE_LATER), *lost)
    assert counts["cached: history not read"] > 0
    assert counts["cached: published"] == 0


@pytest.mark.parametrize("point", ["list_workspace", "stage_copy", "publish_workspace"])
def test_the_next_try_of_a_hit_that_was_killed_computes(fast_path, point):
    """Or it adopts what the first one has published."""
    number = {"list_workspace": 4, "stage_copy": 1, "publish_workspace": 2}[point]
    counts = counts_of(fast_path, (CACHED, ELSEWHERE_LATER), at(point, number, "kill"))
    assert counts[f"kill at {point}"] == len(SEEDS)
    assert counts["cached: to be computed again"] > 0


def test_what_a_retry_adopted_is_the_result_of_its_body(fast_path):
    """One schedule in 1,500 had it: the commit that took the result named the seal of the retry as its source."""
    counts = counts_of(fast_path, (CACHED, ELSEWHERE_LATER), at("publish_workspace", 1, "kill", "after"))
    assert counts["plan seal"] == counts["cached: published"] == len(SEEDS)


def test_two_on_one_machine_compute_once(fast_path):
    both = (CACHED, replace(CACHED, branch="other"))
    counts = counts_of(fast_path, both, slots=(2,))
    assert counts["cached: waited for another"] > 0
    assert counts["cached: published"] == len(SEEDS)


def test_who_waits_for_one_that_dies_computes(fast_path):
    both = (CACHED, replace(CACHED, branch="other"))
    counts = counts_of(fast_path, both, at("body", 1, "kill"), slots=(2,))
    assert counts["cached: waited for another"] > 0
    assert counts["cached: to be computed again"] > 0


def test_two_machines_publish_one_result(fast_path):
    """Whoever is slower finds before its publication that the other one was faster."""
    both = (CACHED, replace(CACHED, branch="other"))
    counts = counts_of(fast_path, both, slots=(1, 1), seeds=range(20))
    assert counts["cached: hit after its body"] > 0

"""What the simulator found in Perago, kept as the smallest plans that showed it: none breaks a promise any more."""

from dataclasses import replace

import pytest

from planted_bugs import only_what_differs_from_the_parent, only_what_it_retries_counts
from simulation.network import Network
from simulation.plan import Incident, Plan, WorkflowPlan
from simulation.run import simulate

ONE_TASK = WorkflowPlan(
    shape="single",
    branch="main",
    snapshot=False,
    noop="never",
    big=False,
    long=False,
    shared_path=False,
    starts=0.0,
)


def at(point, number, kind, when, amount=0.5):
    return Incident(kind=kind, point=point, number=number, when=when, amount=amount)


# A worker that is killed with something staged, and started again, and again before it looks for orphans, knew no
# more in which repositories it had tasks: what was staged stayed, unless a task came from there.
STAGED_WORK_OF_A_WORKER_THAT_IS_RESTARTED_TWICE = (
    at("publish_workspace", 1, "crash", "before"),
    at("stage_workspace", 2, "kill", "after"),
    at("report_result", 2, "drain", "before"),
)


@pytest.mark.parametrize("seed", range(5))
def test_what_a_killed_worker_staged_is_removed_after_it_was_started_again(fast_path, seed):
    plan = Plan(
        seed=seed,
        slots=(1,),
        workflows=(ONE_TASK,),
        incidents=STAGED_WORK_OF_A_WORKER_THAT_IS_RESTARTED_TWICE,
    )
    one = simulate(plan, fast_path / str(seed))
    assert sum(one.fired.values()) == len(plan.incidents)
    assert one.broken == ()


# A task that the engine gave the same worker twice had two leases there. The older execution kept on with heartbeats
# until somebody looked whether it was void, and one in flight could undo the result of the newer.
A_TASK_TWICE_IN_ONE_WORKER = (
    at("download_workspace", 1, "requeue", "after"),
    *(at("current_of", number, "late", "before", 1.0) for number in range(1, 4)),
    *(at("heartbeat", number, "late", "before", 0.2) for number in range(1, 9)),
)


@pytest.mark.parametrize("seed", range(8))
def test_no_heartbeat_of_an_older_execution_is_under_way_beside_a_report(fast_path, seed):
    plan = Plan(
        seed=seed,
        slots=(2,),
        workflows=(replace(ONE_TASK, long=True),),
        incidents=A_TASK_TWICE_IN_ONE_WORKER,
    )
    assert simulate(plan, fast_path / str(seed)).broken == ()


# A rerun handed out two failed tries of one task at once, having removed the third, which had completed. The older one
# took what the newer had published for its own to replace, and both reported.
TRIES_BESIDE_EACH_OTHER = (
    *(at("body", number, "kill", "before") for number in range(1, 7)),
    at("download_workspace", 1, "rerun", "after", 0.85),
)


def tries_beside_each_other(seed):
    fork = replace(ONE_TASK, shape="fork", snapshot=True)
    return Plan(seed=seed, slots=(2, 2), workflows=(fork,), incidents=TRIES_BESIDE_EACH_OTHER)


@pytest.mark.parametrize("seed", range(8))
def test_two_tries_that_a_rerun_hands_out_at_once_have_one_outcome(fast_path, seed):
    assert simulate(tries_beside_each_other(seed), fast_path / str(seed)).broken == ()


def test_these_schedules_notice_tries_that_do_not_look_for_each_other(fast_path):
    """The schedules of seeds have it once in a thousand, or more rarely."""
    with only_what_it_retries_counts():
        assert any(simulate(tries_beside_each_other(seed), fast_path / str(seed)).broken for seed in range(100))


# The next try of a task wrote what the one before it had published, and so changed nothing of its first parent; its
# sibling merged with that, left the first try out, and lost the content with it. The nemesis found the like.
def same_content_again(seed):
    fork = replace(ONE_TASK, shape="fork", snapshot=True, big=True, same_content=True)
    published_and_died = at("publish_workspace", 1, "kill", "after")
    return Plan(seed=seed, slots=(1, 1), workflows=(fork,), incidents=(published_and_died,))


@pytest.mark.parametrize("seed", range(8))
def test_what_the_next_try_wrote_alike_is_kept_by_a_sibling(fast_path, seed):
    assert simulate(same_content_again(seed), fast_path / str(seed)).broken == ()


def test_these_schedules_notice_a_merge_that_loses_it(fast_path):
    with only_what_differs_from_the_parent():
        broken = [simulate(same_content_again(seed), fast_path / str(seed)).broken for seed in range(100)]
    assert any("the head of main lacks what" in promise for promises in broken for promise in promises)


# The engine takes a report from anybody. One that passed its fence, and arrives when the task was handed out again, is
# taken for the next execution's: the model's residual case, which nobody brings about.
REPORTS_UNDER_WAY = {
    "rerun": at("report_result", 1, "rerun", "before", 0.0),
    "requeue": at("report_result", 1, "requeue", "before"),
}


def reported_late(seed, what):
    one_task = replace(ONE_TASK, big=True)  # a smaller result would be adopted after a requeue
    published_late = at("publish_workspace", 2, "late", "before", 0.5)
    incidents = (REPORTS_UNDER_WAY[what], at("report_result", 1, "late", "before", 0.4), published_late)
    return Plan(seed=seed, slots=(1, 1), workflows=(one_task,), incidents=incidents)


@pytest.mark.parametrize("what", REPORTS_UNDER_WAY)
@pytest.mark.parametrize("seed", range(4))
def test_nobody_hands_a_task_out_again_while_a_report_of_it_is_under_way(fast_path, seed, what):
    assert simulate(reported_late(seed, what), fast_path / str(seed)).broken == ()


@pytest.mark.parametrize("what", REPORTS_UNDER_WAY)
def test_these_schedules_notice_somebody_who_does(fast_path, what, monkeypatch):
    monkeypatch.setattr(Network, "reported", lambda *_: set())
    assert any(simulate(reported_late(seed, what), fast_path / str(seed)).broken for seed in range(20))

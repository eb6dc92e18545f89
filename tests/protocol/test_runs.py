"""Transactional runs hold in every interleaving of their model, and each of its rules is needed.

`python -m tests.protocol.conformance run-unclear …` explores single scenarios; all of them take ten minutes.
"""

from dataclasses import replace

import pytest

from perago.attempt import fence, membership, transaction
from perago.attempt.fence import Verdict
from tests.protocol import conformance, model, transactional
from tests.protocol.transactional import FIXED, SCENARIOS, Rules

QUICK = ["run-calm", "run-people"]
LONG = [
    "run-snapshot",
    "run-faults",
    "run-admin",
    "run-at-head",
    "run-exclusive",
    "run-unstored",
    "run-forged",
    "run-outsider",
    "run-swept",
    "run-beside-admins",
]


def holds(scenario):
    states, complete, broken = conformance.explore(scenario, limit_s=200)
    assert broken == {}
    assert complete, "cut off: give it more time"
    return states


@pytest.mark.parametrize("scenario", QUICK)
def test_a_run_is_published_whole_or_not_in_every_interleaving(scenario):
    assert holds(scenario)


@pytest.mark.long
@pytest.mark.parametrize("scenario", LONG)
def test_a_run_is_published_whole_or_not_in_every_interleaving_of_more_faults(scenario):
    assert holds(scenario) > 5_000


FEW = replace(transactional.ONE, timeouts=0)
BREAKS = {
    "named_by_execution": (SCENARIOS["run-calm"], "c: begun anew, the workflow goes on with the old run"),
    "base_of_branch": (
        replace(FEW, total=2, persons=1, requeues=1, person_paths=("x",), at_head=True),
        "4: c2 of the target lost",
    ),
    "begun_once": (replace(FEW, total=1, timeouts=1), "d: one workflow has begun two runs"),
    "end_is_last": (SCENARIOS["run-calm"], "10: c1"),
    "base_is_input": (replace(FEW, total=1, persons=1, person_paths=("x",)), "4: c2 of the target lost"),
    "recorded_ref": (replace(FEW, total=2, admins=2, noop="free"), "10: c1"),
    "union_of_scopes": (replace(transactional.BASE, total=1, timeouts=0, persons=1, person_paths=("a",)), "h: within"),
    "adopt_before_run": (replace(FEW, total=1, touches=1), "refused: its branch has a commit of somebody"),
    "foreign_refused": (replace(FEW, total=1, touches=1), "10: c1"),
    "outsiders_refused": (replace(FEW, total=1, touches=1, outsiders="forger", resets=False), "10: c1"),
    "closed": (
        replace(FEW, total=1, touches=1, outsiders="task", resets=False),
        "refused: its branch has a commit of another workflow",
    ),
    "reset_refused": (replace(FEW, total=1, touches=1), "m: c1"),
    "kept": (SCENARIOS["run-calm"], "finds its branch gone"),
    "age_of_begin": (replace(FEW, total=0, sweeps=True), "finds its branch gone"),
    "age_of_head": (replace(transactional.BASE, total=1, timeouts=0, ages=1, sweeps=True), "finds its branch gone"),
}


def test_each_rule_has_its_case():
    inherited = {*model.Rules.__dataclass_fields__}
    assert {*Rules.__dataclass_fields__} - inherited == {*BREAKS}


@pytest.mark.parametrize("rule", BREAKS)
def test_a_run_needs_each_of_its_rules(rule):
    cfg, what = BREAKS[rule]
    without = replace(FIXED, **{rule: False})
    *_, found, _ = model.explore(without, cfg, stop_first=True, world_type=transactional.World)
    ((broken, _),) = found.values()
    assert what in broken


def broken_with(scenario):
    _, _, broken = conformance.explore(scenario, limit_s=100, stop_first=True)
    (trace,) = broken.values()
    return trace


def test_a_beginning_that_completes_as_any_earlier_try_is_noticed(monkeypatch):
    def completed_ever(record, identity, name):
        tries = [entry for entry in record.of(name) if entry.task_id != identity.task_id]
        return next((entry for entry in tries if entry.output is not None), None)

    monkeypatch.setattr(transaction, "completed_since", completed_ever)
    monkeypatch.setitem(SCENARIOS, "run-few", replace(FEW, total=2, timeouts=1, admins=1))
    assert "reruns from n2, then one more try alone, body changes: c: begun anew" in broken_with("run-few")


def test_publishing_a_run_that_somebody_has_committed_to_is_noticed(monkeypatch):
    monkeypatch.setattr(transaction, "published_run", lambda *_: None)
    assert "which no run has left" in broken_with("run-touched")


def test_publishing_a_run_that_another_workflow_has_published_to_is_noticed(monkeypatch):
    monkeypatch.setattr(membership, "is_of_run", lambda commit, *_: commit.counting_stamp is not None)
    assert "which no run has left" in broken_with("run-forged")


def test_letting_another_workflow_publish_to_a_run_is_noticed(monkeypatch):
    honest = membership.may_publish
    monkeypatch.setattr(
        membership, "may_publish", lambda branch, _, record: honest(branch, conformance.INSTANCE, record)
    )
    assert "belongs to a run, and task 'other' of workflow another has committed" in broken_with("run-outsider")


def test_validating_what_a_run_has_written_alone_is_noticed(monkeypatch):
    monkeypatch.setattr(conformance, "changed_reads", lambda *_: None)
    assert "h: within what the run could see" in broken_with("run-people")


def test_replacing_what_another_run_has_published_is_noticed(monkeypatch):
    def judge(commit, record, asking):
        return Verdict.FOREIGN if commit.counting_stamp is None else Verdict.ABANDONED

    monkeypatch.setattr(fence, "judge", judge)
    assert "lost what others wrote to ['y']" in broken_with("run-beside")


def test_sweeping_by_the_age_of_the_head_commit_alone_is_noticed(monkeypatch):
    monkeypatch.setattr(conformance, "run_branch_age", lambda _, head_time, now: (now - head_time).total_seconds())
    assert "finds its branch gone" in broken_with("run-swept")

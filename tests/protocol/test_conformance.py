"""Perago's decisions hold in every interleaving of the model; with a rule broken on purpose, the model notices.

The scenarios here take seconds each. `python tests/protocol/conformance.py` explores all of them, in about 20 minutes.
"""

from dataclasses import replace

import pytest

from perago.attempt import fence
from perago.attempt.fence import Verdict
from perago.values.history import CommitFacts, Complete, History, Seal, Validate
from perago.values.models import AttemptIdentity
from perago.values.record import NO_RECORD
from tests.protocol import conformance, model

QUICK = ["seq-same-content", "seq-copies", "seq-slow-unstored", "seq-people", "snap-people"]
QUICK += ["scoped-people2", "scoped-seq-people", "snap-doubled-unstored", "join-unstored", "join-admin"]
LONG = ["fork-optional", "snap-doubled", "snap-unstored-admin", "snap-same-content"]


@pytest.mark.parametrize("scenario", [*QUICK, *(pytest.param(name, marks=pytest.mark.long) for name in LONG)])
def test_the_protocol_holds_in_every_interleaving(scenario):
    states, complete, broken = conformance.explore(scenario, limit_s=200)
    assert broken == {}
    assert complete, "cut off: give it more time"
    assert states > 3_000


@pytest.mark.parametrize("scenario", ["seq-people", "scoped-people2"])
def test_tasks_with_a_cache_hold_in_every_interleaving(scenario):
    states, complete, broken = conformance.explore(scenario, limit_s=200, cached=True)
    assert (broken, complete) == ({}, True)
    assert states > 3_000


@pytest.mark.long
@pytest.mark.parametrize("scenario", ["scoped-people", "scoped-overlap-people"])
def test_validation_of_reads_holds_in_every_interleaving(scenario):
    states, complete, broken = conformance.explore(scenario, limit_s=200)
    assert (broken, complete) == ({}, True)
    assert states > 50_000


def test_the_model_needs_its_rule_on_scopes():
    without = replace(model.SCENARIOS["scoped-people2"], scope_rule=False)
    _, _, _, found, _ = model.explore(model.FIXED, without, stop_first=True)
    ((what, trace),) = found.values()
    assert "h: within what l could see, its effective c2 differs in ['a']" in what
    assert trace == ["person commits a"]


@pytest.mark.parametrize("scenario", ["scoped-people2", "scoped-seq-people"])
def test_validating_the_written_paths_alone_is_noticed(monkeypatch, scenario):
    monkeypatch.setattr(conformance, "changed_reads", lambda *_: None)
    (broken,) = explore_anew(scenario).values()
    assert "h: within what" in broken


def test_a_no_op_beside_foreign_commits_is_validated():
    history = History("2", "0", (CommitFacts("2", "1"), CommitFacts("1", "0")))
    identity = AttemptIdentity(workflow_instance_id="w", task_id="t", retry_count=0, scheduled_time=1, poll_count=1)
    for delivered in (1, 2):
        asking = fence.Applicant(
            identity=replace(identity, poll_count=delivered),
            reference_task_name="t",
            input_ref="0",
            params_digest="",
            code_digest="",
            isolation="serializable",
        )
        plan = fence.plan_publication(history, NO_RECORD, asking, changed=False)
        assert isinstance(plan, Validate)
        assert isinstance(plan.then, Complete if delivered == 1 else Seal)


def explore_anew(scenario):
    """Without the answers that were cached before a rule was broken."""
    states, _, broken = conformance.explore(scenario, limit_s=100, stop_first=True)
    assert states > 1
    return broken


def test_a_person_s_commit_taken_for_abandoned_is_noticed(monkeypatch):
    honest = fence.judge

    def judge(commit, record, asking):
        return Verdict.ABANDONED if commit.stamp is None else honest(commit, record, asking)

    monkeypatch.setattr(fence, "judge", judge)
    (broken,) = explore_anew("seq-people").values()
    assert "lost what a person committed" in broken


def test_replacing_what_another_task_may_still_adopt_is_noticed(monkeypatch):
    honest = fence.judge

    def judge(commit, record, asking):
        verdict = honest(commit, record, asking)
        unsettled = verdict is Verdict.FOREIGN and commit.counting_stamp is not None
        return Verdict.ABANDONED if unsettled else verdict

    monkeypatch.setattr(fence, "judge", judge)
    assert explore_anew("fork-redelivery")


def test_believing_a_copied_stamp_is_noticed(monkeypatch):
    monkeypatch.setattr(CommitFacts, "counting_stamp", property(lambda commit: commit.stamp))
    assert explore_anew("seq-copies")


def test_refusing_to_replace_one_s_own_earlier_publication_is_noticed(monkeypatch):
    def judge(commit, record, asking):
        stamp = commit.counting_stamp
        own = stamp is not None and stamp.logical_task == asking.logical_task
        return Verdict.FOREIGN if own else Verdict.ABANDONED if stamp else Verdict.FOREIGN

    monkeypatch.setattr(fence, "judge", judge)
    assert explore_anew("seq-unstored")


def test_replacing_what_a_try_beside_may_report_is_noticed(monkeypatch):
    monkeypatch.setattr(fence, "_published_beside", lambda *_: None)
    assert explore_anew("snap-doubled-unstored")


def test_losing_what_was_written_as_the_commit_had_that_it_replaced_is_noticed(monkeypatch):
    monkeypatch.setattr(conformance, "foreign_changes", lambda plan, changes: [changes[name] for name in plan.foreign])
    (broken,) = explore_anew("snap-same-content").values()
    assert "lost what" in broken


def test_not_knowing_one_s_own_retries_is_noticed(monkeypatch):
    monkeypatch.setattr(fence, "_retries_of", lambda *_: [])
    monkeypatch.setattr(fence, "_ended_since", lambda *_: False)
    assert explore_anew("snap-doubled")


def test_joining_by_the_order_of_the_branches_is_noticed(monkeypatch):
    rules = replace(conformance.model.LEAN, join_newest=False)
    monkeypatch.setattr(conformance.model, "LEAN", rules)
    _, _, broken = conformance.explore("join-unstored", limit_s=100, stop_first=True)
    assert ["b was given" in trace for trace in broken.values()] == [True]


def test_a_no_op_that_is_not_published_over_abandoned_changes_is_noticed(monkeypatch):
    honest = conformance.Ours.put_on

    def put_on(self, plan, s, w, head):
        made = honest(self, plan, s, w, head)
        empty = made[0] == "pub" and made[1].tree == s.chain[head].tree and not w.writes
        return self.complete(s, w, head, w.inp, w.code, False) if empty else made

    monkeypatch.setattr(conformance.Ours, "put_on", put_on)
    (broken,) = explore_anew("join-admin").values()
    assert "b was given" in broken

"""A workflow and its sub-workflows hold in every interleaving of their model, and each of its rules is needed.

`python -m tests.protocol.conformance tree-rerun …` explores single scenarios; all of them take half an hour.
"""

from dataclasses import replace

import pytest

from perago.attempt import fence
from perago.attempt.fence import Verdict
from perago.values import tree
from perago.values.history import Stamp
from perago.values.record import InstanceRecord
from tests.protocol import conformance, model, trees
from tests.protocol.trees import FIXED, FORK, ONE, SCENARIOS, Rules

QUICK = ["tree-calm", "tree-retry", "tree-optional", "tree-lag", "tree-fork-calm"]
LONG = [
    "tree-noop",
    "tree-faults",
    "tree-retry-faults",
    "tree-orphan",
    "tree-optional-retry",
    "tree-unstored",
]
"""The other scenarios take five minutes or more with the code's own functions. `python -m tests.protocol.trees run`
explores them by the model's."""


def holds(scenario):
    states, complete, broken = conformance.explore(scenario, limit_s=300)
    assert broken == {}
    assert complete, "cut off: give it more time"
    return states


@pytest.mark.parametrize("scenario", QUICK)
def test_a_tree_holds_in_every_interleaving(scenario):
    assert holds(scenario)


@pytest.mark.long
@pytest.mark.parametrize("scenario", LONG)
def test_a_tree_holds_in_every_interleaving_of_more_faults(scenario):
    assert holds(scenario) > 4_000


ANEW = replace(ONE, total=2, timeouts=0, admins=2)

LAG = replace(FORK, total=0, lag=True)
PASSED_OVER = SCENARIOS["tree-optional"]
BREAKS = {
    "tree": (ANEW, "refused because of"),
    "replaced_is_abandoned": (ANEW, "refused because of"),
    "replaced_is_not_effective": (SCENARIOS["tree-calm"], "completed with the old code"),
    "last_row_counts": (ANEW, "z: "),
    "replaced_refused": (ANEW, "z: "),
    "unattached_is_foreign": (LAG, "lost what p's effective c1 wrote"),
    "passed_over_is_over": (PASSED_OVER, "refused because of"),
}


def test_each_rule_has_its_case():
    inherited = {*model.Rules.__dataclass_fields__}
    assert {*Rules.__dataclass_fields__} - inherited == {*BREAKS}


@pytest.mark.parametrize("rule", BREAKS)
def test_a_tree_needs_each_of_its_rules(rule):
    cfg, what = BREAKS[rule]
    without = replace(FIXED, **{rule: False})
    *_, found, _ = model.explore(without, cfg, stop_first=True, world_type=trees.World)
    ((broken, _),) = found.values()
    assert what in broken


def broken_with(monkeypatch, cfg):
    monkeypatch.setitem(SCENARIOS, "tree-planted", cfg)
    _, _, broken = conformance.explore("tree-planted", limit_s=100, stop_first=True)
    (trace,) = broken.values()
    return trace


def test_judging_by_the_own_instance_alone_is_noticed(monkeypatch):
    def read_own(read, workflow_id, paths):
        return InstanceRecord(workflow_id, read(workflow_id).tries)

    monkeypatch.setattr(conformance, "read_tree", read_own)
    assert "refused" in broken_with(monkeypatch, ANEW)


def test_naming_a_task_by_its_instance_is_noticed(monkeypatch):
    named = property(lambda stamp: (stamp.root_workflow_id or stamp.workflow_instance_id, stamp.task_id))
    monkeypatch.setattr(Stamp, "logical_task", named)
    assert broken_with(monkeypatch, ANEW)


def test_taking_a_replaced_instance_for_foreign_is_noticed(monkeypatch):
    honest = fence.judge

    def judge(commit, record, asking):
        stamp = commit.counting_stamp
        gone = stamp is not None and stamp.path is not None and record.find(stamp.task_id) is None
        return Verdict.FOREIGN if gone else honest(commit, record, asking)

    monkeypatch.setattr(fence, "judge", judge)
    assert "refused" in broken_with(monkeypatch, ANEW)


def test_taking_a_replaced_instance_for_effective_is_noticed(monkeypatch):
    honest, shown = tree.record_of_tree, conformance.instances
    ever = {}

    def noting(rows, kids):
        ever.update(shown(rows, kids))
        return shown(rows, kids)

    def with_all(root, instances):
        record = honest(root, instances)
        gone = [one for name, one in ever.items() if not record.has_instance(name)]
        tries = [
            replace(entry, reference_task_name=f"s/{entry.reference_task_name}") for one in gone for entry in one.tries
        ]
        return replace(record, tries=(*record.tries, *tries))

    monkeypatch.setattr(conformance, "instances", noting)
    monkeypatch.setattr(tree, "record_of_tree", with_all)
    assert "refused" in broken_with(monkeypatch, replace(SCENARIOS["tree-calm"], noop="never"))


def test_publishing_from_a_replaced_instance_is_noticed(monkeypatch):
    monkeypatch.setattr(fence, "assert_instance_counts", lambda *_: None)
    assert broken_with(monkeypatch, ANEW)


def test_replacing_what_an_unknown_instance_has_published_is_noticed(monkeypatch):
    monkeypatch.setattr(InstanceRecord, "is_unread", lambda *_: False)
    assert "lost what p's effective c1 wrote" in broken_with(monkeypatch, LAG)


def test_waiting_for_a_sub_workflow_that_is_passed_over_is_noticed(monkeypatch):
    def own_alone(self, path):
        return any(entry.status.ends_task for entry in self.of(path))

    monkeypatch.setattr(InstanceRecord, "is_passed_over", own_alone)
    assert "refused" in broken_with(monkeypatch, PASSED_OVER)

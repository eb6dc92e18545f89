"""A workflow and its sub-workflows hold in every interleaving of their model, and each of its rules is needed.

`python -m tests.protocol.conformance tree-rerun …` explores single scenarios; all of them take an hour.
"""

from dataclasses import replace

import pytest

from perago.attempt import fence
from perago.attempt.fence import Verdict
from perago.values import tree
from perago.values.history import Stamp
from perago.values.record import WITHIN, InstanceRecord, paths_around
from tests.protocol import conformance, model, trees
from tests.protocol.trees import FIXED, FORK, ONE, SCENARIOS, Rules

QUICK = ["tree-calm", "tree-retry", "tree-optional", "tree-lag", "tree-fork-calm", "tree-within"]
QUICK += ["tree-deep-calm", "tree-deep-retry", "tree-deep-within", "tree-deep-optional", "tree-deep-lag"]
LONG = [
    "tree-noop",
    "tree-faults",
    "tree-retry-faults",
    "tree-optional-retry",
    "tree-unstored",
    "tree-within-faults",
    "tree-replaced",
    "tree-deep-faults",
    "tree-deep-orphan",
    "tree-deep-replaced",
]
"""The other scenarios, such as tree-orphan, take a minute or more with the code's own functions.
`python -m tests.protocol.trees run` explores them by the model's."""


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
DEEP_ANEW = SCENARIOS["tree-deep-retry"]
BREAKS = {
    "tree": (ANEW, "refused because of"),
    "replaced_is_abandoned": (ANEW, "refused because of"),
    "replaced_is_not_effective": (SCENARIOS["tree-calm"], "completed with the old code"),
    "below_is_abandoned": (SCENARIOS["tree-deep-calm"], "refused because of"),
    "below_is_not_effective": (SCENARIOS["tree-deep-calm"], "q of the rerun completed with the old code"),
    "last_row_counts": (ANEW, "z: "),
    "last_by_place": (
        SCENARIOS["tree-replaced"],
        "reruns from p2 in instance 0, then one more try alone, body changes: z: ",
    ),
    "replaced_refused": (ANEW, "z: "),
    "below_is_refused": (DEEP_ANEW, "z: "),
    "unattached_is_foreign": (LAG, "lost what p's effective c1 wrote"),
    "unattached_around": (SCENARIOS["tree-deep-lag"], "lost what p's effective c1 wrote"),
    "passed_over_is_over": (PASSED_OVER, "refused because of"),
    "passed_over_around": (SCENARIOS["tree-deep-optional"], "b4(s4,p1) refused because of"),
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


def foreign_where(monkeypatch, holds):
    """Take commits of sub-workflows for foreign, if this holds for the record's try and the stamp."""
    honest = fence.judge

    def judge(commit, record, asking):
        stamp = commit.counting_stamp
        within = stamp is not None and stamp.path is not None
        return (
            Verdict.FOREIGN if within and holds(record.find(stamp.task_id), stamp) else honest(commit, record, asking)
        )

    monkeypatch.setattr(fence, "judge", judge)


def test_taking_a_replaced_instance_for_foreign_is_noticed(monkeypatch):
    foreign_where(monkeypatch, lambda made_by, _: made_by is None)
    assert "refused" in broken_with(monkeypatch, ANEW)


def test_taking_what_is_below_a_replaced_instance_for_foreign_is_noticed(monkeypatch):
    foreign_where(monkeypatch, lambda made_by, stamp: made_by is None and len(paths_around(stamp.path)) == 2)
    assert "refused" in broken_with(monkeypatch, DEEP_ANEW)


def test_taking_what_a_rerun_within_a_sub_workflow_replaces_for_foreign_is_noticed(monkeypatch):
    foreign_where(
        monkeypatch, lambda made_by, stamp: made_by is not None and made_by.scheduled_time != stamp.scheduled_time
    )
    broken = broken_with(monkeypatch, SCENARIOS["tree-within"])
    assert "reruns from p2 in instance 0, then one more try alone, body changes: p2(s3,p1) refused" in broken


@pytest.mark.parametrize(("scenario", "within"), [("tree-calm", "s"), ("tree-deep-calm", "s/t")])
def test_taking_a_replaced_instance_for_effective_is_noticed(monkeypatch, scenario, within):
    honest, shown = tree.record_of_tree, conformance.instances
    ever = {}

    def noting(rows, kids):
        ever.update((one.workflow_id, one) for k, one in zip(kids, list(shown(rows, kids).values())[1:], strict=True)
                    if within.endswith(k.of))  # fmt: skip
        return shown(rows, kids)

    def with_all(root, instances):
        record = honest(root, instances)
        gone = [one for name, one in ever.items() if not record.has_instance(name)]
        tries = [
            replace(entry, reference_task_name=within + WITHIN + entry.reference_task_name)
            for one in gone
            for entry in one.tries
        ]
        return replace(record, tries=(*record.tries, *tries))

    monkeypatch.setattr(conformance, "instances", noting)
    monkeypatch.setattr(tree, "record_of_tree", with_all)
    assert "refused" in broken_with(monkeypatch, replace(SCENARIOS[scenario], noop="never"))


def test_letting_an_instance_count_whose_direct_parent_has_it_as_the_last_is_noticed(monkeypatch):
    honest = tree.record_of_tree

    def by_parent(root, instances):
        record = honest(root, instances)
        below = {
            last.sub_workflow: f"s/{name}"
            for of, tries in instances.items()
            if of != root
            for name, last in {entry.reference_task_name: entry for entry in tries}.items()
            if last.sub_workflow in instances
        }
        return replace(record, parts={**below, **record.parts})

    monkeypatch.setattr(tree, "record_of_tree", by_parent)
    assert "z: " in broken_with(monkeypatch, DEEP_ANEW)


def test_ordering_the_instances_of_a_sub_workflow_by_time_is_noticed(monkeypatch):
    honest = conformance.instance_of

    def by_time(document):
        found = honest(document)
        return replace(found, tries=tuple(sorted(found.tries, key=lambda entry: entry.scheduled_time)))

    monkeypatch.setattr(conformance, "instance_of", by_time)
    monkeypatch.setattr(conformance, "instances", conformance.instances.__wrapped__)  # not what was read before
    assert "reruns from p2 in instance 0" in broken_with(monkeypatch, SCENARIOS["tree-replaced"])


def test_publishing_from_a_replaced_instance_is_noticed(monkeypatch):
    monkeypatch.setattr(fence, "assert_instance_counts", lambda *_: None)
    assert broken_with(monkeypatch, ANEW)


@pytest.mark.parametrize("cfg", [LAG, SCENARIOS["tree-deep-lag"]], ids=["s", "s/t"])
def test_replacing_what_an_unknown_instance_has_published_is_noticed(monkeypatch, cfg):
    monkeypatch.setattr(InstanceRecord, "is_unread", lambda *_: False)
    assert "lost what p's effective c1 wrote" in broken_with(monkeypatch, cfg)


def test_looking_at_the_direct_parent_alone_for_unknown_instances_is_noticed(monkeypatch):
    def by_parent(self, path):
        return any(around in self.unread for around in paths_around(path)[-1:])

    monkeypatch.setattr(InstanceRecord, "is_unread", by_parent)
    assert "lost what p's effective c1 wrote" in broken_with(monkeypatch, SCENARIOS["tree-deep-lag"])


@pytest.mark.parametrize(
    ("cfg", "seen"), [(PASSED_OVER, 0), (SCENARIOS["tree-deep-optional"], 1)], ids=["none around", "direct parent"]
)
def test_waiting_for_a_sub_workflow_that_is_passed_over_is_noticed(monkeypatch, cfg, seen):
    def too_few(self, path):
        around = paths_around(path)
        return any(entry.status.ends_task for name in (*around[len(around) - seen :], path) for entry in self.of(name))

    monkeypatch.setattr(InstanceRecord, "is_passed_over", too_few)
    assert "refused" in broken_with(monkeypatch, cfg)

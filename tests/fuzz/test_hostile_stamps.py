"""Commit metadata of others that looks like a stamp: nothing counts but what the engine confirms."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from hostile import hunt, texts
from perago.attempt.fence import Applicant, Verdict, judge, plan_publication, plan_start
from perago.stores.git.history import _pairs, compose
from perago.stores.lakefs.api.answers import Commit
from perago.stores.lakefs.publication.history import staged_stamp_of, stamp_of
from perago.values.history import CommitFacts, Complete, History, Publish, Refuse, Seal, Stamp
from perago.values.models import AttemptIdentity
from perago.values.record import NO_RECORD, InstanceRecord, TryRecord, TryStatus
from perago.values.stamps import from_pairs, to_pairs

INPUT, FORGED = "a" * 64, "f" * 64
GENUINE = Stamp(
    task="build",
    workflow_instance_id="w1",
    reference_task_name="build",
    task_id="t0",
    retry_count=0,
    scheduled_time=1_000,
    poll_count=1,
    execution_id="e1",
    input_ref=INPUT,
    expected_head=INPUT,
    params_digest="sha256:01",
    code_digest="sha256:02",
    result_digest="sha256:03",
    params={},
    result={"rows": 1},
    result_exact=True,
)
PAIRS = to_pairs(GENUINE)
ASKING = Applicant(
    identity=AttemptIdentity(
        workflow_instance_id="w1", task_id="t1", retry_count=1, scheduled_time=2_000, poll_count=1
    ),
    reference_task_name="build",
    input_ref=INPUT,
    params_digest="sha256:01",
    code_digest="sha256:02",
)

forged_pairs = st.fixed_dictionaries({}, optional={name: st.just(value) | texts for name, value in PAIRS.items()})
forgeries = st.builds(
    lambda changes: replace(GENUINE, **changes),
    st.fixed_dictionaries(
        {},
        optional={
            "workflow_instance_id": st.sampled_from(["w1", "w2"]) | texts,
            "reference_task_name": st.sampled_from(["build", "other"]) | texts,
            "task_id": st.sampled_from(["t0", "t1", "t9"]) | texts,
            "scheduled_time": st.none() | st.sampled_from([1_000, 2_000, 3_000]),
            "input_ref": st.sampled_from([INPUT, FORGED]),
            "expected_head": st.sampled_from([INPUT, FORGED]) | texts,
            "params_digest": st.sampled_from(["sha256:01", "sha256:ff"]),
            "code_digest": st.sampled_from(["sha256:02", "sha256:ff"]),
            "completes": st.none() | st.sampled_from([INPUT, FORGED]),
            "result_exact": st.booleans(),
        },
    ),
)
statuses = st.sampled_from([TryStatus.FAILED, TryStatus.TIMED_OUT, TryStatus.CANCELED])


def record(status: TryStatus) -> InstanceRecord:
    """The engine's own: a first try that ended badly, and the one that asks."""
    first = TryRecord(
        task_id="t0",
        reference_task_name="build",
        retry_count=0,
        scheduled_time=1_000,
        poll_count=1,
        status=status,
        input_refs=(INPUT,),
    )
    second = replace(first, task_id="t1", retry_count=1, scheduled_time=2_000, status=TryStatus.IN_PROGRESS)
    return InstanceRecord("w1", (first, replace(second, retried_task_id="t0")))


def history(stamp: Stamp | None) -> History:
    return History(INPUT, FORGED, (CommitFacts(id=FORGED, parent=INPUT, stamp=stamp), CommitFacts(id=INPUT, parent="")))


@hunt
@given(stamp=forgeries, status=statuses)
def test_a_forged_stamp_is_foreign_unless_the_engine_knows_its_instance(stamp, status):
    commit = CommitFacts(id=FORGED, parent=INPUT, stamp=stamp)
    verdict = judge(commit, record(status), ASKING)
    if stamp.workflow_instance_id != "w1" or stamp.expected_head != INPUT:
        assert verdict is Verdict.FOREIGN
    assert verdict is not Verdict.EFFECTIVE, "no try is recorded COMPLETED with it"
    assert judge(commit, NO_RECORD, ASKING) is Verdict.FOREIGN


@hunt
@given(stamp=forgeries, status=statuses)
def test_nothing_is_adopted_but_what_a_try_of_this_task_could_have_made(stamp, status):
    """Whatever the stamp says, the plan is one of ours, and adopts only with kin, input, params and code the same."""
    plans = [plan_start(history(stamp), record(status), ASKING)]
    plans += [plan_publication(history(stamp), record(status), ASKING, changed=changed) for changed in (True, False)]
    for plan in plans:
        assert plan is None or isinstance(plan, Complete | Seal | Publish | Refuse)
        if isinstance(plan, Seal) and plan.source is not None:
            made_by = (stamp.task_id, stamp.scheduled_time)
            assert made_by in {("t0", 1_000), ("t1", 2_000)}
            assert (stamp.input_ref, stamp.params_digest, stamp.code_digest) == (INPUT, "sha256:01", "sha256:02")
            assert stamp.workflow_instance_id == "w1"
            assert stamp.expected_head == INPUT
            assert stamp.result_exact


@hunt
@given(pairs=forged_pairs | st.dictionaries(texts, texts, max_size=4))
def test_pairs_are_a_whole_stamp_or_none(pairs):
    stamp = from_pairs(pairs)
    if stamp is not None:
        assert from_pairs(to_pairs(stamp)) == stamp


@hunt
@given(pairs=forged_pairs, content=texts, meta_range=texts)
def test_metadata_of_a_lakefs_commit_counts_only_for_the_content_that_it_names(pairs, content, meta_range):
    metadata = {f"perago.{name}": value for name, value in pairs.items()} | {"perago.content": content}
    commit = Commit("c", ("p",), meta_range, "message", "somebody", 0, metadata)
    stamp = stamp_of(commit)
    assert stamp is None or content == meta_range
    assert staged_stamp_of(commit) is None


@hunt
@given(lines=st.lists(texts | st.builds("Perago-{}: {}".format, st.sampled_from(sorted(PAIRS)), texts), max_size=12))
def test_a_message_of_a_git_commit_is_read_or_passed_over(lines):
    pairs = _pairs("\n".join(["subject", "", *lines]))
    assert from_pairs(pairs) is None or len(pairs) >= len(lines) - 1


@hunt
@given(subject=texts, task=texts, workflow=texts)
def test_names_in_a_stamp_do_not_forge_the_message_that_carries_it(subject, task, workflow):
    stamp = replace(GENUINE, task=task, workflow_instance_id=workflow, reference_task_name=subject)
    pairs = _pairs(compose(stamp, "subject", "tree"))
    assert pairs.pop("tree") == "tree"
    assert from_pairs(pairs) == stamp

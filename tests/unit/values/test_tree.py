"""The record of a workflow and its sub-workflows, what it costs to read, and the verdicts by it."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from perago.attempt import fence, membership
from perago.attempt.fence import Applicant, Verdict
from perago.cli.commands.log import as_object, describe_entry
from perago.errors import PublishFenceError, TaskNotFoundError
from perago.ports import LogEntry, SystemClock
from perago.testing import MemoryEngine
from perago.testing.contract.bench import make_stamp
from perago.testing.workflow import Step
from perago.values.history import CommitFacts, History
from perago.values.models import AttemptIdentity, run_branch_name
from perago.values.record import NO_RECORD, InstanceRecord, TryRecord, TryStatus, paths_around
from perago.values.tree import WorkflowInstance, read_tree
from perago.worker.attempts.port import Question
from perago.worker.executor.wire import Ask, record_from_json, record_to_json

DONE, LIVE, GONE = TryStatus.COMPLETED, TryStatus.IN_PROGRESS, TryStatus.CANCELED


def a_try(task_id, name, status=LIVE, ref=None, **values):
    output = None if ref is None else {"workspace": {"ref": ref}}
    return TryRecord(
        task_id=task_id,
        reference_task_name=name,
        retry_count=0,
        scheduled_time=int(task_id),
        poll_count=1,
        status=status,
        output=output,
        **values,
    )


def sub(task_id, child, status=LIVE, name="s", **values):
    return a_try(task_id, name, status, sub_workflow=child, **values)


class Engine:
    def __init__(self, *instances):
        self.instances = {instance.workflow_id: instance for instance in instances}
        self.read = []

    def __call__(self, workflow_id):
        self.read.append(workflow_id)
        if workflow_id not in self.instances:
            raise TaskNotFoundError(workflow_id)
        return self.instances[workflow_id]

    def record(self, workflow_id, *paths):
        self.read.clear()
        return read_tree(self, workflow_id, paths)


def child(workflow_id, task_id, *tries, parent="root"):
    return WorkflowInstance(workflow_id, tries, parent, task_id)


# ---- what is read


def test_a_workflow_without_sub_workflows_is_read_once():
    engine = Engine(WorkflowInstance("root", (a_try("1", "a"), a_try("2", "b"))))
    record = engine.record("root")
    assert engine.read == ["root"]
    assert (record.parts, record.unread) == ({}, {})
    assert [entry.reference_task_name for entry in record.tries] == ["a", "b"]


def test_sub_workflows_that_nothing_asks_for_are_not_read():
    engine = Engine(
        WorkflowInstance("root", (sub("1", "c"), sub("2", "d", name="t"))),
        child("c", "1", a_try("3", "x")),
        child("d", "2", a_try("4", "x")),
    )
    assert engine.record("root").unread == {"s": "c", "t": "d"}
    assert engine.read == ["root"]
    record = engine.record("root", "t/x", "elsewhere/x")
    assert engine.read == ["root", "d"]
    assert (record.parts, record.unread) == ({"d": "t"}, {"s": "c"})


def test_a_task_of_a_sub_workflow_takes_a_read_for_each_workflow_around_it():
    engine = Engine(
        WorkflowInstance("root", (sub("1", "c"),), name="nightly"),
        child("c", "1", sub("2", "d", name="deep")),
        child("d", "2", a_try("3", "x"), parent="c"),
    )
    record = engine.record("d")
    assert record.workflow == "nightly"
    assert record_from_json(record_to_json(record)).workflow == "nightly"
    assert engine.read == ["d", "c", "root"]
    assert [entry.reference_task_name for entry in record.tries] == ["s", "s/deep", "s/deep/x"]
    assert record.path_of("d", "x") == "s/deep/x"
    assert engine.record("root", "s/deep/x").parts == {"c": "s", "d": "s/deep"}


def test_an_instance_that_the_engine_no_longer_has_stays_unread():
    engine = Engine(WorkflowInstance("root", (sub("1", "c", DONE),)))
    assert engine.record("root", "s/x").unread == {"s": "c"}
    assert engine.read == ["root", "c"]


def test_without_its_parent_there_is_no_record():
    with pytest.raises(TaskNotFoundError):
        Engine(child("c", "1", a_try("2", "x"))).record("c")


def test_a_workflow_that_is_its_own_parent_is_read_once():
    engine = Engine(child("c", "1", a_try("2", "x"), parent="c"))
    assert engine.record("c").workflow_instance_id == "c"
    assert engine.read == ["c"]


# ---- what counts


def test_of_several_instances_that_of_the_last_try_counts():
    engine = Engine(
        WorkflowInstance("root", (sub("1", "c", GONE), sub("2", "d", retried_task_id="1"))),
        child("c", "1", a_try("3", "x", DONE, "X")),
        child("d", "2", a_try("4", "x")),
    )
    record = engine.record("root", "s/x")
    assert [entry.task_id for entry in record.of("s/x")] == ["4"]
    assert record.has_instance("d")
    assert not record.has_instance("c")
    assert not engine.record("c").has_instance("c")


def test_an_instance_counts_before_it_is_attached_to_its_try():
    engine = Engine(WorkflowInstance("root", (sub("1", ""),)), child("c", "1", a_try("3", "x")))
    assert engine.record("c").parts == {"c": "s"}
    assert engine.record("root", "s/x").unread == {"s": ""}


def test_a_try_that_ended_without_an_instance_has_none_to_read():
    engine = Engine(WorkflowInstance("root", (sub("1", "", TryStatus.FAILED),)))
    assert engine.record("root", "s/x").unread == {}


def test_paths_around_a_task():
    assert (paths_around("a"), paths_around("a/b/c")) == ((), ("a", "a/b"))


# ---- verdicts


def commit(task_id, path="s/x", root="root", instance="c"):
    stamp = make_stamp("0", 1)
    stamp = replace(
        stamp,
        workflow_instance_id=instance,
        reference_task_name=path.rpartition("/")[2],
        task_id=task_id,
        scheduled_time=int(task_id),
        expected_head="0",
    )
    return CommitFacts("1", "0", stamp if root is None else stamp.in_tree((root, path)))


def asking(name="b", instance="root"):
    identity = AttemptIdentity(workflow_instance_id=instance, task_id="asking", retry_count=0, scheduled_time=99)
    return Applicant(
        identity=identity,
        reference_task_name=name,
        input_ref="0",
        params_digest="",
        code_digest="",
        isolation="exclusive",
    )


def record(*tries, **values):
    return InstanceRecord("root", tries, **values)


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        (record(sub("1", "c"), a_try("3", "s/x", DONE, "1"), parts={"c": "s"}), Verdict.EFFECTIVE),
        (record(sub("1", "c"), a_try("3", "s/x"), parts={"c": "s"}), Verdict.FOREIGN),
        (record(sub("1", "d"), a_try("4", "s/x"), parts={"d": "s"}), Verdict.ABANDONED),
        (record(sub("1", ""), unread={"s": ""}), Verdict.FOREIGN),
        (record(sub("1", "c"), unread={"s": "c"}), Verdict.FOREIGN),
        (record(), Verdict.ABANDONED),
        (
            record(sub("1", "c", TryStatus.COMPLETED_WITH_ERRORS), a_try("3", "s/x", GONE), parts={"c": "s"}),
            Verdict.ABANDONED,
        ),
        (InstanceRecord("another"), Verdict.FOREIGN),
    ],
    ids=["completed", "live", "replaced", "not attached", "not kept", "removed", "passed over", "another workflow"],
)
def test_a_commit_of_a_sub_workflow_is(seen, verdict):
    assert fence.judge(commit("3"), seen, asking()) is verdict


def test_a_task_knows_what_its_name_published_in_an_instance_before():
    seen = record(sub("1", "d"), a_try("4", "s/x"), parts={"d": "s"})
    me = asking("x", "d").in_tree(seen)
    assert me.logical_task == ("root", "s/x")
    found = History("1", "0", (commit("3"),))
    plan = fence.plan_publication(found, seen, me, changed=True)
    assert plan == fence.Publish("1", ("1",))


def test_a_stamp_of_a_version_that_knew_no_trees_is_of_its_instance():
    seen = record(sub("1", "c"), a_try("3", "s/x", DONE, "1"), parts={"c": "s"})
    old = History("1", "0", (commit("3", root=None),))
    (found,) = fence.in_tree(old, seen).commits
    assert found.stamp.logical_task == ("root", "s/x")
    assert fence.judge(found, seen, asking()) is Verdict.EFFECTIVE
    assert fence.in_tree(old, record()) is old


def test_only_what_has_published_is_read():
    found = History("1", "0", (commit("3"), commit("5", "t/x", root="another")))
    seen = record(sub("1", "c"), sub("2", "d", name="t"), unread={"s": "c", "t": "d"})
    assert fence.unread_paths(found, seen) == {"s/x"}


def test_an_attempt_in_a_replaced_instance_is_refused():
    seen = record(sub("1", "d"), parts={"d": "s"})
    fence.assert_instance_counts(seen, asking("x", "d"))
    fence.assert_instance_counts(NO_RECORD, asking("x", "c"))
    with pytest.raises(PublishFenceError, match=r"workflow c, .* that workflow root has since begun again"):
        fence.assert_instance_counts(seen, asking("x", "c"))


# ---- the branch of a transactional run


def branch_of(instance):
    return run_branch_name(
        AttemptIdentity(workflow_instance_id=instance, task_id="begin", retry_count=0, scheduled_time=1)
    )


DEEP = record(parts={"c": "s", "d": "s/t", "e": "u"})


@pytest.mark.parametrize(
    ("instance", "of", "expected"),
    [
        ("d", "d", True),
        ("d", "c", True),
        ("d", "root", True),
        ("c", "d", False),
        ("d", "e", False),
        ("d", "another", False),
        ("replaced", "root", False),
    ],
)
def test_only_the_tasks_within_a_run_publish_to_its_branch(instance, of, expected):
    assert membership.may_publish(branch_of(of), instance, DEEP) is expected
    assert membership.may_publish("main", instance, DEEP)


@pytest.mark.parametrize(
    ("path", "root", "instance", "expected"),
    [
        ("s/x", "root", "root", True),
        ("s/x", "root", "c", True),
        ("u/x", "root", "c", False),
        ("s/x", "another", "root", False),
    ],
)
def test_a_commit_on_a_run_s_branch_is_of_its_tree(path, root, instance, expected):
    made = commit("3", path, root, "replaced")
    assert membership.is_of_run(made, instance, DEEP) is expected
    assert not membership.is_of_run(CommitFacts("1", "0"), instance, DEEP)


# ---- what is shown


def test_the_log_names_a_task_of_a_sub_workflow_by_its_root_and_path():
    def shown(stamp):
        now = datetime(2026, 11, 28, tzinfo=UTC)
        entry = LogEntry(
            id="1", parents=("0",), time=now, author="a", subject="s", added=1, modified=0, deleted=0, stamp=stamp
        )
        return describe_entry(entry)[0], as_object(entry)["stamp"]

    within, document = shown(commit("3").stamp)
    assert within.endswith(", run root, s/x")
    assert (document["root_workflow_id"], document["path"], document["workflow_instance_id"]) == ("root", "s/x", "c")
    alone, document = shown(commit("3", "x", None, "root").stamp)
    assert alone.endswith(", run root")
    assert (document["root_workflow_id"], document["path"]) == (None, None)


# ---- on its way to an executor


def test_a_record_passes_to_an_executor_whole():
    seen = record(sub("1", "c"), a_try("3", "s/x", DONE, "X"), parts={"c": "s"}, unread={"t": ""})
    assert record_from_json(json.loads(json.dumps(record_to_json(seen)))) == seen


def test_an_executor_s_question_names_the_paths_that_it_needs():
    engine = MemoryEngine()
    step = Step(task_name="inner", reference_task_name="x", input_data={})
    engine.schedule_sub_workflow("s", lambda _: [step])
    engine.schedule("beside", {})
    attempt = engine.poll("beside")
    for paths, found in [((), []), (("s/x",), ["s/x"])]:
        ask = Ask(number=1, what="record", paths=paths)
        question = Question(Ask.model_validate_json(ask.model_dump_json()), SystemClock())
        answer = question.put(engine, attempt, patient=False)
        names = [entry.reference_task_name for entry in record_from_json(answer.value).tries]
        assert [name for name in names if "/" in name] == found

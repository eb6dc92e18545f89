"""A workflow with sub-workflows on a real Conductor: a publication belongs to the tree, whichever instance made it."""

from __future__ import annotations

from conductor_scene import after, on_workspace
from perago.attempt.report import Reported
from perago.values.models import WorkspaceInput


def nested(workflow, reference, workspace="${workflow.input.workspace}"):
    return {
        "name": reference,
        "taskReferenceName": reference,
        "type": "SUB_WORKFLOW",
        "inputParameters": {"workspace": workspace, "params": "${workflow.input.params}"},
        "subWorkflowParam": {"name": workflow, "version": 1},
    }


def test_a_sub_workflow_hands_its_commit_to_the_task_after_it(scene):
    """Its tasks are of another workflow instance; what counts between them is the commit."""
    inner, outer = scene.step("inner"), scene.step("outer")
    sub = scene.define(on_workspace(inner, "inner"), outputParameters={"workspace": after("inner")})
    flow = scene.define(nested(sub, "sub"), on_workspace(outer, "outer", after("sub")))
    workflow = scene.start(flow)
    first = scene.take(inner)
    below = scene.run(inner, first)
    above = scene.run(outer, scene.take(outer))
    assert first.workflow_instance_id != workflow
    assert scene.status(workflow) == "COMPLETED"
    assert scene.line() == [above.ref, below.ref]
    assert scene.files() == {"inner": f"text {below.run}", "outer": f"text {above.run}"}


def pipeline(scene):
    """`first`, then a sub-workflow of `one` and `two`, then `last`."""
    steps = [scene.step(name, retries=0) for name in ("first", "one", "two", "last")]
    first, one, two, last = steps
    sub = scene.define(
        on_workspace(one, "one"),
        on_workspace(two, "two", after("one")),
        outputParameters={"workspace": after("two")},
    )
    inner = nested(sub, "sub", after("first"))
    flow = scene.define(on_workspace(first, "first"), inner, on_workspace(last, "last", after("sub")))
    return steps, scene.start(flow)


def run_all(scene, *steps):
    return [scene.run(step, scene.take(step)) for step in steps]


def assert_is_outcome_of(scene, ended, *names):
    """The branch has what these attempts wrote, and nothing else."""
    assert [entry.status for entry in ended] == ["COMPLETED"] * len(ended)
    assert scene.line()[0] == ended[-1].ref
    assert scene.files() == {name: f"text {entry.run}" for name, entry in zip(names, ended, strict=True)}


def stamps(scene):
    base = WorkspaceInput.model_validate(scene.workspace())
    return [commit.stamp for commit in scene.store.read_history(base).commits]


def test_a_stamp_names_the_root_and_the_path_from_there(scene):
    (first, one, two, last), workflow = pipeline(scene)
    run_all(scene, first)
    attempt = scene.take(one)
    scene.run(one, attempt)
    run_all(scene, two, last)
    assert scene.status(workflow) == "COMPLETED"
    found = [stamp.logical_task for stamp in reversed(stamps(scene))]
    assert found == [(workflow, name) for name in ("first", "sub/one", "sub/two", "last")]
    stamp = stamps(scene)[2]
    assert (stamp.workflow_instance_id, stamp.reference_task_name) == (attempt.workflow_instance_id, "one")
    assert stamps(scene)[0].root_workflow_id is None


def test_a_sub_workflow_begun_anew_after_a_cancel_replaces_what_it_published(scene):
    (first, one, two, last), workflow = pipeline(scene)
    (begun, _) = run_all(scene, first, one)
    scene.take(two)
    scene.api.terminate(workflow)
    scene.api.retry(workflow)
    ended = run_all(scene, one, two, last)
    assert scene.status(workflow) == "COMPLETED"
    assert_is_outcome_of(scene, [begun, *ended], "first", "one", "two", "last")


def test_a_sub_workflow_begun_anew_after_a_restart_replaces_what_it_published(scene):
    (first, one, two, last), workflow = pipeline(scene)
    run_all(scene, first, one)
    failing = scene.take(two)
    owner = {"taskId": failing.task_id, "workflowInstanceId": failing.workflow_instance_id}
    scene.api.update(owner, "FAILED_WITH_TERMINAL_ERROR")
    assert scene.status(workflow) == "FAILED"
    scene.api.restart(workflow)
    ended = run_all(scene, first, one, two, last)
    assert scene.status(workflow) == "COMPLETED"
    assert_is_outcome_of(scene, ended, "first", "one", "two", "last")


def test_a_rerun_from_before_a_sub_workflow_replaces_it_too(scene):
    (first, one, two, last), workflow = pipeline(scene)
    attempt = scene.take(first)
    scene.run(first, attempt)
    run_all(scene, one, two, last)
    assert scene.status(workflow) == "COMPLETED"
    scene.api.rerun(workflow, attempt.task_id)
    again = [scene.run(first, scene.take(first))]
    assert scene.files(again[0].ref) == {"first": f"text {again[0].run}"}
    again += run_all(scene, one, two, last)
    assert scene.status(workflow) == "COMPLETED"
    assert_is_outcome_of(scene, again, "first", "one", "two", "last")


def test_a_replaced_instance_that_a_rerun_hands_out_again_is_refused_and_the_workflow_ends(scene):
    """Conductor starts another instance for a try of the sub-workflow that had been retried, and waits for its end."""
    (first, one, two, last), workflow = pipeline(scene)
    (begun,) = run_all(scene, first)
    scene.take(one)
    scene.api.terminate(workflow)
    scene.api.retry(workflow)
    ended = run_all(scene, one, two)
    attempt = scene.take(last)
    scene.run(last, attempt)
    assert scene.status(workflow) == "COMPLETED"
    scene.api.rerun(workflow, attempt.task_id)
    again = scene.run(last, scene.take(last))
    refused = scene.run(one, scene.take(one))
    assert (refused.body_ran, refused.reported) == (False, Reported.RECORDED)
    assert refused.result.status == "FAILED"
    assert "begun again" in refused.result.reason_for_incompletion
    assert scene.status(workflow) == "COMPLETED"
    assert_is_outcome_of(scene, [begun, *ended, again], "first", "one", "two", "last")


def test_a_zombie_of_a_replaced_instance_publishes_nothing(scene):
    (first, one, two, last), workflow = pipeline(scene)
    (begun,) = run_all(scene, first)
    zombie = scene.in_background(one, scene.take(one), "stage")
    scene.api.terminate(workflow)
    scene.api.retry(workflow)
    ended = run_all(scene, one)
    late = zombie.go_on()
    assert late.reported is Reported.STALE
    ended += run_all(scene, two, last)
    assert scene.status(workflow) == "COMPLETED"
    assert_is_outcome_of(scene, [begun, *ended], "first", "one", "two", "last")


def test_a_sub_workflow_within_another_is_of_the_same_tree(scene):
    inner, last = scene.step("inner"), scene.step("last", retries=0)
    deep = scene.define(on_workspace(inner, "inner"), outputParameters={"workspace": after("inner")})
    middle = scene.define(nested(deep, "deep"), outputParameters={"workspace": after("deep")})
    workflow = scene.start(scene.define(nested(middle, "middle"), on_workspace(last, "last", after("middle"))))
    (before,) = run_all(scene, inner)
    scene.take(last)
    scene.api.terminate(workflow)
    scene.api.restart(workflow)
    ended = run_all(scene, inner, last)
    assert scene.status(workflow) == "COMPLETED"
    assert [stamp.path for stamp in stamps(scene)] == [None, "middle/deep/inner", "middle/deep/inner"]
    assert stamps(scene)[1].abandoned == (before.ref,)
    assert_is_outcome_of(scene, ended, "inner", "last")


def test_a_sub_workflow_beside_a_task_is_replaced_and_the_task_is_kept(scene):
    one, two = (scene.step(name, retries=0, isolation="snapshot") for name in ("one", "two"))
    beside = scene.step("beside", retries=0, isolation="snapshot")
    sub = scene.define(on_workspace(one, "one"), on_workspace(two, "two", after("one")))
    fork = {
        "name": "fork",
        "taskReferenceName": "fork",
        "type": "FORK_JOIN",
        "forkTasks": [[nested(sub, "sub")], [on_workspace(beside, "beside")]],
    }
    join = {"name": "join", "taskReferenceName": "join", "type": "JOIN", "joinOn": ["sub", "beside"]}
    workflow = scene.start(scene.define(fork, join))
    run_all(scene, one)
    scene.take(two)
    (kept,) = run_all(scene, beside)
    scene.api.terminate(workflow)
    scene.api.retry(workflow)
    ended = run_all(scene, one)
    assert scene.files(ended[0].ref) == {"beside": f"text {kept.run}", "one": f"text {ended[0].run}"}
    ended += run_all(scene, two)
    assert scene.status(workflow) == "COMPLETED"
    assert_is_outcome_of(scene, [kept, *ended], "beside", "one", "two")

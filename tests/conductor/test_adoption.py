"""What becomes of the branch when Conductor hands a task out again: adopted, refused, or computed anew and replaced."""

import pytest

from conductor_scene import after, on_workspace, short_lease
from perago.attempt.report import Reported


def one_task(scene, **settings):
    """A workflow of one task."""
    step = scene.step(**settings)
    return step, scene.define(on_workspace(step, "build"))


# ---- retries and timeouts


def test_a_retry_after_a_lost_report_adopts_what_was_published(scene):
    """The branch keeps the first try's commit; a seal is put on top of it."""
    step, flow = one_task(scene, response_seconds=short_lease())
    workflow = scene.start(flow)
    first = scene.take(step)
    lost = scene.run(step, first, report=False)
    second = scene.take_deciding(step, workflow)
    assert (second.retried_task_id, second.retry_count) == (first.task_id, 1)
    ended = scene.run(step, second)
    assert (ended.status, ended.ref, ended.body_ran, ended.reported) == (
        "COMPLETED",
        lost.ref,
        False,
        Reported.RECORDED,
    )
    assert scene.status(workflow) == "COMPLETED"
    assert scene.files() == {"out": f"text {lost.run}"}
    seal, published = scene.line()
    assert (published, scene.is_empty(seal), step.runs) == (lost.ref, True, [lost.run])


@pytest.mark.parametrize("phase", ["stage", "publish"])
def test_a_zombie_that_wakes_after_its_retry_published_is_refused(scene, phase):
    """Its response timeout passed in mid-attempt. The branch has the retry's commit alone."""
    step, flow = one_task(scene, response_seconds=short_lease())
    workflow = scene.start(flow)
    zombie = scene.in_background(step, scene.take(step), phase)
    retry = scene.run(step, scene.take_deciding(step, workflow))
    late = zombie.go_on()
    assert (retry.status, retry.reported) == ("COMPLETED", Reported.RECORDED)
    assert (late.status, late.reported) == ("FAILED", Reported.STALE)
    assert "no longer belongs to this attempt" in late.result.reason_for_incompletion
    assert scene.status(workflow) == "COMPLETED"
    assert scene.line() == [retry.ref]
    assert scene.files() == {"out": f"text {retry.run}"}


def test_a_zombie_that_publishes_before_its_retry_looks_is_taken_over(scene):
    """The retry completes with the zombie's commit; the zombie itself reports nothing."""
    step, flow = one_task(scene, response_seconds=short_lease())
    workflow = scene.start(flow)
    zombie = scene.in_background(step, scene.take(step), "clean")
    attempt = scene.take_deciding(step, workflow)
    retry = scene.run(step, attempt)
    late = zombie.go_on()
    assert (retry.body_ran, retry.ref, retry.reported) == (False, late.ref, Reported.RECORDED)
    assert late.reported is Reported.STALE
    assert scene.status(workflow) == "COMPLETED"
    assert scene.line()[-1] == late.ref
    assert scene.files() == {"out": f"text {late.run}"}


# ---- one task id, two deliveries


def test_of_two_deliveries_of_one_task_the_later_publishes(scene):
    """It was given back while the first worker still ran it. The branch has the second delivery's commit alone."""
    step, flow = one_task(scene)
    workflow = scene.start(flow)
    first = scene.take(step)
    running = scene.in_background(step, first, "stage")
    assert scene.engine.give_back(first)
    second = scene.take(step)
    assert (second.task_id, second.poll_count) == (first.task_id, 2)
    again = scene.run(step, second)
    late = running.go_on()
    assert (again.status, again.reported) == ("COMPLETED", Reported.RECORDED)
    assert (late.status, late.reported) == ("FAILED", Reported.STALE)
    assert scene.status(workflow) == "COMPLETED"
    assert scene.line() == [again.ref]


def test_a_second_delivery_adopts_what_the_first_published(scene):
    """The branch keeps the first delivery's commit; a seal is put on top of it."""
    step, flow = one_task(scene)
    workflow = scene.start(flow)
    first = scene.take(step)
    lost = scene.run(step, first, report=False)
    assert scene.engine.give_back(first)
    again = scene.run(step, scene.take(step))
    assert (again.ref, again.body_ran) == (lost.ref, False)
    assert scene.status(workflow) == "COMPLETED"
    seal, published = scene.line()
    assert (published, scene.is_empty(seal)) == (lost.ref, True)


# ---- tasks that change nothing


@pytest.mark.parametrize("read_only", [False, True])
def test_a_task_that_changes_nothing_completes_with_its_input_and_writes_nothing(scene, read_only):
    step, flow = one_task(scene, writes=False, read_only=read_only)
    workflow = scene.start(flow)
    ended = scene.run(step, scene.take(step))
    assert (ended.ref, ended.reported) == (scene.base, Reported.RECORDED)
    assert scene.status(workflow) == "COMPLETED"
    assert scene.line() == []


def test_a_retry_that_changes_nothing_is_sealed(scene):
    """The first try may be alive still: the seal bars what it might publish."""
    step, flow = one_task(scene, writes=False, response_seconds=short_lease())
    workflow = scene.start(flow)
    scene.run(step, scene.take(step), report=False)
    retry = scene.run(step, scene.take_deciding(step, workflow))
    assert (retry.ref, retry.body_ran) == (scene.base, True)
    assert scene.status(workflow) == "COMPLETED"
    (seal,) = scene.line()
    assert scene.is_empty(seal)


def test_a_rerun_of_a_task_that_changed_nothing_computes_again(scene):
    step, flow = one_task(scene, writes=False)
    workflow = scene.start(flow)
    first = scene.take(step)
    scene.run(step, first)
    scene.status(workflow)
    scene.api.rerun(workflow, first.task_id)
    again = scene.run(step, scene.take(step))
    assert (again.ref, again.body_ran) == (scene.base, True)
    assert scene.status(workflow) == "COMPLETED"
    assert scene.line() == []


# ---- what a person does


def test_a_workflow_retry_adopts_what_the_failed_try_published(scene):
    """The workflow had failed with the task's commit on the branch already. The new try completes with it."""
    step, flow = one_task(scene, response_seconds=short_lease(), retries=0)
    workflow = scene.start(flow)
    first = scene.take(step)
    lost = scene.run(step, first, report=False)
    scene.end_by_timeout(workflow)
    scene.api.retry(workflow)
    second = scene.take(step)
    assert (second.task_id != first.task_id, second.retried_task_id) == (True, first.task_id)
    again = scene.run(step, second)
    assert (again.ref, again.body_ran) == (lost.ref, False)
    assert scene.status(workflow) == "COMPLETED"
    assert scene.files() == {"out": f"text {lost.run}"}


def test_a_workflow_retry_leaves_the_tasks_before_alone(scene):
    """The second task failed for good; its new try goes on from the first one's commit."""
    one, two = scene.step("one"), scene.step("two", retries=0)
    flow = scene.define(on_workspace(one, "one"), on_workspace(two, "two", after("one")))
    workflow = scene.start(flow)
    before = scene.run(one, scene.take(one))
    failing = scene.take(two)
    scene.api.update({"taskId": failing.task_id, "workflowInstanceId": workflow}, "FAILED_WITH_TERMINAL_ERROR")
    assert scene.status(workflow) == "FAILED"
    scene.api.retry(workflow)
    again = scene.run(two, scene.take(two))
    assert scene.status(workflow) == "COMPLETED"
    assert scene.line() == [again.ref, before.ref]
    assert scene.files() == {"one": f"text {before.run}", "two": f"text {again.run}"}


def test_a_rerun_computes_again_and_replaces(scene):
    """The same task id with a new scheduled time. Both commits stay in the history, the later one's content counts."""
    step, flow = one_task(scene)
    workflow = scene.start(flow)
    first = scene.take(step)
    before = scene.run(step, first)
    assert scene.status(workflow) == "COMPLETED"
    scene.api.rerun(workflow, first.task_id)
    second = scene.take(step)
    assert (second.task_id, second.retry_count, second.poll_count) == (first.task_id, 0, first.poll_count)
    assert second.scheduled_time > first.scheduled_time
    again = scene.run(step, second)
    assert (again.status, again.body_ran, again.reported) == ("COMPLETED", True, Reported.RECORDED)
    assert scene.status(workflow) == "COMPLETED"
    assert scene.line() == [again.ref, before.ref]
    assert scene.files() == {"out": f"text {again.run}"}


def test_a_rerun_while_the_old_execution_still_runs_refuses_that_one(scene):
    """The workflow was ended under it and rerun: same task id, retry count and poll count."""
    step, flow = one_task(scene)
    workflow = scene.start(flow)
    first = scene.take(step)
    old = scene.in_background(step, first, "publish")
    scene.api.terminate(workflow)
    scene.api.rerun(workflow, first.task_id)
    again = scene.run(step, scene.take(step))
    late = old.go_on()
    assert (late.status, late.reported) == ("FAILED", Reported.STALE)
    assert scene.status(workflow) == "COMPLETED"
    assert scene.line() == [again.ref]


def test_a_failed_try_that_a_rerun_of_a_later_task_hands_out_completes_as_the_one_that_did(scene):
    """It computes nothing, and the branch has no commit of it."""
    one, two = scene.step("one"), scene.step("two")
    flow = scene.define(on_workspace(one, "one"), on_workspace(two, "two", after("one")))
    workflow = scene.start(flow)
    failing = scene.take(one)
    scene.api.update({"taskId": failing.task_id, "workflowInstanceId": workflow}, "FAILED")
    before = scene.run(one, scene.take(one))
    last = scene.take(two)
    replaced = scene.run(two, last)
    assert scene.status(workflow) == "COMPLETED"
    scene.api.rerun(workflow, last.task_id)
    anew = scene.run(two, scene.take(two))
    again = scene.take(one)
    assert again.task_id == failing.task_id
    ended = scene.run(one, again)
    assert (ended.status, ended.ref, ended.run, ended.body_ran) == ("COMPLETED", before.ref, before.run, False)
    assert ended.reported == Reported.RECORDED
    assert scene.status(workflow) == "COMPLETED"
    assert scene.line() == [anew.ref, replaced.ref, before.ref]


def test_a_restart_computes_again_and_replaces(scene):
    """New task ids; those of the old ones are gone from the record, and their commits are abandoned."""
    one, two = scene.step("one"), scene.step("two")
    flow = scene.define(on_workspace(one, "one"), on_workspace(two, "two", after("one")))
    workflow = scene.start(flow)
    old = [scene.run(one, scene.take(one)), scene.run(two, scene.take(two))]
    assert scene.status(workflow) == "COMPLETED"
    scene.api.restart(workflow)
    new = [scene.run(one, scene.take(one)), scene.run(two, scene.take(two))]
    assert scene.status(workflow) == "COMPLETED"
    assert [ended.body_ran for ended in new] == [True, True]
    assert scene.line() == [new[1].ref, new[0].ref, old[1].ref, old[0].ref]
    assert scene.files(new[0].ref) == {"one": f"text {new[0].run}"}
    assert scene.files() == {"one": f"text {new[0].run}", "two": f"text {new[1].run}"}


def test_a_restart_does_not_replace_what_a_person_committed_since(scene):
    step, flow = one_task(scene)
    workflow = scene.start(flow)
    before = scene.run(step, scene.take(step))
    assert scene.status(workflow) == "COMPLETED"
    by_hand = scene.repository.commit_files("main", {"notes": b"mine"})
    scene.api.restart(workflow)
    refused = scene.run(step, scene.take(step))
    assert (refused.status, refused.body_ran) == ("FAILED", False)
    assert scene.line() == [by_hand, before.ref]
    assert scene.files() == {"out": f"text {before.run}", "notes": "mine"}


# ---- shapes of workflows


def loop(step, rounds):
    """A loop whose rounds each go on from what the one before left."""
    condition = f"if ($.rounds['iteration'] < {rounds}) {{ true; }} else {{ false; }}"
    return [
        variable("begin", "${workflow.input.workspace}"),
        {
            "name": "rounds",
            "taskReferenceName": "rounds",
            "type": "DO_WHILE",
            "inputParameters": {},
            "loopCondition": condition,
            "loopOver": [
                on_workspace(step, "build", "${workflow.variables.workspace}"),
                variable("next", after("build")),
            ],
        },
    ]


def variable(reference, workspace):
    return {
        "name": reference,
        "taskReferenceName": reference,
        "type": "SET_VARIABLE",
        "inputParameters": {"workspace": workspace},
    }


def test_rounds_of_a_loop_are_tasks_of_their_own(scene):
    """Each publishes on top of the one before. A retry within a round adopts that round's commit, and no other."""
    step = scene.step(response_seconds=short_lease())
    workflow = scene.start(scene.define(*loop(step, 3)))
    attempts = [scene.take(step)]
    ended = [scene.run(step, attempts[0])]
    attempts.append(scene.take_deciding(step, workflow))
    ended.append(scene.run(step, attempts[1], report=False))
    attempts.append(scene.take_deciding(step, workflow))
    retry = scene.run(step, attempts[2])
    attempts.append(scene.take_deciding(step, workflow))
    ended.append(scene.run(step, attempts[3]))
    scene.api.decide(workflow)
    assert scene.status(workflow) == "COMPLETED"
    assert [attempt.reference_task_name for attempt in attempts] == ["build__1", "build__2", "build__2", "build__3"]
    assert [attempt.iteration for attempt in attempts] == [1, 2, 2, 3]
    assert (retry.body_ran, retry.ref) == (False, ended[1].ref)
    third, _seal, second, first = scene.line()
    assert [first, second, third] == [entry.ref for entry in ended]
    assert scene.files() == {"out": f"text {ended[2].run}"}


def fork(*steps):
    """A fork whose branches begin at one commit."""
    references = [f"branch_{number}" for number in range(len(steps))]
    forked = [[on_workspace(step, reference)] for step, reference in zip(steps, references, strict=True)]
    return [
        {"name": "fork", "taskReferenceName": "fork", "type": "FORK_JOIN", "forkTasks": forked},
        {"name": "join", "taskReferenceName": "join", "type": "JOIN", "joinOn": references},
    ]


def test_forks_on_one_branch_are_refused_where_the_isolation_is_serializable(scene):
    """The first to publish has it; the other one's try fails, and leaves the branch as it is."""
    steps = [scene.step("left", retries=0), scene.step("right", retries=0)]
    workflow = scene.start(scene.define(*fork(*steps)))
    attempts = [scene.take(step) for step in steps]
    first = scene.run(steps[0], attempts[0])
    second = scene.run(steps[1], attempts[1])
    assert (first.status, second.status) == ("COMPLETED", "FAILED")
    assert second.reported is Reported.RECORDED
    assert scene.status(workflow) == "FAILED"
    assert scene.line() == [first.ref]
    assert scene.files() == {"left": f"text {first.run}"}


def test_forks_on_one_branch_are_merged_where_the_isolation_is_snapshot(scene):
    """Both began at one commit and wrote different files: the second is merged with the first."""
    steps = [scene.step(name, isolation="snapshot") for name in ("left", "right")]
    workflow = scene.start(scene.define(*fork(*steps)))
    attempts = [scene.take(step) for step in steps]
    halted = [scene.in_background(step, attempt, "stage") for step, attempt in zip(steps, attempts, strict=True)]
    first, second = (entry.go_on() for entry in halted)
    assert (first.status, second.status) == ("COMPLETED", "COMPLETED")
    assert scene.status(workflow) == "COMPLETED"
    assert scene.line() == [second.ref, first.ref]
    assert scene.files() == {"left": f"text {first.run}", "right": f"text {second.run}"}


def test_forks_on_one_file_conflict_also_where_the_isolation_is_snapshot(scene):
    steps = [scene.step("same", isolation="snapshot", retries=0) for _ in range(2)]
    workflow = scene.start(scene.define(*fork(*steps)))
    attempts = [scene.take(step) for step in steps]
    halted = [scene.in_background(step, attempt, "stage") for step, attempt in zip(steps, attempts, strict=True)]
    first, second = (entry.go_on() for entry in halted)
    assert (first.status, second.status) == ("COMPLETED", "FAILED")
    assert scene.status(workflow) == "FAILED"
    assert scene.files() == {"same": f"text {first.run}"}

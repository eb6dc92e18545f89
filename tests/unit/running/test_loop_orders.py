"""The loop of a workflow's run holds its promises in every order in which its tries can end."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from pydantic import BaseModel

from loop_orders import Broken, Choices, Scene, every_order, played
from perago import Flow, RetryPolicy, TaskControls, task, workflow
from perago.engines.local.workflow_record import WorkflowRecord
from perago.errors import EngineError, PublishFenceError, TaskFailed
from perago.running.loop import WorkflowLoop
from perago.values.record import WorkflowStatus
from perago.workflows.definition import workflow_of
from perago.workflows.load import LoadedWorkflow

OWNER = "tests@example.org"
ONCE = dict.fromkeys(("a", "b", "c"), ("fails",))


class Nothing(BaseModel):
    pass


class Counted(BaseModel):
    count: int


@task(name="t", owner_email=OWNER, controls=TaskControls(retry=RetryPolicy(count=1, delay_seconds=0)))
def a_task(params: Nothing) -> Counted:
    raise AssertionError("no body runs")


@task(name="late", owner_email=OWNER, controls=TaskControls(retry=RetryPolicy(count=1, delay_seconds=60)))
def late(params: Nothing) -> Counted:
    raise AssertionError("no body runs")


@workflow(name="two", owner_email=OWNER)
def two(flow: Flow) -> Counted:
    with flow.parallel():
        flow.run(a_task, ref_="a")
        flow.run(a_task, ref_="b")
    return flow.run(a_task, ref_="after")


@workflow(name="three", owner_email=OWNER)
def three(flow: Flow) -> None:
    with flow.parallel():
        flow.run(a_task, ref_="a")
        flow.run(a_task, ref_="b")
        flow.run(a_task, ref_="c")


@workflow(name="delayed", owner_email=OWNER)
def delayed(flow: Flow) -> None:
    with flow.parallel():
        flow.run(late, ref_="a")
        flow.run(late, ref_="b")


@workflow(name="outer", owner_email=OWNER)
def outer(flow: Flow) -> Counted:
    with flow.parallel():
        flow.run(two, ref_="inner")
        flow.run(a_task, ref_="c")
    return flow.run(a_task, ref_="last")


@workflow(name="twelve", owner_email=OWNER)
def twelve(flow: Flow) -> None:
    with flow.parallel():
        for number in range(12):
            flow.run(a_task, ref_=f"t_{number}")


def loaded(declared: object) -> LoadedWorkflow:
    definition = workflow_of(declared)
    return LoadedWorkflow(target="t", graph=definition.graph, tasks=definition.tasks, declared=definition)


COMPLETING = {
    "each fails once": Scene(workflow=loaded(two), jobs=2, plans=ONCE),
    "three on two slots": Scene(workflow=loaded(three), jobs=2, plans=ONCE),
    "three on three slots": Scene(workflow=loaded(three), jobs=3, plans=ONCE),
    "waits that are over": Scene(workflow=loaded(two), jobs=2, plans={"a": ("fails",)}, waits=1),
    "delayed retries": Scene(workflow=loaded(delayed), jobs=2, plans=ONCE, waits=1),
    "a sub-workflow": Scene(workflow=loaded(outer), jobs=2, plans={"inner/a": ("fails",), "c": ("fails",)}),
}
FAILING = {
    "one is refused beside one that fails": Scene(
        workflow=loaded(two), jobs=2, plans={"a": ("fails",), "b": ("is refused",)}
    ),
    "one fails for good": Scene(workflow=loaded(three), jobs=2, plans={"a": ("fails", "fails"), "b": ("fails",)}),
    "both are refused": Scene(workflow=loaded(two), jobs=2, plans={"a": ("is refused",), "b": ("is refused",)}),
    "one is refused in a sub-workflow": Scene(
        workflow=loaded(outer), jobs=2, plans={"inner/a": ("is refused",), "c": ("fails",)}
    ),
}


@pytest.mark.parametrize("name", COMPLETING)
def test_a_workflow_whose_retries_help_completes_in_every_order(name):
    scene = COMPLETING[name]
    for came in every_order(partial(played, scene)):
        assert came.decision.status is WorkflowStatus.COMPLETED, came.decision.reason
        assert all(
            statuses == ["FAILED"] * len(scene.plans.get(task, ())) + ["COMPLETED"]
            for task, statuses in came.tries.items()
        ), came.tries


@pytest.mark.parametrize("name", FAILING)
def test_a_workflow_that_fails_says_what_failed_it_in_every_order(name):
    scene = FAILING[name]
    is_refused = any("is refused" in plan for plan in scene.plans.values())
    for came in every_order(partial(played, scene)):
        assert came.decision.status is WorkflowStatus.FAILED
        assert isinstance(came.error, PublishFenceError) is is_refused


def test_a_run_that_is_interrupted_at_any_moment_goes_on_to_its_end():
    scene = Scene(workflow=loaded(two), jobs=2, plans={"a": ("fails",)}, interrupted=True)
    statuses = set()
    for came in every_order(partial(played, scene)):
        statuses.add(came.decision.status)
        if came.decision.status is not WorkflowStatus.COMPLETED:
            resumed: WorkflowRecord = came.record.resumed()
            again = played(replace(scene, interrupted=False, plans={}), Choices(0), resumed)
            assert again.decision.status is WorkflowStatus.COMPLETED
    assert statuses == {WorkflowStatus.COMPLETED, WorkflowStatus.TERMINATED}


def test_a_report_that_is_lost_ends_the_run_with_its_error_in_every_order():
    scene = Scene(workflow=loaded(three), jobs=2, plans={"b": ("is lost",)})

    def loses(choose):
        with pytest.raises(EngineError, match="the disk is full"):
            played(scene, choose)

    assert sum(1 for _ in every_order(loses)) > 1


def test_many_that_fail_once_complete_in_random_orders():
    scene = Scene(workflow=loaded(twelve), jobs=3, plans={f"t_{number}": ("fails",) for number in range(12)})
    for seed in range(200):
        assert played(scene, Choices(seed)).decision.status is WorkflowStatus.COMPLETED


class LooksUpByName(WorkflowLoop):
    """Takes the newest try of a task for the one that has ended."""

    def _tries(self):
        return self.run.tries

    def _take_end(self, seconds):
        end = self.crew.next_end(seconds)
        if end is None:
            return
        self._started.remove(end.task_id)
        name = self.run.record.find(end.task_id).reference_task_name
        self._errors[name] = end.error
        if self.run.record.last_tries[name].status.is_live and not self.cancelled.is_set():
            raise end.error or AssertionError("ended without a report")


class RunsAhead(WorkflowLoop):
    """Decides by a record whose ends it has not taken."""

    def _tries(self):
        return self.run.tries


@pytest.mark.parametrize(
    ("planted", "scene"),
    [
        (LooksUpByName, Scene(workflow=loaded(three), jobs=2, plans={"a": ("fails",)})),
        (RunsAhead, FAILING["one is refused beside one that fails"]),
    ],
)
def test_a_planted_bug_is_found(planted, scene):
    def is_broken(choose):
        try:
            played(scene, choose, loop_type=planted)
        except (Broken, TaskFailed):
            return True
        return False

    assert any(every_order(is_broken))

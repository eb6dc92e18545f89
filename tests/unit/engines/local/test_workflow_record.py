"""A workflow of the local engine that begins again from a task."""

from __future__ import annotations

import pytest

from perago.engines.local import LocalEngine
from perago.errors import EngineError
from perago.values.models import RuntimeTaskResult
from perago.values.record import TryStatus, WorkflowStatus
from perago.values.redaction import learn
from perago.workflows.again import Again

FROM_B = Again(tasks=("b",), around=("sub",), tries=3)


@pytest.fixture
def engine(tmp_path):
    return LocalEngine(tmp_path / "runs")


@pytest.fixture
def completed(engine):
    """Runs a workflow with a task, and a sub-workflow around another; returns the id of the run."""

    def run(secret: str = "") -> str:
        with engine.start_workflow(target="m:f", name="f", definition={}, input_data={}) as started:
            for name in ("a", "sub", "b"):
                attempt = started.begin(name, name, {})
                output = {"result": {"said": secret or name}}
                if name == "sub":
                    continue
                started.report(attempt.task_id, RuntimeTaskResult("COMPLETED", output))
            started.end_sub_workflow(f"{started.run_id}-2", TryStatus.COMPLETED, {}, None)
            started.end(WorkflowStatus.COMPLETED, output={"result": {}})
            return started.run_id

    return run


def test_tries_that_are_replaced_count_no_longer_and_their_ids_are_not_used_again(engine, completed):
    run_id = completed()
    with engine.resume_workflow(run_id, again=FROM_B) as run:
        assert {name: entry.status for name, entry in run.record.last_tries.items()} == {
            "a": TryStatus.COMPLETED,
            "sub": TryStatus.IN_PROGRESS,
        }
        attempt = run.begin("b", "b", {})
        before = run.record.replaced[-1]
        assert (attempt.task_id, attempt.retry_count) == (f"{run_id}-4", 0)
        assert attempt.scheduled_time > max(before.scheduled_time, before.ended_time)
        assert [entry.task_id for entry in engine.load_record(attempt).tries] == [f"{run_id}-{n}" for n in (1, 2, 4)]
        assert run.record.status is WorkflowStatus.RUNNING


def test_what_went_on_since_it_was_planned_is_not_replaced(engine, completed):
    run_id = completed()
    with engine.resume_workflow(run_id, again=FROM_B) as run:
        for name in ("b", "c"):
            run.report(run.begin(name, name, {}).task_id, RuntimeTaskResult("COMPLETED", {"result": {}}))
    before = engine.workflow_record(run_id)
    with pytest.raises(EngineError, match="went on in another process"):
        engine.resume_workflow(run_id, again=FROM_B)
    assert engine.workflow_record(run_id) == before


def test_a_result_that_is_replaced_may_have_held_a_secret_but_not_one_that_is_used_again(engine, completed):
    learn(["open sesame 123"])
    run_id = completed("open sesame 123")
    with pytest.raises(EngineError, match="result of task 'a' contains secrets"):
        engine.resume_workflow(run_id, again=FROM_B)
    with engine.resume_workflow(run_id, again=Again(tasks=("a", "sub", "b"), around=(), tries=3)) as run:
        assert run.record.tries == ()

"""Whole attempts of the testing kit: what befalls them, and that the core's promises show in what they return."""

from __future__ import annotations

from pathlib import Path

import pytest

import kit_tasks as tasks
from kit_tasks import Params, Result
from perago import PreGuardrailViolation, TaskFailed, TaskInputError, WorkspaceSpec, task
from perago.errors import EngineError, StaleAttemptError
from perago.testing import MemoryWorkflow, run_body

FILES = {"data/in.txt": "hi", "data/private/key": "k", "beside.txt": "b"}


def test_an_attempt_publishes_below_its_prefix() -> None:
    workflow = MemoryWorkflow(FILES)
    begin = workflow.head
    done = workflow.run(tasks.copy, {"suffix": "!"})
    assert (done.status, done.reason, done.reported, done.body_ran) == ("COMPLETED", "", True, True)
    assert done.result == Result(text="hi!")
    assert (done.input_ref, done.ref) == (begin, workflow.head)
    assert done.files == workflow.files == {**{k: v.encode() for k, v in FILES.items()}, "data/out.txt": b"hi!"}
    assert [commit.id for commit in workflow.history] == [done.ref]
    assert workflow.status == "COMPLETED"


def test_a_directory_may_be_the_first_content(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/in.txt").write_text("from disk")
    assert MemoryWorkflow(tmp_path).run(tasks.copy).result.text == "from disk"


def test_a_task_with_a_cache_is_computed_each_time() -> None:
    @task(name="cached", owner_email="ada@example.org", workspace=WorkspaceSpec(outputs=["out.txt"]), cache=True)
    def cached(workspace: Path, params: Params) -> Result:
        ran.append(workspace)
        (workspace / "out.txt").write_text("out")
        return Result(text="")

    ran: list[Path] = []
    workflow = MemoryWorkflow(FILES)
    assert workflow.run(cached).body_ran
    assert workflow.run(cached).body_ran
    run_body(cached, workspace={"in.txt": "hi"})
    run_body(cached, workspace={"in.txt": "hi"})
    assert len(ran) == 4


def test_a_failed_attempt_is_tried_again() -> None:
    workflow = MemoryWorkflow(FILES)
    first = workflow.run(tasks.copy, {"fail_on": [0]})
    assert (first.status, first.reported, first.body_ran) == ("FAILED", True, True)
    assert "not this time" in first.reason
    assert isinstance(first.error, TaskFailed)
    assert workflow.history == ()
    second = workflow.retry()
    assert (second.status, second.input_ref) == ("COMPLETED", first.input_ref)
    assert second.task_id != first.task_id


def test_a_failed_attempt_has_no_result_and_no_ref() -> None:
    failed = MemoryWorkflow().run(tasks.copy)
    assert failed.status == "FAILED_WITH_TERMINAL_ERROR"
    assert isinstance(failed.error, PreGuardrailViolation)
    with pytest.raises(AssertionError, match=r"did not complete but is FAILED_WITH_TERMINAL_ERROR: .*in\.txt"):
        _ = failed.result
    with pytest.raises(AssertionError, match="did not complete"):
        _ = failed.ref


def test_after_the_last_retry_the_workflow_has_failed_and_is_taken_up_by_hand() -> None:
    workflow = MemoryWorkflow(FILES, retries=1)
    workflow.run(tasks.copy, {"fail_on": [0, 1]})
    assert workflow.status == "RUNNING"
    workflow.retry()
    assert workflow.status == "FAILED"
    with pytest.raises(EngineError, match="FAILED"):
        workflow.run(tasks.look)
    assert workflow.retry().status == "COMPLETED"


def test_a_lost_report_is_adopted_by_the_retry() -> None:
    workflow = MemoryWorkflow(FILES)
    first = workflow.run(tasks.copy, lose_report=True)
    assert (first.status, first.reported) == ("COMPLETED", False)
    workflow.timeout()
    second = workflow.retry()
    assert (second.ref, second.result) == (first.ref, first.result)
    assert (second.reported, second.body_ran) == (True, False)
    assert [commit.id for commit in workflow.history if not commit.is_seal] == [first.ref]


@pytest.mark.parametrize("phase", ["parse", "materialize", "body", "diff", "stage", "fence"])
def test_an_attempt_that_times_out_before_it_publishes_is_stale(phase: str) -> None:
    workflow = MemoryWorkflow()
    stale = workflow.run(tasks.leave, {"suffix": "x"}, at={phase: workflow.timeout})
    assert (stale.status, stale.reported, workflow.history) == ("FAILED", False, ())
    assert isinstance(stale.error, StaleAttemptError)
    assert workflow.retry().status == "COMPLETED"


def test_an_attempt_that_times_out_after_publishing_is_adopted() -> None:
    workflow = MemoryWorkflow(FILES)
    late = workflow.run(tasks.copy, at={"report": workflow.timeout})
    assert (late.status, late.reported) == ("COMPLETED", False)
    again = workflow.retry()
    assert (again.ref, again.body_ran) == (late.ref, False)


@pytest.mark.parametrize("phase", ["parse", "decide", "body", "diff", "stage", "fence", "publish", "report", "clean"])
def test_a_retry_that_overtakes_leaves_one_publication(phase: str) -> None:
    workflow = MemoryWorkflow(FILES)
    overtaking = []

    def overtake() -> None:
        workflow.timeout()
        overtaking.append(workflow.retry())

    overtaken = workflow.run(tasks.copy, {"suffix": "!"}, at={phase: overtake})
    [retry] = overtaking
    assert (overtaken.reported, retry.reported, retry.status) == (False, True, "COMPLETED")
    assert [commit.id for commit in workflow.history if not commit.is_seal] == [retry.ref]
    assert workflow.files["data/out.txt"] == b"hi!"


def test_a_foreign_commit_is_not_published_over() -> None:
    workflow = MemoryWorkflow(FILES)
    refused = workflow.run(tasks.copy, at={"body": lambda: workflow.person_commits({"data/note": "n"}, "Grace")})
    assert refused.status == "FAILED"
    assert "Grace" in refused.reason
    assert refused.files == workflow.files
    assert "data/out.txt" not in workflow.files
    assert workflow.files["data/note"] == b"n"
    assert not workflow.retry().body_ran, "refused at the start: its input is the old one"


def test_a_foreign_commit_that_the_task_cannot_see_is_merged_with() -> None:
    workflow = MemoryWorkflow(FILES)
    merged = workflow.run(tasks.copy, at={"body": lambda: workflow.person_commits({"note": "n"}, "Grace")})
    assert (merged.status, merged.files["note"]) == ("COMPLETED", b"n")
    assert "data/out.txt" in merged.files


def test_in_snapshot_isolation_parallel_tasks_are_merged() -> None:
    workflow = MemoryWorkflow()
    begin = workflow.head
    workflow.run(tasks.append, {"suffix": "a"}, ref=begin)
    merged = workflow.run(tasks.append, {"suffix": "b"}, ref=begin)
    assert (merged.status, merged.input_ref) == ("COMPLETED", begin)
    assert workflow.files == {"parta": b"a", "partb": b"b"}


def test_a_cancelled_workflow_is_seen_by_the_body_and_taken_up_again() -> None:
    workflow = MemoryWorkflow(FILES)
    cancelled = workflow.run(tasks.copy, at={"body": workflow.cancel})
    assert (cancelled.status, cancelled.reported) == ("FAILED", False)
    assert "cancelled while its body ran" in cancelled.reason
    assert (workflow.status, workflow.history) == ("TERMINATED", ())
    assert workflow.retry().status == "COMPLETED"


def test_a_body_that_does_not_look_is_stopped_by_the_fence() -> None:
    workflow = MemoryWorkflow()
    stopped = workflow.run(tasks.leave, {"suffix": "x"}, at={"body": workflow.cancel})
    assert isinstance(stopped.error, StaleAttemptError)
    assert workflow.files == {}


def test_read_only_and_free_tasks_run_as_well() -> None:
    workflow = MemoryWorkflow(FILES)
    looked = workflow.run(tasks.look)
    assert (looked.ref, workflow.history) == (workflow.head, ())
    free = workflow.run(tasks.free, Params(suffix="a"))
    assert (free.result, free.input_ref, free.reported) == (Result(text="A"), "", True)
    with pytest.raises(AssertionError, match="no workspace"):
        _ = free.ref


def test_a_cancelled_free_task_sees_it() -> None:
    workflow = MemoryWorkflow()
    cancelled = workflow.run(tasks.free, at={"body": workflow.cancel})
    assert (cancelled.status, cancelled.reported) == ("FAILED", False)


def test_one_task_may_run_several_times_under_names_of_its_own() -> None:
    workflow = MemoryWorkflow(FILES)
    first = workflow.run(tasks.copy, {"fail_on": [0]})
    workflow.run(tasks.copy, {"suffix": "2"})
    workflow.run(tasks.copy, {"suffix": "3"}, name="third")
    assert [entry.reference_task_name for entry in workflow.engine.record().tries] == [
        "copy",
        "copy",
        "copy_2",
        "third",
    ]
    assert workflow.retry("copy").input_ref == first.input_ref


def test_a_rerun_of_an_earlier_task_removes_the_one_under_way() -> None:
    workflow = MemoryWorkflow()
    first = workflow.run(tasks.free, {"suffix": "a"})

    def rerun() -> None:
        workflow.cancel()
        workflow.engine.rerun(first.task_id)

    removed = workflow.run(tasks.leave, {"suffix": "x"}, at={"body": rerun})
    assert (removed.status, removed.reported) == ("FAILED", False)
    assert workflow.retry("free").result.text == "A"


def test_what_goes_wrong_in_a_test_is_not_taken_for_a_failure_of_the_attempt() -> None:
    workflow = MemoryWorkflow(FILES)
    with pytest.raises(ZeroDivisionError):
        workflow.run(tasks.copy, at={"body": lambda: 1 / 0})
    with pytest.raises(pytest.fail.Exception, match="mine"):
        workflow.run(tasks.copy, at={"body": lambda: pytest.fail("mine")})


def test_an_interrupt_ends_the_test_at_once() -> None:
    workflow = MemoryWorkflow(FILES)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        workflow.run(tasks.copy, at={"body": interrupt})
    assert (workflow.history, workflow.store.staged()) == ((), [])


def test_what_could_not_happen_is_told() -> None:
    workflow = MemoryWorkflow(FILES)
    with pytest.raises(EngineError, match="has no task ''"):
        workflow.retry()
    with pytest.raises(AssertionError, match="never reached publish"):
        workflow.run(tasks.look, at={"publish": workflow.cancel})
    with pytest.raises(ValueError, match="no phase 'publication'; it has parse"):
        workflow.run(tasks.look, at={"publication": workflow.cancel})
    with pytest.raises(EngineError, match=r"no try of 'look' is waiting: .*COMPLETED"):
        workflow.retry()
    with pytest.raises(EngineError, match="no try is in progress"):
        workflow.timeout()
    with pytest.raises(TaskInputError, match="decorated with @task"):
        workflow.run(print)


def test_the_workspaces_of_failed_attempts_stay_below_a_given_root(tmp_path: Path) -> None:
    workflow = MemoryWorkflow(FILES, root=tmp_path)
    workflow.run(tasks.copy, {"fail_on": [0]})
    workflow.retry()
    assert [path.read_text() for path in tmp_path.glob("kept/*/*/half.txt")] == ["half done"]
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]

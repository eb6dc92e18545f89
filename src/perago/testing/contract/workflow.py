"""The suite for events of a workflow and its tries. A simulation with the in-memory engine relies on it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from perago.attempt.fence import assert_current_attempt_snapshot
from perago.errors import EngineError, StaleAttemptError
from perago.ports import Engine
from perago.testing.contract.engine import DONE, FAILED, OUTPUT_REF, REF, TERMINAL
from perago.testing.contract.framework import pytest
from perago.values.models import Attempt, AttemptIdentity
from perago.values.record import TryRecord, TryStatus

Shape = Literal["sequence", "fork", "optional", "tree"]
"""`sequence`: `a`, then `b` with the commit that `a` completed with. `fork`: `l` beside `r`. `optional`: as `sequence`,
but `a` is optional and has one try. `tree`: a sub-workflow `s` of `c`, then `d`; then `b`."""


class WorkflowHooks(ABC):
    """What a person or the engine does. Each hook returns only after it has taken effect.

    All tasks have the input `engine.INPUT` and, except for the optional one, one retry.
    """

    @abstractmethod
    def engine(self) -> Engine: ...

    @abstractmethod
    def begin(self, shape: Shape, *, is_patient: bool = True) -> str:
        """Start a workflow; returns its id.

        Args:
            is_patient: make the response timeout longer than a test takes; otherwise as short as possible.
        """

    @abstractmethod
    def poll(self, workflow: str, who: str) -> Attempt:
        """Wait until a task of the workflow or its sub-workflow is scheduled, then take it."""

    @abstractmethod
    def is_running(self, workflow: str) -> bool: ...

    @abstractmethod
    def await_end(self, workflow: str) -> None:
        """Wait until the workflow has ended; fail if it does not."""

    @abstractmethod
    def requeue(self, attempt: Attempt) -> None:
        """Put a task back, so that the next poll delivers it again."""

    @abstractmethod
    def time_out(self, attempt: Attempt) -> None:
        """Let a task's response timeout pass without a heartbeat."""

    @abstractmethod
    def stay_silent(self, attempt: Attempt) -> None:
        """Let a task's response timeout pass and the engine check it, whatever the engine does then."""

    @abstractmethod
    def terminate(self, workflow: str) -> None: ...

    @abstractmethod
    def retry(self, workflow: str) -> None:
        """Retry a workflow, or a sub-workflow by its own id."""

    @abstractmethod
    def rerun(self, workflow: str, task_id: str) -> None: ...

    @abstractmethod
    def restart(self, workflow: str) -> None: ...


class WorkflowContract(WorkflowHooks):
    """Tests of an engine's workflows."""

    # ---- the decider

    def test_what_follows_gets_the_commit_that_was_completed_with(self) -> None:
        workflow = self.begin("sequence")
        first = self.poll(workflow, "a")
        self.engine().report_result(first, DONE)
        second = self.poll(workflow, "b")
        refs = [entry.input_refs for entry in self._tries(second, "a", "b")]
        assert refs == [(REF,), (OUTPUT_REF,)]

    def test_a_workflow_ends_with_its_last_task(self) -> None:
        workflow = self.begin("sequence")
        self.engine().report_result(self.poll(workflow, "a"), DONE)
        assert self.is_running(workflow)
        self.engine().report_result(self.poll(workflow, "b"), DONE)
        self.await_end(workflow)

    def test_siblings_run_beside_each_other(self) -> None:
        workflow = self.begin("fork")
        left, right = self.poll(workflow, "l"), self.poll(workflow, "r")
        assert [entry.status for entry in self._tries(left, "l", "r")] == [TryStatus.IN_PROGRESS] * 2
        self.engine().report_result(left, DONE)
        self.engine().report_result(right, DONE)
        self.await_end(workflow)

    def test_when_its_tries_are_spent_the_workflow_fails_and_siblings_are_cancelled(self) -> None:
        workflow = self.begin("fork")
        right = self.poll(workflow, "r")
        for _ in range(2):
            self.engine().report_result(self.poll(workflow, "l"), FAILED)
        self.await_end(workflow)
        assert self._now(right).status is TryStatus.CANCELED

    def test_an_error_for_good_spends_all_tries(self) -> None:
        workflow = self.begin("fork")
        right = self.poll(workflow, "r")
        self.engine().report_result(self.poll(workflow, "l"), TERMINAL)
        self.await_end(workflow)
        assert self._now(right).status is TryStatus.CANCELED

    def test_over_an_optional_task_the_workflow_goes_on(self) -> None:
        workflow = self.begin("optional")
        first = self.poll(workflow, "a")
        self.engine().report_result(first, FAILED)
        second = self.poll(workflow, "b")
        assert self._now(first).status is TryStatus.COMPLETED_WITH_ERRORS
        assert self._now(first).output is None
        assert self.is_running(workflow)
        self.engine().report_result(second, DONE)
        self.await_end(workflow)

    # ---- one task with two workers

    def test_a_task_that_is_handed_out_again_keeps_its_id(self) -> None:
        workflow = self.begin("sequence")
        first = self.poll(workflow, "a")
        self.requeue(first)
        second = self.poll(workflow, "a")
        mine, theirs = AttemptIdentity.of(first), AttemptIdentity.of(second)
        assert (mine.task_id, mine.retry_count) == (theirs.task_id, theirs.retry_count)
        assert (mine.poll_count, theirs.poll_count) == (1, 2)
        with pytest.raises(StaleAttemptError, match="poll_count"):
            assert_current_attempt_snapshot(first, self.engine().load_current_attempt(first))

    def test_a_result_is_taken_from_the_one_who_does_not_have_the_task_any_more(self) -> None:
        workflow = self.begin("sequence")
        first = self.poll(workflow, "a")
        self.requeue(first)
        self.poll(workflow, "a")
        self.engine().report_result(first, DONE)
        assert self._now(first).status is TryStatus.COMPLETED

    def test_a_task_of_which_nothing_is_heard_is_tried_again_and_its_late_result_is_dropped(self) -> None:
        workflow = self.begin("sequence", is_patient=False)
        first = self.poll(workflow, "a")
        self.time_out(first)
        second = self.poll(workflow, "a")
        self.engine().report_result(first, DONE)
        assert self._now(first).status is TryStatus.TIMED_OUT
        assert self._now(second).status is TryStatus.IN_PROGRESS
        assert (self._now(second).retry_count, self._now(second).retried_task_id) == (1, first.task_id)

    # ---- actions of people

    def test_a_workflow_that_is_terminated_cancels_what_runs(self) -> None:
        workflow = self.begin("fork")
        left, right = self.poll(workflow, "l"), self.poll(workflow, "r")
        self.engine().report_result(left, DONE)
        self.terminate(workflow)
        assert [self._now(entry).status for entry in (left, right)] == [TryStatus.COMPLETED, TryStatus.CANCELED]

    def test_a_retry_tries_again_what_came_to_nothing(self) -> None:
        workflow = self.begin("fork")
        left, right = self.poll(workflow, "l"), self.poll(workflow, "r")
        self.engine().report_result(left, DONE)
        self.terminate(workflow)
        self.retry(workflow)
        again = self.poll(workflow, "r")
        assert (self._now(again).retry_count, self._now(again).retried_task_id) == (1, right.task_id)
        assert self._now(left).status is TryStatus.COMPLETED
        assert len(self._tries(again, "l")) == 1

    def test_a_rerun_keeps_the_tasks_id_and_forgets_what_came_after(self) -> None:
        workflow = self.begin("sequence")
        first = self.poll(workflow, "a")
        self.engine().report_result(first, DONE)
        later = self.poll(workflow, "b")
        self.terminate(workflow)
        before = self._now(first)
        self.rerun(workflow, first.task_id)
        again = self.poll(workflow, "a")
        assert (again.task_id, again.retry_count) == (first.task_id, first.retry_count)
        assert self._now(again).scheduled_time > before.scheduled_time
        assert self._now(again).output is None
        with pytest.raises(EngineError):
            self.engine().load_current_attempt(later)
        with pytest.raises(EngineError):
            self.engine().report_result(later, DONE)
        self.engine().report_result(again, DONE)
        assert self.poll(workflow, "b").task_id != later.task_id

    def test_a_rerun_of_a_later_task_hands_out_the_failed_tries_of_those_before_it(self) -> None:
        failed, last = self._rerun_from_the_later_task()
        assert self.poll(last.workflow_instance_id, "b").task_id == last.task_id
        again = self.poll(last.workflow_instance_id, "a")
        mine, theirs = AttemptIdentity.of(failed), AttemptIdentity.of(again)
        assert (mine.task_id, mine.retry_count, mine.scheduled_time) == (
            theirs.task_id,
            theirs.retry_count,
            theirs.scheduled_time,
        )
        assert (mine.poll_count, theirs.poll_count) == (1, 2)
        statuses = [entry.status for entry in self._tries(again, "a", "b")]
        assert statuses == [TryStatus.IN_PROGRESS, TryStatus.COMPLETED, TryStatus.IN_PROGRESS]

    def test_such_a_try_is_not_tried_again_and_the_workflow_waits_for_it(self) -> None:
        failed, last = self._rerun_from_the_later_task()
        workflow = last.workflow_instance_id
        again = self.poll(workflow, "a")
        self.engine().report_result(self.poll(workflow, "b"), DONE)
        assert self.is_running(workflow)
        self.engine().report_result(again, FAILED)
        self.await_end(workflow)
        assert [entry.status for entry in self._tries(failed, "a")] == [TryStatus.FAILED, TryStatus.COMPLETED]

    def test_such_a_try_never_times_out(self) -> None:
        """It was already retried: the engine no longer checks it, and its workflow does not end by itself."""
        failed, last = self._rerun_from_the_later_task(is_patient=False)
        again = self.poll(last.workflow_instance_id, "a")
        self.engine().report_result(self.poll(last.workflow_instance_id, "b"), DONE)
        self.stay_silent(again)
        assert self._now(failed).status is TryStatus.IN_PROGRESS
        assert self.is_running(last.workflow_instance_id)

    def test_a_retry_leaves_alone_such_a_try_that_was_cancelled(self) -> None:
        failed, last = self._rerun_from_the_later_task()
        workflow = last.workflow_instance_id
        self.poll(workflow, "a")
        self.terminate(workflow)
        self.retry(workflow)
        assert self.poll(workflow, "b").task_id != last.task_id
        statuses = [entry.status for entry in self._tries(failed, "a")]
        assert statuses == [TryStatus.CANCELED, TryStatus.COMPLETED]

    def test_a_retry_is_refused_where_nothing_came_to_nothing(self) -> None:
        failed, last = self._rerun_from_the_later_task()
        workflow = last.workflow_instance_id
        self.poll(workflow, "a")
        self.engine().report_result(self.poll(workflow, "b"), DONE)
        self.terminate(workflow)
        with pytest.raises(Exception, match="retr"):
            self.retry(workflow)
        assert self._now(failed).status is TryStatus.CANCELED
        assert not self.is_running(workflow)

    def test_a_rerun_takes_up_a_sibling_that_was_cancelled(self) -> None:
        """It was never retried, so it is like any other try: if it fails, it is retried."""
        workflow = self.begin("fork")
        left, right = self.poll(workflow, "l"), self.poll(workflow, "r")
        self.terminate(workflow)
        self.rerun(workflow, right.task_id)
        again = self.poll(workflow, "l")
        assert (again.task_id, AttemptIdentity.of(again).poll_count) == (left.task_id, 2)
        self.engine().report_result(again, FAILED)
        second = self._now(self.poll(workflow, "l"))
        assert (second.retry_count, second.retried_task_id) == (1, left.task_id)

    def test_a_failed_try_whose_retry_a_rerun_removed_gets_no_other(self) -> None:
        """It is the only try left of its task. If it fails again, so does the workflow, once its sibling has ended."""
        workflow = self.begin("fork")
        left, right = self.poll(workflow, "l"), self.poll(workflow, "r")
        self.engine().report_result(left, FAILED)
        self.engine().report_result(self.poll(workflow, "l"), DONE)
        self.engine().report_result(right, DONE)
        self.await_end(workflow)
        self.rerun(workflow, right.task_id)
        again = self.poll(workflow, "l")
        assert again.task_id == left.task_id
        self.engine().report_result(again, FAILED)
        self.engine().report_result(self.poll(workflow, "r"), DONE)
        self.await_end(workflow)
        assert [entry.status for entry in self._tries(again, "l")] == [TryStatus.FAILED]

    def test_a_restart_forgets_all_tries(self) -> None:
        workflow = self.begin("sequence")
        first = self.poll(workflow, "a")
        self.engine().report_result(first, DONE)
        self.poll(workflow, "b")
        self.terminate(workflow)
        self.restart(workflow)
        again = self.poll(workflow, "a")
        assert again.task_id != first.task_id
        assert again.retry_count == 0
        assert [entry.task_id for entry in self._tries(again, "a", "b")] == [again.task_id]
        with pytest.raises(EngineError):
            self.engine().load_current_attempt(first)

    # ---- helpers

    def _rerun_from_the_later_task(self, *, is_patient: bool = True) -> tuple[Attempt, Attempt]:
        """A sequence whose first task completed in its second try, rerun from the second: (failed try, that task)."""
        workflow = self.begin("sequence", is_patient=is_patient)
        failed = self.poll(workflow, "a")
        self.engine().report_result(failed, FAILED)
        self.engine().report_result(self.poll(workflow, "a"), DONE)
        last = self.poll(workflow, "b")
        self.engine().report_result(last, DONE)
        self.await_end(workflow)
        self.rerun(workflow, last.task_id)
        return failed, last

    def _tries(self, attempt: Attempt, *names: str) -> list[TryRecord]:
        record = self.engine().load_record(attempt)
        return [entry for entry in record.tries if entry.reference_task_name in names]

    def _now(self, attempt: Attempt) -> TryRecord:
        found = self.engine().load_record(attempt).find(attempt.task_id)
        assert found is not None
        return found

"""The suite that every engine must pass. Fences, adoption and reports rely on it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perago.attempt.fence import assert_current_attempt_snapshot
from perago.errors import EngineError, StaleAttemptError
from perago.ports import Engine
from perago.testing.contract.framework import pytest
from perago.values.json_text import JsonObject
from perago.values.models import Attempt, AttemptIdentity, RuntimeTaskResult
from perago.values.record import TryRecord, TryStatus

REF, OUTPUT_REF = "a" * 40, "b" * 40
WORKSPACE = {"repository": "contract", "branch": "main", "refType": "commit", "ref": REF}
INPUT: JsonObject = {"workspace": WORKSPACE, "params": {"n": 1}}
OUTPUT: JsonObject = {
    "workspace": {**WORKSPACE, "ref": OUTPUT_REF},
    "result": {"text": '\u00e4\n\u6f22 "q"', "deep": {"list": [1, 2.5, None, True, {}]}, "big": 1 << 53},
}
DONE = RuntimeTaskResult("COMPLETED", OUTPUT)
FAILED = RuntimeTaskResult("FAILED", reason_for_incompletion="no luck")
TERMINAL = RuntimeTaskResult("FAILED_WITH_TERMINAL_ERROR", reason_for_incompletion="never")


@dataclass(frozen=True)
class SomeAttempt:
    """A task object with only what an attempt needs."""

    status: str
    workflow_instance_id: str
    task_id: str
    retry_count: int


class EngineContract(ABC):
    """Tests of an engine's ports, on a workflow of one task with the input `INPUT` and retries."""

    @abstractmethod
    def make_engine(self, directory: Path) -> Engine:
        """Create an empty engine. `directory` is an empty directory for it."""

    @abstractmethod
    def start(self, engine: Any) -> Attempt:
        """The first try of a task with `INPUT` in a new workflow, handed out to a worker."""

    @abstractmethod
    def next_try(self, engine: Any, attempt: Attempt) -> Attempt:
        """The retry of a failed try, handed out to a worker."""

    @abstractmethod
    def cancel(self, engine: Any, attempt: Attempt) -> None:
        """Cancel the task."""

    @abstractmethod
    def finish(self, engine: Any) -> None:
        """Release resources after a test."""

    @pytest.fixture
    def engine(self, tmp_path: Path) -> Any:
        directory = tmp_path / "engine"
        directory.mkdir()
        made = self.make_engine(directory)
        yield made
        self.finish(made)

    # ---- the attempt fence

    def test_an_attempt_that_was_handed_out_is_the_current_one(self, engine: Engine) -> None:
        attempt = self.start(engine)
        assert attempt.status == "IN_PROGRESS"
        assert_current_attempt_snapshot(attempt, engine.load_current_attempt(attempt))

    def test_an_attempt_has_its_whole_identity(self, engine: Engine) -> None:
        attempt = self.start(engine)
        identity = AttemptIdentity.of(attempt)
        assert [name for name, value in vars(identity).items() if value is None] == []
        assert AttemptIdentity.of(engine.load_current_attempt(attempt)) == identity

    def test_any_object_with_its_ids_is_enough_to_ask(self, engine: Engine) -> None:
        attempt = self.start(engine)
        asking = SomeAttempt("IN_PROGRESS", attempt.workflow_instance_id, attempt.task_id, attempt.retry_count)
        assert AttemptIdentity.of(engine.load_current_attempt(asking)) == AttemptIdentity.of(attempt)
        assert engine.load_record(asking).find(attempt.task_id) is not None
        engine.report_result(asking, FAILED)
        assert engine.load_current_attempt(attempt).status == "FAILED"

    @pytest.mark.parametrize("result", [DONE, FAILED, TERMINAL], ids=lambda result: result.status)
    def test_an_attempt_that_has_reported_is_current_no_more(self, engine: Engine, result: RuntimeTaskResult) -> None:
        attempt = self.start(engine)
        engine.report_result(attempt, result)
        with pytest.raises(StaleAttemptError, match=result.status):
            assert_current_attempt_snapshot(attempt, engine.load_current_attempt(attempt))

    def test_a_cancelled_attempt_is_current_no_more(self, engine: Engine) -> None:
        attempt = self.start(engine)
        self.cancel(engine, attempt)
        with pytest.raises(StaleAttemptError, match="CANCELED"):
            assert_current_attempt_snapshot(attempt, engine.load_current_attempt(attempt))

    def test_a_try_that_was_followed_is_current_no_more(self, engine: Engine) -> None:
        first = self.start(engine)
        engine.report_result(first, FAILED)
        second = self.next_try(engine, first)
        with pytest.raises(StaleAttemptError):
            assert_current_attempt_snapshot(first, engine.load_current_attempt(first))
        assert_current_attempt_snapshot(second, engine.load_current_attempt(second))

    def test_a_task_that_is_not_there_is_an_error_not_an_answer(self, engine: Engine) -> None:
        attempt = self.start(engine)
        unknown = SomeAttempt("IN_PROGRESS", attempt.workflow_instance_id, "no-such-task", 0)
        with pytest.raises(EngineError, match="no-such-task"):
            engine.load_current_attempt(unknown)
        with pytest.raises(EngineError, match="no-such-task"):
            engine.report_result(unknown, DONE)
        with pytest.raises(EngineError, match="no-such-workflow"):
            engine.load_record(SomeAttempt("IN_PROGRESS", "no-such-workflow", attempt.task_id, 0))
        assert engine.load_current_attempt(attempt).status == "IN_PROGRESS"

    # ---- the record

    def test_the_record_has_a_try_from_the_start(self, engine: Engine) -> None:
        attempt = self.start(engine)
        identity = AttemptIdentity.of(attempt)
        record = engine.load_record(attempt)
        assert record.workflow_instance_id == attempt.workflow_instance_id
        assert record.tries == (
            TryRecord(
                task_id=attempt.task_id,
                reference_task_name=identity.reference_task_name or "",
                retry_count=0,
                scheduled_time=identity.scheduled_time or 0,
                poll_count=identity.poll_count or 0,
                status=TryStatus.IN_PROGRESS,
                input_refs=(REF,),
            ),
        )

    def test_a_completed_try_has_its_output_and_its_end(self, engine: Engine) -> None:
        attempt = self.start(engine)
        engine.report_result(attempt, DONE)
        (entry,) = engine.load_record(attempt).tries
        assert (entry.status, entry.output, entry.output_ref) == (TryStatus.COMPLETED, OUTPUT, OUTPUT_REF)
        assert entry.ended_time is not None
        assert entry.ended_time >= entry.scheduled_time

    @pytest.mark.parametrize("result", [FAILED, TERMINAL], ids=lambda result: result.status)
    def test_a_failed_try_has_no_output(self, engine: Engine, result: RuntimeTaskResult) -> None:
        attempt = self.start(engine)
        engine.report_result(attempt, result)
        entry = engine.load_record(attempt).find(attempt.task_id)
        assert entry is not None
        assert (entry.status.value, entry.output, entry.output_ref) == (result.status, None, None)

    def test_the_next_try_is_a_new_task_that_names_the_one_before(self, engine: Engine) -> None:
        attempts = [self.start(engine)]
        for _ in range(2):
            engine.report_result(attempts[-1], FAILED)
            attempts.append(self.next_try(engine, attempts[-1]))
        tries = engine.load_record(attempts[0]).tries
        assert [entry.task_id for entry in tries] == [attempt.task_id for attempt in attempts]
        assert len({entry.task_id for entry in tries}) == 3
        assert [entry.retry_count for entry in tries] == [0, 1, 2]
        assert [entry.retried_task_id for entry in tries] == [None, tries[0].task_id, tries[1].task_id]
        assert [entry.status.value for entry in tries] == ["FAILED", "FAILED", "IN_PROGRESS"]
        assert {entry.input_refs for entry in tries} == {(REF,)}
        assert len({entry.reference_task_name for entry in tries}) == 1

    def test_times_tell_the_order_of_what_happened(self, engine: Engine) -> None:
        first = self.start(engine)
        engine.report_result(first, FAILED)
        second = self.next_try(engine, first)
        older, newer = engine.load_record(second).tries
        assert older.ended_time is not None
        assert older.scheduled_time <= older.ended_time < newer.scheduled_time

    def test_a_record_that_was_read_does_not_change(self, engine: Engine) -> None:
        attempt = self.start(engine)
        before = engine.load_record(attempt)
        engine.report_result(attempt, DONE)
        assert before.tries[0].status is TryStatus.IN_PROGRESS

    def test_workflows_are_apart(self, engine: Engine) -> None:
        one, other = self.start(engine), self.start(engine)
        assert one.workflow_instance_id != other.workflow_instance_id
        engine.report_result(one, DONE)
        assert engine.load_current_attempt(other).status == "IN_PROGRESS"
        assert engine.load_record(other).find(one.task_id) is None

    # ---- late reports

    @pytest.mark.parametrize("late", [DONE, FAILED, TERMINAL], ids=lambda result: result.status)
    @pytest.mark.parametrize("first", [DONE, TERMINAL], ids=lambda result: result.status)
    def test_the_first_report_stands(self, engine: Engine, first: RuntimeTaskResult, late: RuntimeTaskResult) -> None:
        attempt = self.start(engine)
        engine.report_result(attempt, first)
        before = engine.load_record(attempt)
        engine.report_result(attempt, late)
        assert engine.load_record(attempt) == before

    @pytest.mark.parametrize("late", [DONE, FAILED, TERMINAL], ids=lambda result: result.status)
    def test_a_report_for_a_try_that_was_followed_is_dropped(self, engine: Engine, late: RuntimeTaskResult) -> None:
        first = self.start(engine)
        engine.report_result(first, FAILED)
        second = self.next_try(engine, first)
        before = engine.load_record(second)
        engine.report_result(first, late)
        assert engine.load_record(second) == before

    @pytest.mark.parametrize("late", [DONE, FAILED, TERMINAL], ids=lambda result: result.status)
    def test_a_report_for_a_cancelled_try_is_dropped(self, engine: Engine, late: RuntimeTaskResult) -> None:
        attempt = self.start(engine)
        self.cancel(engine, attempt)
        engine.report_result(attempt, late)
        assert engine.load_current_attempt(attempt).status == "CANCELED"
        assert engine.load_record(attempt).tries[-1].output is None

    def test_of_reports_at_once_one_stands(self, engine: Engine) -> None:
        attempt = self.start(engine)
        results = [RuntimeTaskResult("COMPLETED", {"result": {"n": number}}) for number in range(8)]
        with ThreadPoolExecutor(len(results)) as threads:
            for future in [threads.submit(engine.report_result, attempt, result) for result in results]:
                future.result(30)
        (entry,) = engine.load_record(attempt).tries
        assert entry.status is TryStatus.COMPLETED
        assert entry.output in [result.output for result in results]

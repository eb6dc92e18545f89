"""The suite for workflows with a sub-workflow, in engines that run it as an instance of its own."""

from __future__ import annotations

from perago.testing.contract.engine import DONE, TERMINAL
from perago.testing.contract.workflow import WorkflowHooks
from perago.values.models import Attempt
from perago.values.record import InstanceRecord, TryStatus


class TreeContract(WorkflowHooks):
    """Tests of what an engine's record says of a workflow and its sub-workflow."""

    def test_a_task_of_a_sub_workflow_has_its_path_from_the_root(self) -> None:
        workflow = self.begin("tree")
        first = self.poll(workflow, "c")
        record = self.engine().load_record(first)
        assert record.workflow_instance_id == workflow
        assert dict(record.parts) == {first.workflow_instance_id: "s"}
        assert record.path_of(first.workflow_instance_id, "c") == "s/c"
        assert [entry.task_id for entry in record.of("s/c")] == [first.task_id]
        (around,) = record.of("s")
        assert (around.status, around.sub_workflow) == (TryStatus.IN_PROGRESS, first.workflow_instance_id)

    def test_a_task_beside_a_sub_workflow_reads_it_only_if_it_asks(self) -> None:
        workflow = self.begin("tree")
        first = self._report("c", workflow)
        self._report("d", workflow)
        last = self.poll(workflow, "b")
        record = self.engine().load_record(last)
        assert dict(record.unread) == {"s": first.workflow_instance_id}
        assert record.of("s/c") == ()
        record = self.engine().load_record(last, {"s/c"})
        assert dict(record.unread) == {}
        assert [record.of(path)[0].status for path in ("s/c", "s/d", "s")] == [TryStatus.COMPLETED] * 3

    def test_what_runs_in_a_sub_workflow_is_cancelled_with_the_workflow(self) -> None:
        workflow = self.begin("tree")
        first = self.poll(workflow, "c")
        self.terminate(workflow)
        record = self.engine().load_record(first)
        assert [record.of(path)[0].status for path in ("s/c", "s")] == [TryStatus.CANCELED] * 2

    def test_a_sub_workflow_that_a_retry_begins_anew_replaces_the_one_before(self) -> None:
        workflow = self.begin("tree")
        before = self._report("c", workflow)
        self.poll(workflow, "d")
        self.terminate(workflow)
        self.retry(workflow)
        again = self.poll(workflow, "c")
        assert again.workflow_instance_id != before.workflow_instance_id
        record = self.engine().load_record(again)
        assert [entry.task_id for entry in record.of("s/c")] == [again.task_id]
        assert not record.of("s/d")
        older, newer = record.of("s")
        assert newer.retried_task_id == older.task_id
        assert not self._counts(before)
        assert self.engine().load_record(before).find(before.task_id) is None

    def test_a_sub_workflow_that_failed_goes_on_where_it_failed(self) -> None:
        workflow = self.begin("tree")
        first = self._report("c", workflow)
        failed = self.poll(workflow, "d")
        self.engine().report_result(failed, TERMINAL)
        self.await_end(workflow)
        self.retry(first.workflow_instance_id)
        again = self.poll(workflow, "d")
        assert again.workflow_instance_id == first.workflow_instance_id
        record = self.engine().load_record(again)
        assert [entry.task_id for entry in record.of("s/d")] == [failed.task_id, again.task_id]
        assert record.of("s/c")[0].status is TryStatus.COMPLETED
        assert self.is_running(workflow)
        self.engine().report_result(again, DONE)
        self._report("b", workflow)
        self.await_end(workflow)

    def test_a_rerun_hands_out_a_replaced_sub_workflow_again_and_its_outcome_does_not_count(self) -> None:
        """The workflow waits until it has ended, however that ends."""
        workflow = self.begin("tree")
        self.poll(workflow, "c")
        self.terminate(workflow)
        self.retry(workflow)
        counts = self._report("c", workflow)
        self._report("d", workflow)
        last = self._report("b", workflow)
        self.await_end(workflow)
        self.rerun(workflow, last.task_id)
        again = self.poll(workflow, "c")
        assert again.workflow_instance_id != counts.workflow_instance_id
        assert not self._counts(again)
        record = self.engine().load_record(last, {"s/c"})
        assert [entry.task_id for entry in record.of("s/c")] == [counts.task_id]
        self._report("b", workflow)
        assert self.is_running(workflow)
        self.engine().report_result(again, TERMINAL)
        self.await_end(workflow)
        statuses = [entry.status for entry in self._record(last).of("s")]
        assert statuses == [TryStatus.FAILED, TryStatus.COMPLETED]

    def test_a_workflow_begun_again_replaces_its_sub_workflow(self) -> None:
        workflow = self.begin("tree")
        before = self._report("c", workflow)
        self.terminate(workflow)
        self.restart(workflow)
        again = self.poll(workflow, "c")
        assert not self._counts(before)
        record = self.engine().load_record(again)
        assert [entry.task_id for entry in record.of("s/c")] == [again.task_id]

    # ---- helpers

    def _report(self, who: str, workflow: str) -> Attempt:
        attempt = self.poll(workflow, who)
        self.engine().report_result(attempt, DONE)
        return attempt

    def _record(self, attempt: Attempt) -> InstanceRecord:
        return self.engine().load_record(attempt)

    def _counts(self, attempt: Attempt) -> bool:
        return self._record(attempt).has_instance(attempt.workflow_instance_id)

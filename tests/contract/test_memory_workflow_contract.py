"""The in-memory engine passes the suite on workflows, as the real one does."""

from contextlib import suppress

import pytest

from perago.errors import EngineError
from perago.testing import MemoryEngine
from perago.testing.contract import TreeContract, WorkflowContract
from perago.testing.contract.engine import INPUT, WORKSPACE
from perago.testing.workflow import Step


class TestMemoryWorkflows(WorkflowContract, TreeContract):
    @pytest.fixture(autouse=True)
    def made(self):
        self._engine = MemoryEngine(retries=1)

    def engine(self):
        return self._engine

    def begin(self, shape, *, is_patient=True):
        workflow = self._engine.start_workflow()
        if shape == "tree":
            steps = self._steps()
            self._engine.schedule_sub_workflow("s", lambda _: steps, workflow=workflow)
            self._engine.schedule("b", INPUT, after=("s",), workflow=workflow)
            return workflow
        first, second, after = ("l", "r", ()) if shape == "fork" else ("a", "b", ("a",))
        retries = 0 if shape == "optional" else 1
        self._engine.schedule(first, INPUT, workflow=workflow, retries=retries, optional=shape == "optional")
        self._engine.schedule(second, self._input_after(shape), workflow=workflow, after=after)
        return workflow

    @staticmethod
    def _steps():
        def step(name, *after):
            return Step(task_name=name, reference_task_name=name, input_data=INPUT, after=after, retries=1)

        return [step("c"), step("d", "c")]

    @staticmethod
    def _input_after(shape):
        def make(record):
            (ref,) = [entry.output_ref for entry in record.of("a") if entry.output_ref is not None]
            return {**INPUT, "workspace": {**WORKSPACE, "ref": ref}}

        return make if shape == "sequence" else INPUT

    def poll(self, workflow, who):
        attempt = self._engine.poll(who)
        assert attempt is not None
        assert self._engine.load_record(attempt).workflow_instance_id == workflow
        return attempt

    def is_running(self, workflow):
        return self._engine.status(workflow) == "RUNNING"

    def await_end(self, workflow):
        assert not self.is_running(workflow)

    def requeue(self, attempt):
        self._engine.requeue(attempt.task_id)

    def time_out(self, attempt):
        self._engine.timeout(attempt.task_id)

    def stay_silent(self, attempt):
        with suppress(EngineError):  # it says so where nothing comes of it
            self._engine.timeout(attempt.task_id)

    def terminate(self, workflow):
        self._engine.terminate(workflow)

    def retry(self, workflow):
        self._engine.retry_workflow(workflow)

    def rerun(self, workflow, task_id):
        self._engine.rerun(task_id)

    def restart(self, workflow):
        self._engine.restart(workflow)

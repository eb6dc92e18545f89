"""The local engine passes the suite that every engine has to."""

import pytest

from perago.engines.local import LocalEngine
from perago.testing.contract import EngineContract
from perago.testing.contract.engine import INPUT


class TestLocalEngine(EngineContract):
    @pytest.fixture(autouse=True)
    def runs(self):
        self.runs = {}

    def make_engine(self, directory):
        return LocalEngine(directory)

    def start(self, engine):
        run = engine.start_run(target="app:build", task_name="build", input_data=INPUT)
        self.runs[run.run_id] = run
        return run.attempt

    def next_try(self, engine, attempt):
        return self.runs[attempt.workflow_instance_id].next_try("another").attempt

    def cancel(self, engine, attempt):
        self.runs[attempt.workflow_instance_id].cancel()

    def finish(self, engine):
        for run in self.runs.values():
            run.close()


class TestLocalEngineInAProcessForEachTry(TestLocalEngine):
    """The same, where each try is made by a resume."""

    def next_try(self, engine, attempt):
        self.runs[attempt.workflow_instance_id].close()
        run = engine.resume_run(attempt.workflow_instance_id)
        self.runs[run.run_id] = run
        return run.attempt

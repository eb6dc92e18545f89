"""The Conductor engine, on a real server, passes the suite that every engine has to."""

import pytest

from perago.engines.conductor import ConductorEngine
from perago.testing.contract import EngineContract
from perago.testing.contract.engine import INPUT
from servers.conductor_api import fresh, simple

pytestmark = pytest.mark.both


class TestConductorEngine(EngineContract):
    @pytest.fixture(autouse=True)
    def server(self, conductor):
        self.api = conductor
        self.task = conductor.define_task(fresh("build"))
        inputs = {name: f"${{workflow.input.{name}}}" for name in INPUT}
        self.workflow = conductor.define_workflow(fresh("flow"), [simple(self.task, "build_ref", inputs)])
        self.started = []

    def make_engine(self, directory):
        return ConductorEngine(self.api.url)

    def start(self, engine):
        workflow_id = self.api.start_workflow(self.workflow, INPUT)
        self.started.append(workflow_id)
        (attempt,) = self.polled(engine)
        assert attempt.workflow_instance_id == workflow_id
        assert attempt.input_data == INPUT
        return attempt

    def next_try(self, engine, attempt):
        (attempt,) = self.polled(engine)
        return attempt

    def polled(self, engine):
        return self.api.wait_while_none(lambda: engine.poll([self.task], 1, "contract") or None)

    def cancel(self, engine, attempt):
        self.api.terminate(attempt.workflow_instance_id)

    def finish(self, engine):
        engine.close()
        for workflow_id in self.started:
            if self.api.workflow(workflow_id)["status"] == "RUNNING":
                self.api.terminate(workflow_id)

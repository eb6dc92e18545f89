"""The in-memory engine passes the suite that it stands in for."""

from perago.testing import MemoryEngine
from perago.testing.contract import EngineContract
from perago.testing.contract.engine import INPUT


class TestMemoryEngine(EngineContract):
    def make_engine(self, directory):
        return MemoryEngine()

    def start(self, engine):
        engine.schedule("build", INPUT, reference_task_name="build_ref", workflow=engine.start_workflow())
        return engine.poll()

    def next_try(self, engine, attempt):
        return engine.poll()

    def cancel(self, engine, attempt):
        engine.terminate(attempt.workflow_instance_id)

    def finish(self, engine):
        pass

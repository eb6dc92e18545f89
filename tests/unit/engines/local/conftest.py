"""A local engine in a directory of its own."""

import pytest

from perago.engines.local import LocalEngine
from perago.testing import ManualClock


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def engine(tmp_path, clock):
    return LocalEngine(tmp_path / "runs", clock)


@pytest.fixture
def start(engine):
    """Start a run, and close it at the end of the test."""
    started = []

    def start_run(**options):
        values = {"target": "app.tasks:build", "task_name": "build", "input_data": INPUT, "params_exact": True}
        run = engine.start_run(**values | options)
        started.append(run)
        return run

    yield start_run
    for run in started:
        run.close()


REF = "a" * 40
INPUT = {"workspace": {"repository": "data", "branch": "main", "refType": "commit", "ref": REF}, "params": {"n": 1}}

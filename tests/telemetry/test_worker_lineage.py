"""What a worker tells of attempts that do not end as they should, at a real OpenLineage receiver."""

from __future__ import annotations

from pathlib import Path

import pytest

from lineage_receiver import LineageReceiver
from lineage_schema import expect_valid
from perago.running.lineage import open_lineage
from supervised import Supervised
from waiting import wait_for


@pytest.fixture
def lineage():
    with LineageReceiver() as receiver:
        yield receiver


@pytest.fixture
def telemetry(lineage):
    opened = open_lineage({"OPENLINEAGE_URL": lineage.url}, None, lambda _instrument: None)
    with opened as sink:
        yield sink


@pytest.fixture
def modules(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "worker" / "modules"))


def ends(receiver, job):
    """The events of a job, run by run: state, and the message of a failure."""
    runs: dict[str, list[str]] = {}
    for event in receiver.of(job):
        expect_valid(event)
        runs.setdefault(event["run"]["runId"], []).append(event["eventType"])
    return list(runs.values())


@pytest.mark.parametrize("mode", ["process", "thread"])
def test_attempts_of_a_worker_have_both_their_events(modules, tmp_path, lineage, telemetry, mode):
    with Supervised(tmp_path / "root", mode=mode, telemetry=telemetry) as worker:
        worker.completed(worker.schedule("light.echo", {"text": "hello"}))
        failing = worker.schedule("light.echo", input_data={"params": {"text": ["no text"]}}, retries=0)
        worker.reason(failing)
    wait_for(lambda: len(lineage.events) == 4, "all events")
    assert ends(lineage, "light.echo") == [["START", "COMPLETE"], ["START", "FAIL"]]
    told = lineage.last("light.echo")["run"]["facets"]
    assert "params.text" in told["errorMessage"]["message"]
    assert told["perago_attempt"]["error"] == "TaskInputError"


def test_a_try_that_the_engine_ends_is_aborted_and_one_whose_executor_dies_has_failed(
    modules, tmp_path, lineage, telemetry
):
    with Supervised(tmp_path / "root", telemetry=telemetry) as worker:
        ended = worker.schedule("light.heed", {"seconds": 60})
        worker.in_body(ended)
        worker.engine.tasks.terminate(worker.where)
        wait_for(lambda: ends(lineage, "light.heed") == [["START", "ABORT"]], "the abort", 60)
        worker.reason(worker.schedule("light.die", {"text": "exit"}, retries=0))
        wait_for(lambda: ends(lineage, "light.die") == [["START", "FAIL"]], "the failure", 60)


def test_a_try_that_is_given_back_goes_on_as_the_same_run(modules, tmp_path, lineage, telemetry):
    with Supervised(tmp_path / "root", telemetry=telemetry) as worker:
        name = worker.schedule("light.heed", {"seconds": 60})
        worker.in_body(name)
        engine = worker.engine
    wait_for(lambda: ends(lineage, "light.heed") == [["START", "OTHER"]], "the return", 60)
    with Supervised(tmp_path / "other", telemetry=telemetry, engine=engine) as worker:
        worker.in_body(name)
        wait_for(lambda: ends(lineage, "light.heed") == [["START", "OTHER", "START"]], "the second delivery", 60)
        engine.tasks.terminate(name.split("/")[0])
        wait_for(lambda: ends(lineage, "light.heed") == [["START", "OTHER", "START", "ABORT"]], "the abort", 60)

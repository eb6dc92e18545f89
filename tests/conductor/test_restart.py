"""A Conductor that is killed in the middle and started again: leases, reports and reads of it, and what it leaves."""

import os

import pytest

from perago.engines.conductor import ConductorEngine
from perago.errors import EngineUnavailableError
from perago.values.models import RuntimeTaskResult
from perago.worker.supervisor.delivery import Delivered, Delivery, ResultSpool
from servers.conductor_api import fresh, simple

DONE = RuntimeTaskResult("COMPLETED", {"result": {"n": 1}})


def outcomes(delivery):
    return [outcome for _, outcome in delivery.deliver_kept()]


@pytest.mark.timeout(900)  # two starts, on a machine that may be busy
def test_a_server_that_is_killed_and_started_again(start_conductor, tmp_path):
    server = start_conductor()
    with server.api() as api, ConductorEngine(server.api_url) as engine:
        task = api.define_task(fresh("task"), responseTimeoutSeconds=3600)
        flow = api.define_workflow(fresh("flow"), [simple(task, "only")])
        workflows = [api.start_workflow(flow) for _ in range(3)]
        attempts = []
        while len(attempts) < 3:
            attempts += engine.poll([task], 3, "w")
        lease = engine.hold(attempts[0])
        delivery = Delivery(engine, ResultSpool(tmp_path / "reports"))
        assert delivery.deliver(attempts[1], DONE) is Delivered.RECORDED
        before = engine.load_record(attempts[1])
        first = server.pid
        server.kill()

        with pytest.raises(EngineUnavailableError):
            engine.load_current_attempt(attempts[0])
        with pytest.raises(EngineUnavailableError):
            engine.poll([task], 1, "w")
        lease.stop()
        assert [delivery.deliver(attempts[number], DONE) for number in (0, 2)] == [Delivered.KEPT] * 2
        assert outcomes(delivery) == [Delivered.KEPT] * 2

        server.start()
        assert server.pid != first
        assert engine.load_record(attempts[1]) == before
        restarted_worker = Delivery(engine, ResultSpool(tmp_path / "reports"))
        assert outcomes(restarted_worker) == [Delivered.RECORDED] * 2
        assert outcomes(delivery) == [Delivered.RECORDED] * 2
    with server.api() as api:
        ended = [api.wait_for_end(workflow) for workflow in workflows]
    assert [entry["status"] for entry in ended] == ["COMPLETED"] * 3
    assert [len(entry["tasks"]) for entry in ended] == [1, 1, 1]

    pid, directory = server.pid, server.directory
    server.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not directory.exists()

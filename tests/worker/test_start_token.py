"""`perago start` on a Conductor that asks for a key and a secret."""

from __future__ import annotations

import signal

import psutil
import pytest

from leaks import secrets_in_files, secrets_on_command_lines
from start_support import StartedWorker, TaskFlow
from token_gate import TokenGate

KEY, SECRET = "key-of-a-worker", "secret-of-a-worker-5b1d"
ECHO = ["supervised_bodies:echo"]


@pytest.fixture(autouse=True)
def nothing_stays():
    """Replaces conftest's fixture, because the session's servers outlive a test."""


@pytest.fixture
def flow(conductor, bodies):
    return TaskFlow(conductor, "supervised_bodies")


@pytest.fixture
def gate(conductor_server):
    with TokenGate(conductor_server.api_url, KEY, SECRET) as gate:
        yield gate


def worker_at(gate, flow, directory, secret=SECRET):
    account = {"CONDUCTOR_AUTH_KEY": KEY, "CONDUCTOR_AUTH_SECRET": secret}
    return StartedWorker(directory, gate.url, ECHO, "--domain", flow.domain, **account)


def test_a_worker_gets_a_token_for_its_key_and_a_new_one_when_that_is_refused(gate, flow, tmp_path):
    with worker_at(gate, flow, tmp_path) as worker:
        worker.wait_ready()
        assert flow.completed(flow.start("light.echo", {"text": "first"}))["result"]["text"] == "first"
        issued = len(gate.issued)
        gate.revoke()
        assert flow.completed(flow.start("light.echo", {"text": "second"}))["result"]["text"] == "second"
        assert len(gate.issued) > issued
        assert all(token in gate.issued for _, token in gate.refused)  # nothing went without one
        family = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]
        assert list(secrets_on_command_lines(family, [SECRET])) == []
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    assert gate.refused
    assert list(secrets_in_files(tmp_path, [SECRET, *gate.issued])) == []


def test_a_secret_that_is_refused_ends_the_start_with_a_word(gate, flow, tmp_path):
    worker = worker_at(gate, flow, tmp_path, secret="another-secret-5b1d")
    worker.start()
    assert worker.wait(90) == 2, worker.told()
    assert "CONDUCTOR_AUTH_KEY" in worker.told()
    assert gate.issued == []
    assert list(secrets_in_files(tmp_path, ["another-secret-5b1d"])) == []

"""The PostgreSQL server of the tests: it is not root's, asks for its password, and never stays behind."""

import subprocess
import sys

import psutil
import pytest

from servers import postgres
from servers.postgres import PostgresServer
from waiting import wait_for


@pytest.fixture
def server():
    missing = postgres.what_is_missing()
    if missing:
        pytest.skip(missing)
    with PostgresServer() as server:
        yield server


def ask(server, password):
    """The answer of psql, which comes with the server."""
    address = server.jdbc_url.removeprefix("jdbc:").replace("//", f"//{server.user}@")
    command = [postgres.find_programs() / "psql", "--no-password", "--tuples-only", "--no-align", address]
    environment = {**server.environment(), "PGPASSWORD": password}
    return subprocess.run(
        [*command, "--command", "SELECT 6 * 7"], env=environment, capture_output=True, text=True, timeout=60
    )


def test_it_answers_to_its_password_and_closing_removes_everything(server):
    processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children()]
    assert len(processes) > 1
    assert all(process.uids().effective != 0 for process in processes)
    assert ask(server, server.password).stdout == "42\n"
    assert "password authentication failed" in ask(server, "guessed").stderr
    server.close()
    assert not any(process.is_running() for process in processes)
    assert not server.directory.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, where a process can ask to end with its parent")
def test_it_ends_when_its_guard_is_killed(server):
    process = psutil.Process(server.pid)
    processes = [process, *process.children()]
    process.parent().kill()
    wait_for(lambda: not any(each.is_running() for each in processes), "the server's end")

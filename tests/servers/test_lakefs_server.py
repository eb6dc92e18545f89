"""The lakeFS server of the tests: it starts, keeps its data over restarts, and never stays behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

from servers.fixtures import repository_on
from servers.lakefs_api import ApiError
from waiting import wait_for

ROOT = Path(__file__).parents[2]


def is_gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_each_test_has_an_empty_repository(lakefs_repository):
    assert lakefs_repository.objects("main") == []
    commit = lakefs_repository.commit_files("main", {"a": b"a", "dir/b": b"b"})
    assert lakefs_repository.head("main") == commit
    assert lakefs_repository.files("main") == {"a": b"a", "dir/b": b"b"}
    assert len(lakefs_repository.line("main")) == 2


def test_what_the_server_refuses_is_said(lakefs_repository):
    with pytest.raises(ApiError, match="404"):
        lakefs_repository.get("main", "missing")


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_data_and_address_outlive_a_restart(start_lakefs, end):
    server = start_lakefs()
    with repository_on(server) as repository:
        commit = repository.commit_files("main", {"a": b"a"})
        first = server.pid
        getattr(server, end)()
        with pytest.raises(OSError):
            repository.head("main")
        server.start()
        assert server.pid != first
        assert repository.head("main") == commit
        assert repository.get("main", "a") == b"a"


def test_closing_removes_everything(start_lakefs):
    server = start_lakefs()
    pid, directory = server.pid, server.directory
    server.close()
    assert is_gone(pid)
    assert not directory.exists()


PROGRAM = """
import sys
from servers.lakefs import LakeFSServer
server = LakeFSServer()
print(server.pid, server.directory, flush=True)
sys.stdin.read()
"""


def test_it_ends_when_its_owner_is_killed(start_lakefs):
    owner = subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with owner:
        pid, directory = owner.stdout.readline().split()
        assert Path(directory.decode()).is_dir()
        owner.kill()
    wait_for(lambda: is_gone(int(pid)), "the server's end")
    wait_for(lambda: not Path(directory.decode()).exists(), "the removal of its data")


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, where a process can ask to end with its parent")
def test_it_ends_when_its_guard_is_killed(start_lakefs):
    server = start_lakefs()
    guard = psutil.Process(server.pid).parent()
    guard.kill()
    wait_for(lambda: is_gone(server.pid), "the server's end")


def test_the_command_line_runs_one(start_lakefs):
    program = [sys.executable, "-m", "servers.lakefs", "run"]
    with subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        shown = dict(running.stdout.readline().rstrip("\n").split("=", 1) for _ in range(3))
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=30) == 0
    assert shown["PERAGO_TEST_LAKEFS_URL"].startswith("http://127.0.0.1:")


def test_a_server_on_s3_has_presigned_urls(lakefs_on_s3):
    with repository_on(lakefs_on_s3) as repository:
        repository.put("main", "a", b"content")
        found = repository.expect("GET", "/refs/main/objects/ls", query={"presign": True})["results"]
        with urlopen(found[0]["physical_address"], timeout=30) as response:
            assert response.read() == b"content"

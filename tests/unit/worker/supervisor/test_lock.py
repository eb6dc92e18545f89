"""The supervisor's lock: one at a time, and none beyond its process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from perago.errors import RuntimeConfigError
from perago.worker.supervisor.lock import is_locked, only_supervisor
from servers.machine import slowness

SUPERVISOR = """
import os, sys
from pathlib import Path
from perago.worker.supervisor.lock import only_supervisor

with only_supervisor(Path(sys.argv[1]), "worker-1"):
    if not os.fork():  # as a body in a thread may
        print(os.getpid(), flush=True)
    sys.stdin.read()
"""


def test_a_fork_that_outlives_a_supervisor_does_not_keep_the_next_one_out(tmp_path):
    root = tmp_path / "root"
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        fork = int(process.stdout.readline())
        assert is_locked(root)
        refused = pytest.raises(RuntimeConfigError, match=f"process {process.pid} on .*, worker worker-1")
        with refused, only_supervisor(root, "worker-2"):
            pass
        process.kill()
        process.wait(60 * slowness())
        assert not is_locked(root)
        with only_supervisor(root, "worker-2"):
            assert is_locked(root)
        os.kill(fork, 0)  # it lives
    finally:
        process.kill()
        process.communicate(timeout=60 * slowness())  # both have ended


def test_a_lock_that_is_none_is_told_and_not_waited_for(tmp_path):
    (tmp_path / "supervisor").mkdir()
    os.mkfifo(tmp_path / "supervisor" / "lock")
    assert not is_locked(tmp_path)
    with pytest.raises(RuntimeConfigError, match="is not a regular file"), only_supervisor(tmp_path, "worker-1"):
        pass


@pytest.mark.parametrize("directory", [".", "supervisor"])
def test_a_directory_that_others_may_write_to_is_refused(tmp_path, directory):
    (tmp_path / "supervisor").mkdir()
    (tmp_path / directory).chmod(0o777)
    with pytest.raises(RuntimeConfigError, match="can be written by all users"), only_supervisor(tmp_path, "worker-1"):
        pass


def test_no_link_is_written_through(tmp_path):
    (tmp_path / "supervisor").mkdir()
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "supervisor/lock").symlink_to(tmp_path / "precious")
    with pytest.raises(RuntimeConfigError, match="symbolic links"), only_supervisor(tmp_path, "worker-1"):
        pass
    assert (tmp_path / "precious").read_text() == "mine"

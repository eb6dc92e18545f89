"""The owner marker: who an attempt directory belongs to, and whether that one lives."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perago.errors import WorkspaceStorageError
from perago.workspace.owner import ENDED, OwnerMarker, liveness, started_by_wall_clock, started_since_boot

NOW = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)


def own_marker():
    return OwnerMarker.of_this_process(worker_id="w-1", task_id="t-1", execution_id="e-1", now=NOW)


@pytest.fixture
def child():
    """A process that lives until its input ends."""
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    yield process
    process.stdin.close()
    process.wait()


def marker_of(process):
    started = started_since_boot if sys.platform == "linux" else started_by_wall_clock
    return replace(own_marker(), pid=process.pid, process_started=started(process.pid))


def end(process):
    process.kill()
    process.wait()


# ---------------------------------------------------------------- its file


def test_the_marker_says_who_where_and_when(tmp_path):
    path = tmp_path / "owner.json"
    own_marker().write(path)
    said = json.loads(path.read_text())
    assert said["pid"] == os.getpid()
    assert said["host"] == os.uname().nodename
    assert (said["worker_id"], said["task_id"], said["execution_id"]) == ("w-1", "t-1", "e-1")
    assert said["created_at"] == "2024-05-01T12:00:00+00:00"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["owner.json"]


markers = st.builds(
    OwnerMarker,
    host=st.text(),
    boot_id=st.none() | st.text(),
    pid=st.integers(1, 2**40),
    process_started=st.floats(0, 1e12),
    worker_id=st.text(),
    task_id=st.text(st.characters(exclude_categories=[])),
    execution_id=st.text(),
    created_at=st.text(),
    pid_namespace=st.none() | st.text(),
)


@given(markers)
def test_a_marker_comes_back_from_its_file_as_it_was(tmp_path_factory, marker):
    path = tmp_path_factory.mktemp("o") / "owner.json"
    marker.write(path)
    assert OwnerMarker.read(path) == marker


def test_what_is_no_marker_is_read_as_none(tmp_path):
    path = tmp_path / "owner.json"
    assert OwnerMarker.read(path) is None
    whole = asdict(own_marker())
    for content in ["", "{", "[]", "3", "{}", "\ufffd", "[" * 100_000, json.dumps(whole)[:-5]]:
        path.write_text(content)
        assert OwnerMarker.read(path) is None
    for name, value in [("pid", "x"), ("pid", 0), ("pid", -1), ("host", 3), ("boot_id", 3), ("process_started", "x")]:
        path.write_text(json.dumps({**whole, name: value}))
        assert OwnerMarker.read(path) is None
    path.write_bytes(b"\xff\xfe")
    assert OwnerMarker.read(path) is None


def test_a_marker_is_read_from_a_regular_file_alone(tmp_path):
    path = tmp_path / "owner.json"
    own_marker().write(tmp_path / "other")
    path.symlink_to("other")
    assert OwnerMarker.read(path) is None
    path.unlink()
    os.mkfifo(path)
    assert OwnerMarker.read(path) is None
    path.unlink()
    path.mkdir()
    assert OwnerMarker.read(path) is None


def test_a_full_disk_is_a_storage_error(full_disk):
    with pytest.raises(WorkspaceStorageError, match=r"owner marker.*free some space"):
        own_marker().write(full_disk / "owner.json")
    assert [entry.name for entry in full_disk.iterdir()] == ["ballast"]


# ---------------------------------------------------------------- alive, dead, unknown


def test_this_process_lives():
    assert liveness(own_marker()) == "alive"


def test_a_process_lives_until_it_ends(child):
    marker = marker_of(child)
    assert liveness(marker) == "alive"
    end(child)
    assert liveness(marker) == "dead"


def test_a_process_that_nobody_waited_for_yet_is_dead(child):
    marker = marker_of(child)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert liveness(marker) == "dead"
    for started in (started_by_wall_clock, started_since_boot):
        assert started(child.pid) == ENDED or (started is started_since_boot and sys.platform != "linux")


def test_another_process_with_the_same_id_is_not_the_owner():
    started = own_marker().process_started
    assert liveness(replace(own_marker(), process_started=started - 60)) == "dead"
    assert liveness(replace(own_marker(), process_started=started + 60)) == "dead"
    assert liveness(replace(own_marker(), process_started=started + 0.01)) == "alive"


def test_another_host_cannot_be_seen():
    assert liveness(replace(own_marker(), host="elsewhere")) == "unknown"
    assert liveness(replace(own_marker(), host="elsewhere", boot_id="other", pid=2**30)) == "unknown"


@pytest.mark.skipif(own_marker().boot_id is None, reason="this system does not name its boots: Linux does")
def test_another_boot_may_be_that_of_another_host_of_this_name():
    assert liveness(replace(own_marker(), boot_id="other")) == "unknown"
    assert liveness(replace(own_marker(), boot_id="other", pid=2**30)) == "unknown"
    assert liveness(replace(own_marker(), boot_id=None)) == "unknown"


@pytest.mark.skipif(own_marker().pid_namespace is None, reason="this system has no process namespaces: Linux has")
def test_another_container_cannot_be_seen():
    assert liveness(replace(own_marker(), pid_namespace="pid:[1]")) == "unknown"
    assert liveness(replace(own_marker(), pid_namespace=None)) == "unknown"


@pytest.mark.parametrize("pid", [2**22 + 5, 2**31 - 1, 2**70])
def test_no_such_process_is_dead(pid):
    assert liveness(replace(own_marker(), pid=pid)) == "dead"


def hide_processes_of_others():
    """In a mount namespace of this process's own."""
    if ctypes.CDLL(None).unshare(0x20000) != 0:
        raise PermissionError("no mount namespace is permitted here")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True, capture_output=True)
    subprocess.run(["mount", "-t", "proc", "-o", "hidepid=2", "proc", "/proc"], check=True, capture_output=True)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs Linux and root, to hide processes")
def test_a_process_that_is_hidden_is_not_taken_for_dead(as_nobody, child):
    marker = marker_of(child)
    try:
        assert as_nobody(lambda: liveness(marker), before=hide_processes_of_others) == "unknown"
        gone = replace(marker, pid=2**31 - 1)
        assert as_nobody(lambda: liveness(gone), before=hide_processes_of_others) == "dead"
    except (PermissionError, subprocess.CalledProcessError):
        pytest.skip("needs root, with the right to mount a proc that hides processes")


def test_start_times_are_told_the_same_by_other_processes(child):
    """By whoever asks, and under whatever wall clock: a janitor must not take the living for dead."""
    question = (
        "import sys; from perago.workspace import owner;"
        "print(owner.started_since_boot(int(sys.argv[1])), owner.started_by_wall_clock(int(sys.argv[1])))"
    )
    told = subprocess.run(
        [sys.executable, "-c", question, str(child.pid)], check=True, capture_output=True, text=True
    ).stdout.split()
    assert float(told[1]) == pytest.approx(started_by_wall_clock(child.pid), abs=0.02)
    if sys.platform == "linux":
        assert float(told[0]) == started_since_boot(child.pid)


def test_no_start_is_told_of_a_process_that_is_not_there():
    assert started_by_wall_clock(2**31 - 1) is None
    assert started_since_boot(2**31 - 1) is None

"""The janitor: orphans go, the living stay, and nothing that is not ours is touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from perago.errors import WorkspaceStorageError
from perago.ports import SystemClock
from perago.values.models import AttemptIdentity
from perago.workspace.directory import AttemptDirectory
from perago.workspace.janitor import is_orphan, sweep
from perago.workspace.owner import OwnerMarker

TTL = 3600.0
MARKER = OwnerMarker.of_this_process(worker_id="w", task_id="t", execution_id="e", now=datetime.now(UTC))
NOBODYS = replace(MARKER, process_started=MARKER.process_started - 1000)
ELSEWHERE = replace(MARKER, host="elsewhere")


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "root"
    path.mkdir()
    return path


def create(root, execution_id="e1", marker=None):
    identity = AttemptIdentity(workflow_instance_id="wf", task_id="task", retry_count=0)
    directory = AttemptDirectory.create(root, identity, execution_id, "w", SystemClock())
    (directory.workspace / "d").mkdir()
    (directory.workspace / "d/f").write_text("x")
    if marker is not None:
        marker.write(directory.path / "owner.json")
    return directory


def names(paths):
    return sorted(path.name for path in paths)


# ---------------------------------------------------------------- the decision


@pytest.mark.parametrize("age", [-5.0, 0.0, TTL, TTL + 1])
def test_the_dead_go_at_once_the_living_never_others_in_time(age):
    assert is_orphan(MARKER, "dead", age, TTL)
    assert not is_orphan(MARKER, "alive", age, TTL)
    assert is_orphan(MARKER, "unknown", age, TTL) == (age > TTL)
    assert is_orphan(None, "unknown", age, TTL) == (age > TTL)


@pytest.mark.parametrize("age", [-5.0, 0.0, TTL + 1])
def test_what_was_being_removed_and_has_no_marker_any_more_goes_at_once(age):
    assert is_orphan(None, "unknown", age, TTL, is_discarded=True)
    assert not is_orphan(MARKER, "alive", age, TTL, is_discarded=True)
    assert is_orphan(MARKER, "unknown", age, TTL, is_discarded=True) == (age > TTL)


def test_without_a_marker_nobody_is_alive_or_dead():
    assert not is_orphan(None, "dead", 0.0, TTL)
    assert is_orphan(None, "alive", TTL + 1, TTL)


# ---------------------------------------------------------------- the sweep


def test_a_sweep_removes_orphans_and_keeps_the_rest(root):
    create(root, "alive")
    create(root, "dead", NOBODYS)
    create(root, "elsewhere", ELSEWHERE)
    (create(root, "unmarked").path / "owner.json").unlink()
    (create(root, "garbled").path / "owner.json").write_text("{")
    report = sweep(root, TTL, time.time())
    assert names(report.removed) == ["task-dead"]
    assert names(report.kept) == ["task-alive", "task-elsewhere", "task-garbled", "task-unmarked"]
    assert report.failed == ()
    report = sweep(root, TTL, time.time() + TTL + 60)
    assert names(report.removed) == ["task-elsewhere", "task-garbled", "task-unmarked"]
    assert names(report.kept) == ["task-alive"]
    assert names(root.iterdir()) == ["task-alive"]


def test_half_made_and_half_removed_directories_go_by_the_same_rule_while_they_have_a_marker(root):
    for kind in ("new", "trash"):
        for index, marker in enumerate([MARKER, NOBODYS, ELSEWHERE, None]):
            path = root / f".{kind}-{index:032x}"
            path.mkdir()
            (path / "workspace").mkdir()
            if marker is not None:
                marker.write(path / "owner.json")
    report = sweep(root, TTL, time.time())
    assert names(report.removed) == [f".new-{1:032x}", f".trash-{1:032x}", f".trash-{3:032x}"]
    assert len(report.kept) == 5
    sweep(root, TTL, time.time() + TTL + 60)
    assert names(root.iterdir()) == [f".{kind}-{0:032x}" for kind in ("new", "trash")]


def test_what_is_not_an_attempts_is_never_touched(root, tmp_path):
    """A root such as a home directory or /tmp loses nothing."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "owner.json").write_text("{}")
    (root / "task-link").symlink_to(outside)
    (root / f".trash-{1:032x}").symlink_to(outside)
    (root / "task-file").write_text("x")
    (root / "supervisor.lock").write_text("x")
    (root / "project-data" / "src").mkdir(parents=True)
    (root / "project-empty").mkdir()
    (root / "Documents").mkdir()
    (root / ".trash-1000" / "files").mkdir(parents=True)
    (root / ".new-things").mkdir()
    (root / "workspace-like" / "workspace").mkdir(parents=True)
    (root / "workspace-like" / "notes.txt").write_text("x")
    create(root, "kept", NOBODYS).keep()
    before = names(root.rglob("*"))
    report = sweep(root, 0.0, time.time() + 10 * TTL)
    assert (report.removed, report.kept, report.failed) == ((), (), ())
    assert names(root.rglob("*")) == before
    assert names(outside.iterdir()) == ["owner.json"]


def test_a_body_cannot_keep_its_directory_by_setting_times(root):
    directory = create(root, "elsewhere", ELSEWHERE)
    for path in (directory.path, directory.workspace):
        os.utime(path, (time.time() + 1e9, time.time() + 1e9))
    assert names(sweep(root, TTL, time.time() + TTL + 60).removed) == ["task-elsewhere"]


def test_a_clock_that_went_back_removes_nothing(root):
    create(root, "elsewhere", ELSEWHERE)
    create(root, "alive")
    assert sweep(root, TTL, 0.0).removed == ()


def test_links_in_an_orphan_lead_nowhere(root, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    directory = create(root, "dead", NOBODYS)
    (directory.workspace / "link").symlink_to(outside)
    (directory.workspace / "d/link").symlink_to(root)
    sweep(root, TTL, time.time())
    assert names(root.iterdir()) == []
    assert names(outside.iterdir()) == ["precious"]


def test_a_linked_root_is_swept_itself(root, tmp_path):
    create(root, "dead", NOBODYS)
    (tmp_path / "link").symlink_to(root)
    assert names(sweep(tmp_path / "link", TTL, time.time()).removed) == ["task-dead"]
    assert names(root.iterdir()) == []


def test_a_root_that_is_not_there_has_no_orphans(tmp_path):
    assert sweep(tmp_path / "none", TTL, time.time()).removed == ()


def test_a_root_that_cannot_be_read_is_told(tmp_path, open_directory, as_nobody):
    (tmp_path / "file").write_text("x")
    with pytest.raises(WorkspaceStorageError, match="cannot read workspace root"):
        sweep(tmp_path / "file", TTL, time.time())
    closed = open_directory / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(WorkspaceStorageError, match="cannot read workspace root"):
        as_nobody(lambda: sweep(closed, TTL, time.time()))


def test_what_cannot_be_removed_is_reported_and_the_rest_goes(open_directory, as_nobody):
    if os.geteuid() != 0:
        pytest.skip("needs root, for files of two users")

    root = open_directory / "root"

    def make():
        create(root, "stuck", NOBODYS)
        create(root, "dead", NOBODYS)

    as_nobody(make)
    foreign = root / "task-stuck/workspace/foreign"
    foreign.mkdir()
    (foreign / "f").write_text("x")
    report = as_nobody(lambda: sweep(root, TTL, time.time()))
    assert names(report.removed) == ["task-dead"]
    ((path, reason),) = report.failed
    assert path.name == "task-stuck"
    assert "cannot remove all" in reason
    (again,) = as_nobody(lambda: sweep(root, TTL, time.time())).failed
    assert again.path.name.startswith(".trash-")  # its owner is dead: it is tried again at once
    sweep(root, TTL, time.time())
    assert names(root.iterdir()) == []


def test_two_janitors_may_sweep_at_once(root):
    for index in range(60):
        create(root, f"dead{index}", NOBODYS)
    create(root, "alive")
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda _: sweep(root, TTL, time.time()), range(4)))
    assert [report.failed for report in reports] == [()] * 4
    assert names(root.iterdir()) == ["task-alive"]


WORKER = """
import sys
from pathlib import Path
from perago.values.models import AttemptIdentity
from perago.ports import SystemClock
from perago.workspace.directory import AttemptDirectory

identity = AttemptIdentity(workflow_instance_id="wf", task_id="task", retry_count=0)
index = 0
while True:
    index += 1
    directory = AttemptDirectory.create(Path(sys.argv[1]), identity, f"e{index}", "w", SystemClock())
    if index == 1:
        print("at work", flush=True)
    for number in range(30):
        (directory.workspace / f"d{number}").mkdir()
        (directory.workspace / f"d{number}" / "f").write_text("x")
    directory.remove()
"""


def test_whenever_a_worker_is_killed_one_sweep_leaves_nothing(root):
    """While it works, a sweep at the same root takes nothing away from it."""
    left = 0
    for round_number in range(12):
        with subprocess.Popen(
            [sys.executable, "-c", WORKER, os.fspath(root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as worker:
            worker.stdout.readline()
            for _ in range(round_number + 1):
                sweep(root, TTL, time.time())
            worker.send_signal(signal.SIGKILL)
            assert worker.stderr.read() == b""
        left += len(list(root.iterdir()))
        sweep(root, TTL, time.time())
        for path in root.iterdir():  # killed before the marker was there: those go in time
            assert path.name.startswith(".new-")
            assert not (path / "owner.json").exists()
        sweep(root, TTL, time.time() + TTL + 60)
        assert names(root.iterdir()) == []
    assert left > 0, "no kill left anything behind: the test shows nothing"

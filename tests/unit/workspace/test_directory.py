"""The attempt's directory: its name, its making, its removal."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from forks import fork
from perago.errors import RuntimeConfigError, WorkspaceStorageError
from perago.values.models import AttemptIdentity
from perago.workspace.directory import ATTEMPT_DIRECTORY_NAME, AttemptDirectory, directory_name
from perago.workspace.owner import OwnerMarker, liveness


class FixedClock:
    def now(self):
        return datetime(2024, 5, 1, 12, 0, tzinfo=UTC)

    def monotonic(self):
        return 0.0

    def sleep(self, seconds):
        raise AssertionError("nobody waits here")


def create(root, task_id="task-1", execution_id="exec1", worker_id="worker-7"):
    identity = AttemptIdentity(workflow_instance_id="wf", task_id=task_id, retry_count=0)
    return AttemptDirectory.create(root, identity, execution_id, worker_id, FixedClock())


# ---------------------------------------------------------------- names

HOSTILE_IDS = [
    "", ".", "..", "../../etc", "/etc", "a/b", "a\0b", "a\nb", "x" * 5000, "ü" * 300, "\udcff", "C:\\", "-rf", ".new-x",
    ".trash-x", "kept", "A", "a~b", "a b", "\u202e",
]  # fmt: skip
any_id = st.one_of(
    st.sampled_from(HOSTILE_IDS),
    st.text(st.characters(exclude_categories=[]), max_size=20),
    st.text("ab-_.~AB", max_size=6),
    st.uuids().map(str),
)


def test_plain_ids_stand_as_they_are():
    task_id = "0b3d3c1e-43a8-4bb5-a3b5-3b8d3c0c61f2"
    assert directory_name(task_id, "9f86d081") == f"{task_id}-9f86d081"


@given(any_id, any_id)
@example("a", "x" * 300)
@example("x" * 198, "y")
def test_a_directory_name_is_one_safe_segment(task_id, execution_id):
    name = directory_name(task_id, execution_id)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.~-]*", name)
    assert len(name) <= 200
    assert name not in ("kept", ".", "..")
    assert ATTEMPT_DIRECTORY_NAME.fullmatch(name)


@given(any_id, any_id, any_id, any_id)
@example("a-b", "c", "a", "b-c")
@example("A", "x", "a", "x")
@example("a/b", "x", "a_b", "x")
@example("", "a", "a", "")
def test_two_executions_never_share_a_name_even_where_case_folds(task_1, execution_1, task_2, execution_2):
    if (task_1, execution_1) != (task_2, execution_2):
        assert directory_name(task_1, execution_1).lower() != directory_name(task_2, execution_2).lower()


# ---------------------------------------------------------------- making


def test_a_directory_is_private_marked_and_empty(tmp_path):
    root = tmp_path / "not" / "there" / "yet"
    directory = create(root)
    assert directory.path == root / "task-1-exec1"
    assert directory.path.stat().st_mode & 0o777 == 0o700
    assert directory.workspace.stat().st_mode & 0o777 == 0o700
    assert list(directory.workspace.iterdir()) == []
    assert sorted(entry.name for entry in directory.path.iterdir()) == ["owner.json", "workspace"]
    assert directory.manifest_path.parent == directory.path
    assert list(root.iterdir()) == [directory.path]
    marker = OwnerMarker.read(directory.path / "owner.json")
    assert (marker.worker_id, marker.task_id, marker.execution_id) == ("worker-7", "task-1", "exec1")
    assert liveness(marker) == "alive"
    assert json.loads((directory.path / "owner.json").read_text())["created_at"] == "2024-05-01T12:00:00+00:00"


@pytest.mark.parametrize("task_id", HOSTILE_IDS, ids=[ascii(name)[:20] for name in HOSTILE_IDS])
def test_a_hostile_id_stays_in_the_root(tmp_path, task_id):
    root = tmp_path / "root"
    directory = create(root, task_id=task_id)
    assert directory.path.parent == root
    assert list(root.iterdir()) == [directory.path]
    assert list(tmp_path.iterdir()) == [root]
    assert OwnerMarker.read(directory.path / "owner.json").task_id == task_id
    directory.remove()
    assert list(root.iterdir()) == []


def test_the_path_is_absolute_so_that_a_body_may_change_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert create(Path("relative")).path == tmp_path / "relative" / "task-1-exec1"


def test_an_execution_id_used_twice_is_refused_and_the_first_directory_is_left_alone(tmp_path):
    first = create(tmp_path)
    (first.workspace / "precious").write_text("x")
    with pytest.raises(WorkspaceStorageError, match="execution id was used before"):
        create(tmp_path)
    assert (first.workspace / "precious").read_text() == "x"
    assert list(tmp_path.iterdir()) == [first.path]
    first.remove()
    (tmp_path / "task-1-exec1").write_text("a file in the way")
    with pytest.raises(WorkspaceStorageError, match="execution id was used before"):
        create(tmp_path)


def test_a_root_that_is_no_directory_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(WorkspaceStorageError, match="cannot create workspace root"):
            create(root)


def test_a_root_that_may_not_be_written_is_refused(open_directory, as_nobody):
    closed = open_directory / "closed"
    closed.mkdir(mode=0o555)
    for root in (closed, closed / "below"):
        with pytest.raises(WorkspaceStorageError, match=r"Permission denied.*permission to write"):
            as_nobody(lambda root=root: create(root).path)


def test_a_root_that_others_may_write_to_is_refused_and_nothing_is_made_in_it(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root").chmod(0o1777)
    with pytest.raises(RuntimeConfigError, match=r"workspace root .*/root can be written by all users .*chmod go-w"):
        create(tmp_path / "root")
    assert list((tmp_path / "root").iterdir()) == []


def test_nothing_is_kept_where_others_may_write(tmp_path):
    directory = create(tmp_path)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept").chmod(0o777)
    with pytest.raises(RuntimeConfigError, match=r"directory of kept workspaces .* can be written by all users"):
        directory.keep()
    assert directory.workspace.is_dir()


def test_a_full_disk_is_told_and_nothing_is_left(full_disk):
    with pytest.raises(WorkspaceStorageError, match=r"No space left.*free some space"):
        create(full_disk)
    assert [entry.name for entry in full_disk.iterdir()] == ["ballast"]


# ---------------------------------------------------------------- removing and keeping


def test_a_removed_directory_is_gone_and_removing_it_again_is_fine(tmp_path):
    directory = create(tmp_path)
    (directory.workspace / "d/e").mkdir(parents=True)
    (directory.workspace / "d/e/f").write_text("x")
    directory.manifest_path.write_text("{}")
    directory.remove()
    assert list(tmp_path.iterdir()) == []
    directory.remove()


def test_a_kept_directory_lies_aside_with_its_files(tmp_path):
    directory = create(tmp_path)
    (directory.workspace / "f").write_text("x")
    kept = directory.keep()
    assert (kept / "f").read_text() == "x"
    assert kept == tmp_path / "kept" / "task-1-exec1" / "workspace"
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]
    directory.remove()
    assert (kept / "f").exists()
    other = create(tmp_path, execution_id="exec2")
    other.keep()
    assert sorted(entry.name for entry in (tmp_path / "kept").iterdir()) == ["task-1-exec1", "task-1-exec2"]


def test_what_cannot_be_kept_stays_where_it_is(tmp_path):
    directory = create(tmp_path)
    (tmp_path / "kept").write_text("in the way")
    with pytest.raises(WorkspaceStorageError, match="cannot keep"):
        directory.keep()
    assert directory.workspace.is_dir()


def test_a_directory_appears_with_its_marker_in_place(tmp_path):
    """Whoever lists the root while directories are made finds no attempt directory without a marker."""
    reading, writing = os.pipe()
    child = fork()
    if child == 0:
        try:
            os.close(reading)
            for index in range(200):
                create(tmp_path, execution_id=f"e{index}")
        finally:
            os._exit(0)
    os.close(writing)
    os.set_blocking(reading, False)
    seen = set()
    while True:
        ended = _at_end(reading)
        for path in tmp_path.iterdir():
            if not path.name.startswith(".new-"):
                assert OwnerMarker.read(path / "owner.json") is not None
                assert (path / "workspace").is_dir()
                seen.add(path.name)
        if ended:
            break
    os.close(reading)
    os.waitpid(child, 0)
    assert len(seen) == 200


def _at_end(reading):
    try:
        return os.read(reading, 1) == b""
    except BlockingIOError:
        return False

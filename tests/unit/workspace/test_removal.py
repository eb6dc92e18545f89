"""Removing a tree, whatever a body made of it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from perago.errors import WorkspaceStorageError
from perago.workspace.removal import delete_tree, discard

LAST = "owner.json"


@pytest.fixture
def top(tmp_path):
    return make(tmp_path / "top")


def make(path):
    path.mkdir()
    (path / LAST).write_text("{}")
    (path / "workspace").mkdir()
    return path


def test_files_links_and_special_files_go_and_what_links_point_to_stays(tmp_path, top):
    outside = tmp_path / "outside"
    (outside / "d").mkdir(parents=True)
    (outside / "d/precious").write_text("x")
    (outside / "d").chmod(0o500)
    workspace = top / "workspace"
    (workspace / "link").symlink_to(outside)
    (workspace / "file-link").symlink_to(outside / "d/precious")
    (workspace / "up").symlink_to("../..")
    (workspace / "self").symlink_to("self")
    (workspace / "d").mkdir()
    (workspace / "d/link").symlink_to(outside / "d")
    os.link(outside / "d/precious", workspace / "hard")
    os.mkfifo(workspace / "pipe")
    (workspace / "odd\nname\udcff").write_text("x")
    (top / "link").symlink_to(outside)
    discard(top, LAST)
    assert [entry.name for entry in tmp_path.iterdir()] == ["outside"]
    assert (outside / "d/precious").read_text() == "x"
    assert (outside / "d").stat().st_mode & 0o777 == 0o500


def test_a_tree_too_deep_for_any_path_goes(tmp_path, top):
    here = os.open(top / "workspace", os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("deeper", dir_fd=here)
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        below = os.open("deeper", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    discard(top, LAST)
    assert list(tmp_path.iterdir()) == []


def test_a_wide_tree_goes(tmp_path, top):
    for outer in range(30):
        for inner in range(30):
            path = top / "workspace" / f"d{outer}" / f"d{inner}"
            path.mkdir(parents=True)
            (path / "f").write_text("x")
    discard(top, LAST)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o000, 0o400, 0o500, 0o300])
def test_directories_without_permissions_go(open_directory, as_nobody, mode):
    def make_and_discard():
        path = make(open_directory / "top")
        deep = path / "workspace" / "a" / "b"
        deep.mkdir(parents=True)
        for directory in (deep, deep.parent, path / "workspace"):
            (directory / "f").write_text("x")
            (directory / "f").chmod(0)
        for directory in (deep, deep.parent, path / "workspace", path):
            directory.chmod(mode)
        discard(path, LAST)

    as_nobody(make_and_discard)
    assert list(open_directory.iterdir()) == []


def test_what_belongs_to_another_user_is_named_and_the_rest_goes(open_directory, as_nobody):
    if os.geteuid() != 0:
        pytest.skip("needs root, for files of two users")
    foreign, own = (open_directory / "top/workspace" / name for name in ("foreign", "own"))

    def make_own():
        make(open_directory / "top")
        own.mkdir()
        (own / "g").write_text("x")

    as_nobody(make_own)
    foreign.mkdir(mode=0o755)
    (foreign / "f").write_text("x")
    with pytest.raises(WorkspaceStorageError, match=r"Permission denied|not permitted"):
        as_nobody(lambda: discard(open_directory / "top", LAST))
    (aside,) = open_directory.iterdir()
    assert aside.name.startswith(".trash-")
    left = {path.relative_to(aside).as_posix() for path in aside.rglob("*")}
    assert left == {LAST, "workspace", "workspace/foreign", "workspace/foreign/f"}  # the marker, for a janitor


def test_the_last_file_goes_last(tmp_path, top):
    """A removal that is killed leaves the marker: seen by a process that looks on."""
    for index in range(2000):
        (top / "workspace" / f"f{index}").write_text("x")
    removal = threading.Thread(target=discard, args=(top, LAST))
    removal.start()
    while removal.is_alive():
        for aside in tmp_path.glob(".trash-*"):
            names = {entry.name for entry in _listed(aside)}
            assert not names or LAST in names
    removal.join()
    assert list(tmp_path.iterdir()) == []


def _listed(path):
    try:
        return list(path.iterdir())
    except FileNotFoundError:
        return []


def test_what_is_not_there_is_fine(tmp_path):
    discard(tmp_path / "none", LAST)
    delete_tree(tmp_path / "none", LAST)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("remove", [discard, delete_tree])
def test_of_a_link_the_link_goes(tmp_path, top, remove):
    (tmp_path / "link").symlink_to(top)
    remove(tmp_path / "link", LAST)
    assert [entry.name for entry in tmp_path.iterdir()] == ["top"]
    assert (top / LAST).exists()


def test_a_directory_that_cannot_be_renamed_is_told(open_directory, as_nobody):
    closed = open_directory / "closed"
    closed.mkdir()
    make(closed / "top")
    closed.chmod(0o555)
    with pytest.raises(WorkspaceStorageError, match="cannot remove directory"):
        as_nobody(lambda: discard(closed / "top", LAST))
    assert (closed / "top" / LAST).exists()


def test_several_processes_may_remove_one_tree(tmp_path, top):
    for outer in range(20):
        for inner in range(20):
            path = top / "workspace" / f"d{outer}" / f"d{inner}" / "e"
            path.mkdir(parents=True)
            (path / "f").write_text("x")
    code = (
        "import sys; from pathlib import Path; from perago.workspace.removal import delete_tree;"
        "sys.stdin.readline(); delete_tree(Path(sys.argv[1]), 'owner.json')"
    )
    command = [sys.executable, "-c", code, os.fspath(top)]
    removers = [subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)]
    for remover in removers:
        remover.stdin.write(b"\n")
        remover.stdin.flush()
    for remover in removers:
        _, errors = remover.communicate()
        assert (remover.returncode, errors) == (0, b"")
    assert list(tmp_path.iterdir()) == []


def test_files_that_appear_meanwhile_go_too(tmp_path, top):
    """A process of the body that outlives it writes on until its directory is gone."""
    stop = threading.Event()

    def write():
        index = 0
        while not stop.is_set():
            index += 1
            try:
                (top / "workspace" / f"f{index}").write_text("x")
            except FileNotFoundError:
                return

    writer = threading.Thread(target=write)
    writer.start()
    try:
        delete_tree(top, LAST)
    finally:
        stop.set()
        writer.join()
    assert list(tmp_path.iterdir()) == []

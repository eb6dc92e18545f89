"""The scan: what is on disk, and what must not be there."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from perago.errors import ObjectNameError, WorkspaceContentError, WorkspaceStorageError
from perago.workspace.patterns import Selection
from perago.workspace.scan import MAX_LISTED, FileStat, scan

ALL = Selection()


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "workspace"
    path.mkdir()
    return path


def write(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def test_files_come_with_their_stat_and_directories_even_when_empty(root):
    write(root, "a.txt", "d/e/b.txt", ".hidden/x", "données/é")
    (root / "empty/inner").mkdir(parents=True)
    (root / "a.txt").chmod(0o755)
    (root / "d/e/b.txt").chmod(0o656)  # executable for its group alone is not executable to git
    found = scan(root, ALL)
    assert set(found.files) == {".hidden/x", "a.txt", "données/é", "d/e/b.txt"}
    assert found.directories == {"d", "d/e", ".hidden", "données", "empty", "empty/inner"}
    status = (root / "a.txt").lstat()
    assert found.files["a.txt"] == FileStat(5, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, True)
    assert found.files["d/e/b.txt"].executable is False


def test_an_empty_workspace_is_fine(root):
    found = scan(root, ALL)
    assert (found.files, found.directories) == ({}, frozenset())


def test_what_is_not_selected_is_passed_over_whatever_it_is(root):
    write(root, "in/a.csv", "in/b.txt", "out/a.csv", "in/tmp/x.csv")
    (root / "out/link").symlink_to("/etc")
    (root / "in/link.txt").symlink_to("a.csv")
    (root / "in/broken").symlink_to("nowhere")
    os.mkfifo(root / "in/pipe")
    write(root, "in/bad\nname.txt")
    os.mkfifo(root / "in/tmp/pipe.csv")
    assert set(scan(root, Selection(["in/**/*.csv"], ["**/tmp"])).files) == {"in/a.csv"}


def test_what_is_not_included_is_counted_and_what_is_excluded_is_not(root):
    write(root, "in/a.csv", "in/b.txt", "in/tmp/x.csv", "out/deep/c.csv", "out/tmp/y.csv", "out/deep/d.bak")
    found = scan(root, Selection(["in/**/*.csv"], ["**/tmp", "**/*.bak"]))
    assert (set(found.left_out), found.left_out_count) == ({"in/b.txt", "out/deep/c.csv"}, 2)
    assert scan(root, Selection([], ["in", "out"])).left_out == ()
    assert scan(root, ALL).left_out == ()


@pytest.mark.parametrize(
    "names", [[f"out/{n}" for n in range(60)], [f"out/{n}/x" for n in range(60)]], ids=["files", "dirs"]
)
def test_of_much_that_is_not_selected_only_some_is_looked_at(root, monkeypatch, names):
    monkeypatch.setattr("perago.workspace.scan.MAX_LEFT_OUT", 20)
    write(root, "in/a.csv", "in/b.txt", *names)
    found = scan(root, Selection(["in/*.csv"]))
    assert found.left_out_more
    assert 1 <= found.left_out_count <= 22
    assert "in/b.txt" in found.left_out


def test_much_that_is_excluded_is_not_looked_at_to_the_end_either(root, monkeypatch):
    monkeypatch.setattr("perago.workspace.scan.MAX_LEFT_OUT", 20)
    write(root, "in/a.csv", *(f"out/{number}.bak" for number in range(60)))
    found = scan(root, Selection(["in/*.csv"], ["**/*.bak"]))
    assert (found.left_out_count, found.left_out_more) == (0, True)


def test_where_all_was_looked_at_the_count_is_exact(root, monkeypatch):
    monkeypatch.setattr("perago.workspace.scan.MAX_LEFT_OUT", 20)
    write(root, "in/a.csv", *(f"out/{number}" for number in range(20)))
    found = scan(root, Selection(["in/*.csv"]))
    assert (found.left_out_count, found.left_out_more, len(found.left_out)) == (20, False, MAX_LISTED)


def special(root, kind):
    path = root / "d" / "odd"
    path.parent.mkdir()
    match kind:
        case "a symbolic link":
            path.symlink_to("/etc/passwd")
        case "a symbolic link to nowhere":
            path.symlink_to("nowhere")
        case "a symbolic link to itself":
            path.symlink_to("odd")
        case "a fifo":
            os.mkfifo(path)
        case "a socket":
            listening = socket.socket(socket.AF_UNIX)
            with listening:
                here = os.open(path.parent, os.O_RDONLY)
                listening.bind(f"/proc/self/fd/{here}/odd" if Path("/proc/self/fd").exists() else str(path))
                os.close(here)
        case "a character device":
            os.mknod(path, 0o666 | 0o020000, os.makedev(1, 3))
        case "a block device":
            os.mknod(path, 0o666 | 0o060000, os.makedev(7, 0))


@pytest.mark.parametrize(
    "kind",
    [
        "a symbolic link",
        "a symbolic link to nowhere",
        "a symbolic link to itself",
        "a fifo",
        "a socket",
        "a character device",
        "a block device",
    ],
)
def test_what_is_no_regular_file_is_refused(root, kind):
    try:
        special(root, kind)
    except PermissionError:
        pytest.skip("needs root, to make devices")
    with pytest.raises(WorkspaceContentError) as refused:
        scan(root, ALL)
    assert f"'d/odd' is {kind.split(' to ')[0]}" in str(refused.value)
    assert "exclude" in str(refused.value)
    assert scan(root, Selection([], ["d/odd"])).files == {}


def test_a_link_to_a_directory_is_refused_where_selected_files_could_lie_below_it(root, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/x.csv").write_text("x")
    (root / "data").symlink_to(tmp_path / "elsewhere")
    for selection in (ALL, Selection(["data"]), Selection(["data/*.csv"]), Selection(["**/*.csv"])):
        with pytest.raises(WorkspaceContentError, match="'data' is a symbolic link"):
            scan(root, selection)
    for selection in (Selection(["other/*.csv"]), Selection([], ["data"])):
        assert scan(root, selection).files == {}


def test_ten_faults_are_named_and_the_rest_counted(root):
    for index in range(25):
        os.mkfifo(root / f"pipe{index}")
    with pytest.raises(WorkspaceContentError) as refused:
        scan(root, ALL)
    assert str(refused.value).count("is a fifo") == 10
    assert "and 15 more" in str(refused.value)


@pytest.mark.parametrize("name", ["a\\b", "a\nb", "a\tb", "a\u202eb", "a\ufffdb", "C:x", "d/a\x7f", "a\u2028b"])
def test_names_that_no_store_takes_are_refused(root, name):
    write(root, name, "fine")
    with pytest.raises(ObjectNameError) as refused:
        scan(root, ALL)
    assert ascii(name)[1:-1] in str(refused.value)
    assert "rename" in str(refused.value)
    assert str(refused.value).isprintable()


def test_an_undecodable_name_is_refused(root):
    try:
        (root / "a\udcff").write_text("x")
    except OSError:
        pytest.skip("this file system takes UTF-8 alone: any of Linux's takes all bytes")
    with pytest.raises(ObjectNameError, match="not valid UTF-8"):
        scan(root, ALL)


def test_names_and_kinds_at_fault_are_reported_together(root):
    write(root, "a\\b")
    os.mkfifo(root / "pipe")
    with pytest.raises(WorkspaceContentError) as refused:
        scan(root, ALL)
    assert "backslash" in str(refused.value)
    assert "fifo" in str(refused.value)


def test_a_tree_too_deep_for_a_path_is_refused(root):
    here = os.open(root, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("x" * 200, dir_fd=here)
        below = os.open("x" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    with pytest.raises(ObjectNameError, match="too long"):
        scan(root, ALL)


@pytest.mark.parametrize("what", ["gone", "file", "link"])
def test_a_workspace_that_is_no_directory_any_more_is_refused(root, tmp_path, what):
    root.rmdir()
    if what == "file":
        root.write_text("x")
    elif what == "link":
        root.symlink_to(tmp_path)
    with pytest.raises(WorkspaceContentError, match="no longer exists"):
        scan(root, ALL)


def test_a_root_that_cannot_be_looked_at_is_a_storage_error(tmp_path):
    with pytest.raises(WorkspaceStorageError):
        scan(tmp_path / ("x" * 300), ALL)


# ---------------------------------------------------------------- what cannot be read, by a user who is not root


def refused_for_nobody(as_nobody, root, selection=ALL):
    with pytest.raises(WorkspaceContentError) as refused:
        as_nobody(lambda: scan(root, selection))
    return str(refused.value)


def test_an_unreadable_file_is_refused(open_directory, as_nobody):
    write(open_directory, "d/secret", "d/fine")
    (open_directory / "d/secret").chmod(0o600)
    assert "'d/secret' cannot be read" in refused_for_nobody(as_nobody, open_directory)
    assert list(as_nobody(lambda: scan(open_directory, Selection([], ["d/secret"]))).files) == ["d/fine"]


def test_an_unreadable_directory_is_refused(open_directory, as_nobody):
    write(open_directory, "d/x", "fine")
    (open_directory / "d").chmod(0o700)
    assert "'d' is a directory that cannot be read" in refused_for_nobody(as_nobody, open_directory)
    assert list(as_nobody(lambda: scan(open_directory, Selection(["fine"]))).files) == ["fine"]


def test_a_directory_that_cannot_be_searched_is_refused(open_directory, as_nobody):
    write(open_directory, "d/x")
    (open_directory / "d").chmod(0o744)
    assert "'d/x' is in a directory that cannot be searched" in refused_for_nobody(as_nobody, open_directory)


def test_restricted_files_of_ones_own_can_be_read(open_directory, as_nobody):
    def make_and_scan():
        write(open_directory, "a", "b")
        (open_directory / "a").chmod(0o600)
        (open_directory / "b").chmod(0o400)
        return sorted(scan(open_directory, ALL).files)

    assert as_nobody(make_and_scan) == ["a", "b"]

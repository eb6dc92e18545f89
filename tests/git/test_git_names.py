"""Names and entries that a tree can hold and a workspace cannot, and the other way round."""

import contextlib
import os
import socket

import pytest
from pygit2.enums import ObjectType

from forks import fork
from git_support import write_files
from perago.errors import ObjectNameError, WorkspaceContentError
from perago.files.beneath import Beneath
from perago.ports import SystemClock
from perago.stores.git.commits import Identity, write_commit
from perago.stores.git.objects import (
    DIRECTORY,
    EXECUTABLE,
    FILE,
    SUBMODULE,
    SYMLINK,
    TreeEntry,
    differing_entries,
    parse_tree,
    serialize_tree,
)
from perago.stores.git.packs import open_writer
from perago.stores.git.repository import BareRepository
from perago.values.spec import WorkspaceSpec
from perago.workspace.reading import open_workspace_file


def commit_raw(bench, *entries: tuple[str, int, bytes | str]) -> str:
    """A commit on main whose root tree has these entries, whatever git would say. Text is an id, bytes a blob."""
    head = bench.store.branch_head("main")
    with open_writer(BareRepository(bench.path), 0) as writer:
        commit = write_commit(
            writer,
            tree=write_tree(writer, *entries),
            parents=[head] if head else [],
            identity=Identity("Eve", "eve@example.org"),
            message="raw",
            clock=SystemClock(),
        )
    bench.git("update-ref", "refs/heads/main", commit)
    return commit


def write_tree(writer, *entries):
    listed = []
    for name, mode, content in entries:
        object_id = content if isinstance(content, str) else writer.write(ObjectType.BLOB, content)
        listed.append(TreeEntry(name, mode, object_id))
    return writer.write(ObjectType.TREE, serialize_tree(listed))


HOSTILE = [
    "../x",
    "a/../../x",
    ".",
    "..",
    "./a",
    "a/b",
    "//x",
    "/abs",
    "dir/",
    "back\\slash",
    "C:\\x",
    "new\nline",
    "control\x01",
    "bidi\u202ename",
    "not utf-8 \udcff",
    "replaced \ufffd",
    ".git",
    ".GIT",
    ".git ",
    "git~1",
    ".g\u200cit",
    "x" * 256,
]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_hostile_name_in_a_tree_is_refused_before_anything_is_written(loose_bench, name):
    ref = commit_raw(loose_bench, ("a harmless one", FILE, b"1"), (name, FILE, b"2"))
    target = loose_bench.root / "target"
    target.mkdir()
    with pytest.raises(ObjectNameError):
        loose_bench.store.download_workspace(loose_bench.input(ref), WorkspaceSpec(), target)
    assert list(target.iterdir()) == []
    assert {path.name for path in loose_bench.root.iterdir()} == {"data.git", "target"}


@pytest.mark.parametrize("name", ["..", ".git", "bad\\name"])
def test_a_hostile_directory_is_refused(loose_bench, name):
    with open_writer(BareRepository(loose_bench.path), 0) as writer:
        inner = write_tree(writer, ("file", FILE, b"1"))
    ref = commit_raw(loose_bench, (name, DIRECTORY, inner))
    with pytest.raises(ObjectNameError):
        loose_bench.download(ref)


def test_a_name_that_comes_twice_is_refused(loose_bench):
    ref = commit_raw(loose_bench, ("same", FILE, b"1"), ("same", FILE, b"2"))
    with pytest.raises(ObjectNameError, match="twice"):
        loose_bench.download(ref)


def test_a_file_that_is_a_directory_too_is_refused(loose_bench):
    with open_writer(BareRepository(loose_bench.path), 0) as writer:
        inner = write_tree(writer, ("file", FILE, b"1"))
    ref = commit_raw(loose_bench, ("same", FILE, b"1"), ("same", DIRECTORY, inner))
    with pytest.raises(ObjectNameError, match="both a file and a directory"):
        loose_bench.download(ref)


def test_an_export_that_is_refused_leaves_the_directory_as_it_was(loose_bench, tmp_path):
    ref = commit_raw(loose_bench, ("good", FILE, b"1"), ("..", FILE, b"2"))
    (tmp_path / "empty").mkdir()
    for target in ("new", "empty"):
        with pytest.raises(ObjectNameError):
            loose_bench.store.export(ref, "/", tmp_path / target)
    assert not (tmp_path / "new").exists()
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_hostile_name_that_is_not_selected_is_nobodys_business(loose_bench):
    ref = commit_raw(loose_bench, ("good.csv", FILE, b"1"), ("bad\\name", FILE, b"2"), ("link", SYMLINK, b"good.csv"))
    assert loose_bench.download(ref, WorkspaceSpec(include=["*.csv"])).before == {"good.csv": b"1"}
    assert loose_bench.download(ref, WorkspaceSpec(exclude=["bad*", "link"])).before == {"good.csv": b"1"}


@pytest.mark.parametrize(
    ("mode", "kind"), [(SYMLINK, "a symbolic link"), (SUBMODULE, "a submodule"), (0o010644, "an entry of mode 10644")]
)
def test_an_entry_that_is_no_file_is_refused_by_its_kind(loose_bench, mode, kind):
    ref = commit_raw(loose_bench, ("data", FILE, b"1"), ("entry", mode, "1" * 40 if mode == SUBMODULE else b"data"))
    with pytest.raises(ObjectNameError, match=f"'entry' is {kind}.*exclude"):
        loose_bench.download(ref)


def test_modes_of_old_git_versions_are_files(loose_bench):
    ref = commit_raw(loose_bench, ("group-writable", 0o100664, b"1"), ("tool", 0o100775, b"2"))
    assert loose_bench.download(ref).executables == {"tool"}


def test_a_hostile_neighbour_in_the_tree_stays_as_it_was(loose_bench):
    base = commit_raw(loose_bench, ("good.csv", FILE, b"1"), ("bad\\name", FILE, b"2"), ("link", SYMLINK, b"good.csv"))
    ref = loose_bench.publish_files(base, {"good.csv": b"new"}, spec=WorkspaceSpec(include=["*.csv"]))
    listed = loose_bench.git("ls-tree", "-z", ref).split("\0")
    assert [line.split("\t")[1] for line in listed if line] == ["bad\\name", "good.csv", "link"]


DOT_GIT = [".git", ".GIT", ".Git ", ".git...", "git~1", "GIT~1", ".git:stream", ".g\u200dit", "sub/.git", ".git/config"]


@pytest.mark.parametrize("name", DOT_GIT, ids=ascii)
def test_a_name_that_git_reads_as_its_own_is_refused_in_any_spelling(bench, name):
    base = bench.import_files({"a": b"a"})
    with pytest.raises(ObjectNameError):
        bench.publish_files(base, {name: b"x"})
    with pytest.raises(ObjectNameError):
        bench.import_files({name: b"x"})
    assert bench.head() == base
    assert bench.git("for-each-ref", "refs/perago") == ""


@pytest.mark.parametrize("name", [".gitignore", ".gitattributes", "git", "a.git", ".github/x", "git~2", "-", "--help"])
def test_names_that_only_resemble_gits_own_are_fine(bench, name):
    base = bench.import_files({"a": b"a"})
    assert bench.content(bench.publish_files(base, {name: b"x"})) == {"a": b"a", name: b"x"}


def test_attributes_in_the_tree_change_no_content(bench):
    files = {".gitattributes": b"* text eol=crlf\n*.bin filter=lfs\n", "a.txt": b"1\n2\r\n", "b.bin": b"\0\r\n"}
    assert bench.content(bench.import_files(files)) == files


def make_link(path):
    path.symlink_to("/etc/passwd")


def make_fifo(path):
    os.mkfifo(path)


def make_socket(path):
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as server:  # its path may have 100 bytes only
        server.bind(path.name)


def make_directory(path):
    path.mkdir()


def make_nothing(path):
    pass


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (make_link, "symbolic link"),
        (make_fifo, "not a regular file"),
        (make_socket, "not a regular file"),
        (make_directory, "not a regular file"),
        (make_nothing, "cannot be read: No such file"),
    ],
)
def test_what_is_no_file_any_more_is_refused(bench, make, said):
    base = bench.import_files({"a": b"a"})
    work = bench.download(base)
    write_files(work.directory, {"b": b"b"})
    changed = work.changes()
    (work.directory / "b").unlink()
    make(work.directory / "b")
    with pytest.raises(WorkspaceContentError, match=f"b .*{said}"):
        bench.stage(work, changes=changed)
    assert bench.git("for-each-ref", "refs/perago") == ""


def test_a_file_that_may_not_be_read_is_refused(bench):
    if os.geteuid() != 0:
        pytest.skip("needs root, to give rights up")
    base = bench.import_files({"a": b"a"})
    work = bench.download(base)
    write_files(work.directory, {"b": b"b"})
    (work.directory / "b").chmod(0)
    for parent in [work.directory, *work.directory.parents][:-2]:
        parent.chmod(parent.stat().st_mode | 0o055)
    child = fork()
    if child == 0:
        code = 1
        try:
            os.setuid(65534)
            with Beneath(work.directory) as files, open_workspace_file(files, "b"):
                pass
        except WorkspaceContentError as exc:
            code = 0 if "b cannot be read: Permission denied" in str(exc) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_trees_read_back_as_they_were_written():
    entries = [
        TreeEntry("a", DIRECTORY, "1" * 40),
        TreeEntry("a.b", FILE, "2" * 40),
        TreeEntry("a0", EXECUTABLE, "3" * 40),
        TreeEntry("\udcff", FILE, "4" * 40),
    ]
    assert parse_tree(serialize_tree(entries)) == [entries[1], entries[0], *entries[2:]]


def test_only_entries_that_differ_are_parsed():
    same = [TreeEntry(f"same-{number}", FILE, "1" * 40) for number in range(3)]
    gone, was = TreeEntry("gone", DIRECTORY, "2" * 40), TreeEntry("\udcff", FILE, "3" * 40)
    now, new = TreeEntry("\udcff", EXECUTABLE, "3" * 40), TreeEntry("new", SYMLINK, "4" * 40)
    found = differing_entries(serialize_tree([*same, gone, was]), serialize_tree([*same, now, new]))
    assert set(found) == {(gone, None), (was, now), (None, new)}
    assert differing_entries(b"", b"") == []


@pytest.mark.parametrize("data", [b"100644", b"100644 a", b"100644 a\0short", b"mode a\0" + b"1" * 20])
def test_bytes_that_are_no_tree_are_refused(data):
    with pytest.raises(ValueError):
        parse_tree(data)
    with pytest.raises(ValueError):
        differing_entries(b"", data)

"""The ways in and out that people use, and the log between."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from git_support import git, make_executable, read_files, write_files
from perago.cli.commands.log import describe_entry
from perago.errors import (
    BranchNotFoundError,
    ObjectNameError,
    PrefixNotFoundError,
    RefNotFoundError,
    StoreError,
    WorkspaceContentError,
    WorkspaceStorageError,
)
from perago.stores.git import GitStore
from perago.stores.git.lfs import LFS_THRESHOLD
from perago.values.spec import WorkspaceSpec

LARGE = b"x" * LFS_THRESHOLD


@pytest.fixture
def source(tmp_path):
    directory = tmp_path / "source"
    directory.mkdir()
    return directory


def test_a_new_repository_is_bare_and_git_likes_it(tmp_path):
    store = GitStore.create(tmp_path / "deep" / "data.git", branch="trunk")
    assert git(store.path, "rev-parse", "--is-bare-repository") == "true"
    assert git(store.path, "symbolic-ref", "HEAD") == "refs/heads/trunk"
    assert store.branches() == []
    assert store.branch_head("trunk") is None


def test_making_a_repository_that_is_there_changes_nothing(bench):
    head = bench.import_files({"a": b"a"})
    bench.git("config", "user.name", "Ada")
    before = (bench.path / "config").read_text()
    again = GitStore.create(bench.path, branch="other")
    assert again.branch_head("main") == head
    assert (bench.path / "config").read_text() == before
    assert bench.git("symbolic-ref", "HEAD") == "refs/heads/main"


def test_a_repository_is_not_made_over_something_else(tmp_path):
    write_files(tmp_path / "full", {"thesis.txt": b"my thesis"})
    with pytest.raises(StoreError, match="is not a git repository"):
        GitStore.create(tmp_path / "full")
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError):
        GitStore.create(tmp_path / "file")
    assert read_files(tmp_path / "full") == {"thesis.txt": b"my thesis"}


def test_eight_processes_may_make_the_same_repository_at_once(tmp_path):
    code = (
        "import sys, pathlib; from perago.stores.git import GitStore\n"
        "store = GitStore.create(sys.argv[1])\n"
        "print(store.import_directory(pathlib.Path(sys.argv[2]), 'main', 'start'))\n"
    )
    write_files(tmp_path / "in", {"a": b"a"})
    command = [sys.executable, "-c", code, tmp_path / "data.git", tmp_path / "in"]
    makers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    outputs = [maker.communicate(timeout=60)[0].strip() for maker in makers]
    assert [maker.returncode for maker in makers] == [0] * 8
    assert sum(output != "None" for output in outputs) == 1
    assert git(tmp_path / "data.git", "rev-list", "--count", "main") == "1"


def test_an_import_makes_the_branch_and_a_later_one_makes_it_equal(bench, source):
    write_files(source, {"a": b"a", "d/b": b"b", "tool": b"#!"})
    make_executable(source / "tool")
    first = bench.store.import_directory(source, "main", "first")
    assert bench.git("log", "-1", "--format=%s|%P", first) == "first|"
    assert bench.download(first).executables == {"tool"}
    (source / "a").unlink()
    write_files(source, {"d/b": b"new", "c": b"c"})
    second = bench.store.import_directory(source, "main", "second", mirror=True)
    assert bench.content(second) == {"c": b"c", "d/b": b"new", "tool": b"#!"}
    assert bench.git("rev-parse", f"{second}^") == first
    assert bench.store.read_history(bench.input(first)).commits[0].stamp is None


def test_an_import_of_the_same_content_makes_no_commit(bench, source):
    write_files(source, {"a": b"a", "large": LARGE} | {f"f{number}": b"%d" % number for number in range(150)})
    first = bench.store.import_directory(source, "main", "first")
    objects = sorted(path for path in bench.path.rglob("*") if path.is_file())
    assert bench.store.import_directory(source, "main", "again") is None
    assert bench.head() == first
    assert sorted(path for path in bench.path.rglob("*") if path.is_file()) == objects


def test_a_large_file_that_changed_in_place_is_imported(bench, source):
    write_files(source, {"large": LARGE})
    bench.store.import_directory(source, "main", "first")
    write_files(source, {"large": LARGE[:-1] + b"y"})
    second = bench.store.import_directory(source, "main", "second")
    assert bench.content(second) == {"large": LARGE[:-1] + b"y"}


def test_an_import_below_a_prefix_leaves_the_rest(bench, source):
    bench.import_files({"in/old": b"1", "out": b"2"})
    write_files(source, {"new": b"3"})
    spec = WorkspaceSpec(prefix="in")
    imported = bench.store.import_directory(source, "main", "m", spec=spec, mirror=True)
    assert bench.content(imported) == {"in/new": b"3", "out": b"2"}
    spec = WorkspaceSpec(prefix="x/y")
    imported = bench.store.import_directory(source, "main", "m", spec=spec)
    assert bench.content(imported) == {"in/new": b"3", "out": b"2", "x/y/new": b"3"}


def test_an_import_touches_only_what_is_selected(bench, source):
    bench.import_files({"a.csv": b"1", "notes.txt": b"2"})
    write_files(source, {"b.csv": b"3", ".git/config": b"not ours"})
    spec = WorkspaceSpec(include=["*.csv"])
    assert bench.content(bench.store.import_directory(source, "main", "m", spec=spec, mirror=True)) == {
        "b.csv": b"3",
        "notes.txt": b"2",
    }


def test_an_empty_directory_empties_a_branch_or_makes_an_empty_one(bench, source):
    assert bench.content(bench.store.import_directory(source, "main", "nothing")) == {}
    bench.import_files({"a": b"a"})
    assert bench.content(bench.store.import_directory(source, "main", "nothing again", mirror=True)) == {}


def test_an_import_refuses_what_it_could_not_give_back(bench, source):
    head = bench.import_files({"a": b"a"})
    (source / "link").symlink_to("/etc/passwd")
    with pytest.raises(WorkspaceContentError, match="link"):
        bench.store.import_directory(source, "main", "m")
    (source / "link").unlink()
    write_files(source, {"back\\slash": b"x"})
    with pytest.raises(ObjectNameError):
        bench.store.import_directory(source, "main", "m")
    (source / "back\\slash").unlink()
    write_files(source, {".git/HEAD": b"x"})
    with pytest.raises(ObjectNameError, match="exclude"):
        bench.store.import_directory(source, "main", "m")
    assert bench.head() == head


def test_an_import_into_no_branch_name_is_refused(bench, source):
    for branch in ("", "a..b", "-x", "x.lock", "caf\udce9"):
        with pytest.raises(BranchNotFoundError, match="not a branch name"):
            bench.store.import_directory(source, branch, "m")


def test_a_branch_below_another_one_is_refused_clearly(bench, source):
    bench.import_files({"a": b"a"}, branch="main")
    bench.import_files({"a": b"a"}, branch="some/sub")
    for branch, rival in (("main/sub", "main"), ("main/a/b", "main"), ("some", "some/sub")):
        with pytest.raises(BranchNotFoundError, match=f"has branch '{rival}', so git cannot create '{branch}'"):
            bench.store.import_directory(source, branch, "m")
    assert bench.store.branches() == ["main", "some/sub"]


def test_imports_at_once_lose_nothing(bench):
    bench.import_files({"a": b"a"})
    faults = []

    def run(number):
        directory = bench.root / f"many-{number}"
        try:
            for turn in range(10):
                write_files(directory, {f"{turn}": b"x"})
                bench.store.import_directory(directory, "main", "m", spec=WorkspaceSpec(prefix=f"p{number}"))
        except Exception as exc:
            faults.append(exc)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert len(bench.content(bench.head())) == 41
    assert bench.git("rev-list", "--count", "main") == "41"


def test_an_export_lays_out_a_commit_below_a_new_or_an_empty_directory(bench, tmp_path):
    ref = bench.import_files({"d/a": b"a", "d/large": LARGE, "out": b"o"})
    assert bench.store.export(ref, "/", tmp_path / "new" / "one") == 3
    (tmp_path / "empty").mkdir()
    assert bench.store.export(ref, "d", tmp_path / "empty") == 2
    assert read_files(tmp_path / "new" / "one") == {"d/a": b"a", "d/large": LARGE, "out": b"o"}
    assert read_files(tmp_path / "empty") == {"a": b"a", "large": LARGE}


def test_an_export_overwrites_nothing(bench, tmp_path):
    ref = bench.import_files({"a": b"new"})
    write_files(tmp_path / "full", {"a": b"mine"})
    with pytest.raises(WorkspaceStorageError, match="not empty"):
        bench.store.export(ref, "/", tmp_path / "full")
    with pytest.raises(WorkspaceStorageError, match="cannot be created"):
        bench.store.export(ref, "/", tmp_path / "full" / "a")
    assert read_files(tmp_path / "full") == {"a": b"mine"}


def test_an_export_of_what_is_not_there_is_refused_and_makes_nothing(bench, tmp_path):
    ref = bench.import_files({"a": b"a"})
    with pytest.raises(PrefixNotFoundError):
        bench.store.export(ref, "nowhere", tmp_path / "target")
    with pytest.raises(RefNotFoundError):
        bench.store.export("main", "/", tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_the_log_says_who_did_what_newest_first(bench):
    base = bench.import_files({"a": b"a", "b": b"b", "d/x": b"x"}, message="start\n\nmore words")
    ref = bench.publish_files(base, {"a": b"changed", "b": None, "c": b"c", "d/y": b"y"})
    by_hand = bench.person_commits({"h": b"h"})
    newest, published, first = bench.store.log(by_hand, 10)
    assert (newest.id, newest.author, newest.subject, newest.stamp) == (by_hand, "Ada", "by hand", None)
    assert (published.id, published.parents) == (ref, (base,))
    assert (published.added, published.modified, published.deleted) == (2, 1, 1)
    assert published.stamp.result_exact
    assert (first.subject, first.parents, first.added) == ("start", (), 3)
    assert first.time.tzinfo is not None
    assert [entry.id for entry in bench.store.log(by_hand, 2)] == [by_hand, ref]


def test_the_log_counts_a_file_that_became_a_directory(bench):
    base = bench.import_files({"x": b"x"})
    work = bench.download(base)
    (work.directory / "x").unlink()
    write_files(work.directory, {"x/y": b"y"})
    entry = next(iter(bench.store.log(bench.finish(work), 1)))
    assert (entry.added, entry.modified, entry.deleted) == (1, 0, 1)


@pytest.mark.parametrize(("seconds", "year"), [(9_999_999_999_999, 9999), (-99_999_999_999_999, 1)])
def test_the_log_shows_a_commit_of_a_time_that_python_does_not_have(bench, seconds, year):
    base = bench.import_files({"a": b"a"})
    who = f"Ada <ada@example.org> {seconds} +0000"
    text = f"tree {bench.git('rev-parse', f'{base}^{{tree}}')}\nparent {base}\nauthor {who}\ncommitter {who}\n\nodd\n"
    odd = bench.git("hash-object", "-t", "commit", "-w", "--stdin", "--literally", text=text)
    entries = list(bench.store.log(odd, 10))
    assert [(entry.id, entry.subject) for entry in entries] == [(odd, "odd"), (base, "some files")]
    assert entries[0].time.year == year
    assert all(describe_entry(entry) for entry in entries), "also in the zone of this machine"
    (bench.path / "objects" / odd[:2] / odd[2:]).unlink()  # fsck does not like it


def test_the_log_of_no_commit_is_an_error(bench):
    bench.import_files({"a": b"a"})
    with pytest.raises(RefNotFoundError):
        list(bench.store.log("main", 1))


def test_branches_are_listed(bench):
    bench.import_files({"a": b"a"}, branch="z")
    bench.import_files({"a": b"a"}, branch="feature/x")
    assert bench.store.branches() == ["feature/x", "z"]
    assert bench.store.branch_head("feature/x") != bench.store.branch_head("nothing")


def test_a_clone_shows_the_branch_and_hides_what_is_staged(bench, tmp_path):
    base = bench.import_files({"a": b"a"})
    work = bench.download(base)
    write_files(work.directory, {"b": b"b"})
    staged, _ = bench.stage(work)
    git(tmp_path, "clone", "--quiet", "--mirror", str(bench.path), "mirror.git")
    assert "refs/perago" not in git(tmp_path / "mirror.git", "for-each-ref")
    assert Path(bench.path / staged.branch).exists()

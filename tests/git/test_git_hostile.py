"""Repositories that somebody else has prepared: unpacked from an archive, or open to others."""

from __future__ import annotations

import json
import os
import shutil
import time

import pytest

from git_support import Bench, git
from perago.errors import BranchNotFoundError, RepositoryNotFoundError, StoreError
from perago.stores.git import GitStore
from perago.stores.git.locks import Patience
from perago.stores.git.trust import is_trusted

LARGE = b"large" * (1 << 18)
DIARY = "Dear diary"


@pytest.fixture
def diary(tmp_path):
    """A file of the victim's outside of the repository, that must stay as it is."""
    path = tmp_path / "home" / "diary.txt"
    path.parent.mkdir()
    path.write_text(DIARY)
    os.utime(path, (1_000_000_000, 1_000_000_000))
    yield path
    assert [entry.name for entry in path.parent.iterdir()] == ["diary.txt"]
    assert (path.read_text(), path.stat().st_mtime) == (DIARY, 1_000_000_000)


def everything_fails_to_write(bench, base):
    """Publish a small and a large file, sweep and repair; returns the refusals."""
    again = Bench(bench.root, GitStore(bench.path, patience=Patience(ours=1, git=0.2, watch=0.01)))
    refusals = []
    for call in (
        lambda: again.publish_files(base, {"b": b"b", "large": LARGE}),
        lambda: again.store.sweep(0, runs_older_than_seconds=0),
        lambda: [finding.mend() for finding in again.store.examine(older_than_seconds=0) if finding.mend is not None],
    ):
        try:
            call()
        except StoreError as exc:
            refusals.append(str(exc))
    return refusals


@pytest.mark.parametrize("kind", ["symbolic", "hard"])
@pytest.mark.parametrize(
    "name", ["perago/publish.lock", "perago/large-files.lock", "logs/refs/heads/main", "logs/HEAD"]
)
def test_a_link_in_place_of_a_file_leaves_its_target_alone(bench, diary, kind, name):
    base = bench.import_files({"a": b"a"})
    (bench.path / name).parent.mkdir(parents=True, exist_ok=True)
    (bench.path / name).unlink(missing_ok=True)
    if kind == "symbolic":
        (bench.path / name).symlink_to(diary)
    else:
        os.link(diary, bench.path / name)
    said = everything_fails_to_write(bench, base)
    assert any("link" in text and name.rpartition("/")[2] in text for text in said), said
    assert bench.git("rev-parse", "main") == base
    (bench.path / name).unlink()


@pytest.mark.parametrize(
    "name",
    ["perago", "lfs", "lfs/objects", "lfs/tmp", "objects/pack", "refs/perago", "refs/heads", "logs", "logs/refs"],
)
def test_a_directory_that_is_a_link_is_refused_and_nothing_appears_behind_it(loose_bench, tmp_path, name):
    bench = loose_bench
    base = bench.import_files({"a": b"a"})
    outside, place = tmp_path / "outside", bench.path / name
    place.parent.mkdir(exist_ok=True)
    shutil.move(place, outside) if place.exists() else outside.mkdir()
    old = outside / "tmp_obj_old"
    old.write_text(DIARY)
    os.utime(old, (1_000_000_000, 1_000_000_000))
    before = sorted(outside.rglob("*"))
    place.symlink_to(outside)
    said = everything_fails_to_write(bench, base)
    assert len(said) == 3
    assert all(f"{name} in repository" in text or "not a git repository" in text for text in said), said
    assert sorted(outside.rglob("*")) == before


def test_a_link_among_the_objects_is_followed_by_no_write_and_no_removal(loose_bench, tmp_path):
    bench = loose_bench
    base = bench.import_files({"a": b"a"})
    outside = tmp_path / "outside"
    outside.mkdir()
    old = outside / "tmp_obj_old"
    old.write_text(DIARY)
    os.utime(old, (1_000_000_000, 1_000_000_000))
    for number in range(256):
        directory = bench.path / f"objects/{number:02x}"
        if not directory.exists():
            directory.symlink_to(outside)
    large = bench.path / "lfs/objects"
    large.mkdir(parents=True)
    for number in range(256):
        (large / f"{number:02x}").symlink_to(outside)
    said = everything_fails_to_write(bench, base)
    assert any("is a link" in text for text in said), said
    assert [path.name for path in outside.rglob("*")] == ["tmp_obj_old"]


@pytest.mark.parametrize(
    "name", ["../home/diary.txt", "{diary}", "refs/../../home/diary.txt", "refs/heads/link/diary.txt"]
)
def test_a_record_of_a_publication_removes_nothing_but_locks_of_references(bench, diary, name):
    base = bench.import_files({"a": b"a"})
    (bench.path / "refs/heads/link").symlink_to(diary.parent)
    record = {"locks": [name.format(diary=diary), "refs/heads/main.lock"], "target": DIARY}
    (bench.path / "perago/publish.lock").write_text(json.dumps(record))
    everything_fails_to_write(bench, base)
    (bench.path / "refs/heads/link").unlink()


def test_a_record_removes_no_lock_behind_a_link(bench, tmp_path):
    base = bench.import_files({"a": b"a"})
    lock = tmp_path / "outside" / "x.lock"
    lock.parent.mkdir()
    lock.touch()
    (bench.path / "refs/heads/link").symlink_to(lock.parent)
    record = json.dumps({"locks": ["refs/heads/link/x.lock"], "target": ""})
    (bench.path / "perago/publish.lock").write_text(record)
    everything_fails_to_write(bench, base)
    assert lock.exists()
    (bench.path / "refs/heads/link").unlink()


def test_a_branch_that_is_a_link_is_not_written_through(bench, diary):
    base = bench.import_files({"a": b"a"})
    (bench.path / "refs/heads/new").symlink_to(diary.parent / "new")
    with pytest.raises(StoreError, match=r"refs/heads/new in repository .* is a link"):
        bench.import_files({"a": b"a"}, branch="new")
    assert bench.git("rev-parse", "main") == base
    (bench.path / "refs/heads/new").unlink()


def test_a_lock_that_is_no_file_blocks_nothing_for_ever(bench):
    base = bench.import_files({"a": b"a"})
    lock = bench.path / "perago/publish.lock"
    lock.unlink()
    os.mkfifo(lock)
    begun = time.monotonic()
    with pytest.raises(StoreError, match="not a regular file"):
        bench.publish_files(base, {"b": b"b"})
    assert time.monotonic() - begun < 30
    lock.unlink()


def elsewhere(tmp_path, how):
    """A directory that libgit2 takes for the repository `real.git`."""
    real = Bench(tmp_path / "real")
    real.import_files({"a": b"a"})
    path = tmp_path / "hostile.git"
    path.mkdir()
    if how == "a gitfile":
        (path / ".git").write_text(f"gitdir: {real.path}\n")
    else:
        (path / "HEAD").write_text("ref: refs/heads/main\n")
        (path / "commondir").write_text(str(real.path))
    return path, real


@pytest.mark.parametrize(
    ("how", "error", "why"),
    [("a gitfile", RepositoryNotFoundError, "work tree"), ("a commondir", StoreError, "shares the references")],
)
def test_what_leads_to_another_repository_is_refused(tmp_path, how, error, why):
    (tmp_path / "real").mkdir()
    path, real = elsewhere(tmp_path, how)
    head = real.head()
    with pytest.raises(error, match=why):
        Bench(tmp_path, GitStore(path)).import_files({"b": b"b"})
    assert real.head() == head


def test_hooks_and_commands_of_a_repository_are_never_run(bench, tmp_path):
    base = bench.import_files({"a": b"a"})
    trap, ran = tmp_path / "trap", tmp_path / "ran"
    trap.write_text(f"#!/bin/sh\ntouch {ran}\n")
    trap.chmod(0o755)
    hooks = ("pre-receive", "update", "post-update", "post-receive", "reference-transaction", "pre-commit", "fsmonitor")
    (bench.path / "hooks").mkdir(exist_ok=True)
    for hook in hooks:
        shutil.copy(trap, bench.path / "hooks" / hook)
    for key in (
        "core.fsmonitor",
        "core.sshCommand",
        "core.pager",
        "filter.lfs.clean",
        "filter.lfs.smudge",
        "gpg.program",
    ):
        bench.git("config", key, str(trap))
    bench.git("config", "core.hooksPath", str(bench.path / "hooks"))
    attributes = bench.path / "info" / "attributes"
    attributes.parent.mkdir(exist_ok=True)
    attributes.write_text("* filter=lfs\n")
    bench.publish_files(base, {"b": b"b", "large": LARGE})
    bench.store.sweep(0)
    list(bench.store.examine(older_than_seconds=0, deep=True))
    assert not ran.exists()
    shutil.rmtree(bench.path / "hooks")
    bench.git("config", "--unset", "core.hooksPath")
    bench.git("config", "--unset", "core.fsmonitor")


def test_alternates_are_read_and_never_written(loose_bench, tmp_path):
    bench = loose_bench
    base = bench.import_files({"a": b"a"})
    other = tmp_path / "objects"
    shutil.copytree(bench.path / "objects", other)
    (bench.path / "objects/info").mkdir(exist_ok=True)
    (bench.path / "objects/info/alternates").write_text(f"{other}\n")
    before = {path: path.stat().st_mtime_ns for path in other.rglob("*")}
    bench.publish_files(base, {"b": b"b"})
    bench.store.sweep(0)
    assert {path: path.stat().st_mtime_ns for path in other.rglob("*")} == before


# ---- who may use a repository


@pytest.mark.parametrize("name", ["", "objects", "refs/heads", "perago"])
def test_a_repository_that_all_may_write_to_is_refused_until_it_is_mended_or_trusted(bench, monkeypatch, name):
    bench.import_files({"a": b"a"})
    open_to_all = bench.path / name
    mode = open_to_all.stat().st_mode
    open_to_all.chmod(0o777)
    with pytest.raises(StoreError, match=r"can be written by all users .*chmod go-w .*safe\.directory") as refused:
        GitStore(bench.path).branch_head("main")
    assert str(open_to_all) in str(refused.value)
    monkeypatch.setattr("perago.stores.git.trust._safe_directories", lambda: iter([str(bench.path.resolve())]))
    assert GitStore(bench.path).branch_head("main")
    monkeypatch.undo()
    open_to_all.chmod(mode)
    assert GitStore(bench.path).branch_head("main")


@pytest.mark.parametrize(
    ("values", "is_so"),
    [
        ([], False),
        (["*"], True),
        (["{path}"], True),
        (["{path}/x"], False),
        (["{path}", ""], False),
        (["", "{path}", "/other"], True),
        (["%(prefix)/{path}"], True),
    ],
)
def test_safe_directories_count_as_in_libgit2(tmp_path, monkeypatch, values, is_so):
    real = os.path.realpath(tmp_path)
    given = [value.format(path=real) for value in values]
    monkeypatch.setattr("perago.stores.git.trust._safe_directories", lambda: iter(given))
    assert is_trusted(tmp_path) is is_so


def test_the_configuration_of_a_repository_does_not_call_itself_safe(bench):
    bench.import_files({"a": b"a"})
    bench.git("config", "safe.directory", "*")
    bench.path.chmod(0o777)
    with pytest.raises(StoreError, match="can be written by all users"):
        GitStore(bench.path).branch_head("main")


# ---- work trees


def test_a_branch_that_is_checked_out_in_a_work_tree_is_refused(bench, tmp_path):
    base = bench.import_files({"a": b"a"})
    tree = tmp_path / "tree"
    bench.git("worktree", "add", "--quiet", str(tree), "main")
    with pytest.raises(BranchNotFoundError, match=rf"checked out in the work tree {tree}.*switch --detach"):
        bench.publish_files(base, {"b": b"b"})
    with pytest.raises(BranchNotFoundError, match="checked out"):
        bench.import_files({"b": b"b"})
    assert bench.git("rev-parse", "main") == base
    git(tree, "switch", "--quiet", "--detach")
    assert bench.publish_files(base, {"b": b"b"}) == bench.head()


def test_a_branch_that_is_checked_out_while_a_task_runs_is_not_moved(bench, tmp_path):
    base = bench.import_files({"a": b"a"})
    work = bench.download(base)
    (work.directory / "b").write_bytes(b"b")
    staged, publish = bench.stage(work)
    bench.git("worktree", "add", "--quiet", str(tmp_path / "tree"), "main")
    with pytest.raises(BranchNotFoundError, match="checked out"):
        bench.store.publish_workspace(staged, work.workspace_input, work.spec, publish)
    assert bench.git("rev-parse", "main") == base


def test_a_deleted_work_tree_is_in_nobodys_way(bench, tmp_path):
    base = bench.import_files({"a": b"a"})
    bench.git("worktree", "add", "--quiet", str(tmp_path / "tree"), "main")
    shutil.rmtree(tmp_path / "tree")
    assert bench.publish_files(base, {"b": b"b"}) == bench.head()

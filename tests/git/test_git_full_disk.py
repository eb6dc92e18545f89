"""A disk that is full under the repository, or under the workspace: nothing is published, and nothing is left."""

import os
import subprocess

import pytest

from git_support import Bench, fsck, read_files, write_files
from perago.errors import WorkspaceStorageError
from perago.stores.git import GitStore
from perago.stores.git.lfs import LFS_THRESHOLD
from small_disk import small_disk_at


@pytest.fixture
def small_disk(tmp_path):
    """An empty file system of 4 MiB."""
    with small_disk_at(tmp_path, "4m") as path:
        yield path


@pytest.fixture
def small_bench(tmp_path, small_disk):
    """A repository on the small disk; workspaces are elsewhere."""
    return Bench(tmp_path, GitStore.create(small_disk / "data.git"))


def fill(disk):
    """Take up all that is left; returns the file that does."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(b"x" * 4096)
            except OSError:
                return filler


CONTENT = {
    "one large file": {"large": os.urandom(5 << 20)},
    "many loose files": {f"f{number}": os.urandom(LFS_THRESHOLD - 1) for number in range(6)},
    "a pack": {f"f{number}": os.urandom(50_000) for number in range(120)},
}


@pytest.mark.parametrize("files", CONTENT.values(), ids=CONTENT.keys())
def test_a_full_disk_under_the_repository_publishes_nothing_and_leaves_nothing(small_bench, files):
    base = small_bench.import_files({"a": b"a"})
    work = small_bench.download(base)
    write_files(work.directory, files)
    with pytest.raises(WorkspaceStorageError, match=r"No space left on device.*Free space"):
        small_bench.stage(work)
    assert small_bench.head() == base
    assert small_bench.git("for-each-ref", "refs/perago") == ""
    left = [
        path.name
        for path in small_bench.path.rglob("*")
        if path.is_file() and "tmp" in f"{path.parent.name}{path.name}"
    ]
    assert left == []
    assert fsck(small_bench.path) == ""


def test_a_disk_that_is_full_when_the_branch_is_to_move_leaves_it(small_bench, small_disk):
    base = small_bench.import_files({"a": b"a"})
    work = small_bench.download(base)
    write_files(work.directory, {"b": b"b"})
    staged, execution = small_bench.stage(work)
    filler = fill(small_disk)
    with pytest.raises(WorkspaceStorageError, match="No space left on device"):
        small_bench.store.publish_workspace(staged, work.workspace_input, work.spec, execution)
    assert small_bench.head() == base
    filler.unlink()
    assert small_bench.store.publish_workspace(staged, work.workspace_input, work.spec, execution) == small_bench.head()
    small_bench.store.cleanup_staging(staged)
    assert fsck(small_bench.path) == ""


def test_a_full_disk_under_the_workspace_says_so(tmp_path, small_disk):
    bench = Bench(tmp_path)
    for files in ({"large": os.urandom(5 << 20)}, {f"f{number}": os.urandom(LFS_THRESHOLD - 1) for number in range(6)}):
        ref = bench.import_files(files)
        target = small_disk / f"workspace-{len(files)}"
        target.mkdir()
        with pytest.raises(WorkspaceStorageError, match="No space left on device"):
            bench.store.download_workspace(bench.input(ref), bench.download(ref).spec, target)
        for path in target.iterdir():
            path.unlink()


def test_an_export_onto_a_full_disk_leaves_nothing_of_it(tmp_path, small_disk):
    bench = Bench(tmp_path)
    ref = bench.import_files({"d/a": b"a", **{f"f{number}": os.urandom(LFS_THRESHOLD - 1) for number in range(6)}})
    (small_disk / "empty").mkdir()
    for target in ("new", "empty"):
        with pytest.raises(WorkspaceStorageError, match="No space left on device"):
            bench.store.export(ref, "/", small_disk / target)
    assert [path.name for path in small_disk.rglob("*")] == ["empty"]


def test_a_read_only_disk_says_so(small_bench, small_disk):
    base = small_bench.import_files({"a": b"a"})
    work = small_bench.download(base)
    write_files(work.directory, {"b": b"b"})
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    try:
        with pytest.raises(WorkspaceStorageError, match="Read-only file system"):
            small_bench.stage(work)
        assert small_bench.content(base) == {"a": b"a"}
    finally:
        subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    assert read_files(small_bench.path)

"""The diff on real files against an oracle that compares whole trees, content by content."""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from perago.attempt.run import diff
from perago.errors import WorkspaceContentError
from perago.files.beneath import Beneath
from perago.values.models import Changes
from perago.workspace.digest import digest_file
from perago.workspace.manifest import ENDLESS_TICK_NS, take_manifest
from perago.workspace.patterns import Selection
from perago.workspace.scan import scan

ALL = Selection()


def contents(root):
    """Every file whole, with its executable bit."""
    return {
        path.relative_to(root).as_posix(): (path.read_bytes(), bool(path.stat().st_mode & 0o100))
        for path in root.rglob("*")
        if path.is_file()
    }


def naive(before, after):
    return Changes(
        added=tuple(sorted(after.keys() - before.keys())),
        modified=tuple(sorted(path for path in before.keys() & after.keys() if before[path] != after[path])),
        deleted=tuple(sorted(before.keys() - after.keys())),
    )


def changes_of(root, manifest, selection=ALL):
    now = scan(root, selection)
    with Beneath(root) as files:
        return diff(manifest, now, partial(digest_file, files))


def can_settle(manifest):
    """Whether another manifest, taken later, can trust a stat that this one does not."""
    racy = any(manifest.is_racy(entry.stat) for entry in manifest.entries.values())
    return racy and manifest.tick_ns != ENDLESS_TICK_NS


@pytest.fixture(scope="module", params=["ordinary", "ramfs", "tmpfs"])
def disk(request, tmp_path_factory):
    """An ordinary file system; ramfs, whose clock is the kernel's tick (newer ones tell finer when they are asked); and
    tmpfs, which stamps no change of a mapped page that was read before."""
    path = tmp_path_factory.mktemp("disk")
    if request.param == "ordinary":
        yield path
        return
    if sys.platform != "linux":
        pytest.skip(f"{request.param} is Linux's")
    made = subprocess.run(["mount", "-t", request.param, request.param, path], check=False, capture_output=True)
    if made.returncode != 0:
        pytest.skip(f"needs root, with the right to mount a {request.param}")
    yield path
    subprocess.run(["umount", "-l", path], check=True)


# ---------------------------------------------------------------- what a body may do to a file


def rewrite_in_place(path, content):
    path.write_bytes(content)


def rewrite_and_restore_mtime(path, content):
    status = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def change_mapped(path, content):
    """Read before it is written, as `array[0] += 1` of a mapped array does."""
    if path.stat().st_size == 0:  # nothing to map
        return
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[0] = (mapped[0] + 1) % 256


def replace_by_rename(path, content):
    aside = path.with_name(path.name + ".aside")
    aside.write_bytes(content)
    shutil.copystat(path, aside)
    aside.replace(path)


def replace_by_link(path, content):
    path.unlink()
    path.write_bytes(content)


def touch(path, content):
    path.touch()


def set_old(path, content):
    os.utime(path, ns=(0, 0))


def make_executable(path, content):
    path.chmod(0o755)


def make_plain(path, content):
    path.chmod(0o644)


def restrict(path, content):
    path.chmod(0o600)


def delete(path, content):
    path.unlink()


def rename_away(path, content):
    path.rename(path.with_name("moved-" + path.name))


def turn_into_directory(path, content):
    path.unlink()
    path.mkdir()


ON_FILES = [
    rewrite_in_place,
    rewrite_and_restore_mtime,
    change_mapped,
    replace_by_rename,
    replace_by_link,
    touch,
    set_old,
    make_executable,
    make_plain,
    restrict,
    delete,
    rename_away,
]
NAMES = ["a", "b", "d/a", "d/e/b", "e/x"]

content = st.sampled_from([b"", b"1", b"2", b"11", b"12", b"x" * 3000, b"y" * 3000])
tree = st.dictionaries(st.sampled_from(NAMES), st.tuples(content, st.booleans()), max_size=5)
step = st.tuples(st.sampled_from(ON_FILES), st.sampled_from(NAMES), content)
steps = st.lists(step, max_size=5)


def lay_out(root, files):
    for name, (data, executable) in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o755 if executable else 0o644)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(tree, steps, st.booleans())
@example({"a": (b"1", False)}, [(rewrite_and_restore_mtime, "a", b"2")], False)
@example({"a": (b"1", False)}, [(rewrite_and_restore_mtime, "a", b"2")], True)
@example({"a": (b"1", False)}, [(change_mapped, "a", b"")], True)
@example({"a": (b"1", False)}, [(replace_by_rename, "a", b"2")], True)
def test_the_diff_is_what_comparing_everything_says(disk, files, steps, aged):
    """`aged` has the files lie still for longer than a tick before the manifest, so that their stat is trusted."""
    with tempfile.TemporaryDirectory(dir=disk) as directory:
        root = Path(directory) / "workspace"
        root.mkdir()
        lay_out(root, files)
        manifest = take_manifest(root, ALL, None)
        while aged and can_settle(manifest):
            manifest = take_manifest(root, ALL, None)
        before = contents(root)
        for act, name, data in steps:
            path = root / name
            if path.is_file():
                act(path, data)
            elif not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        expected = naive(before, contents(root))
        assert changes_of(root, manifest) == expected
        event(f"aged={aged} modified={bool(expected.modified)}")


def test_a_write_in_the_manifests_own_tick_is_seen(disk):
    """Without the racy rule these go unseen where the clock is coarse: the stat of before and after is the same."""
    root = disk / "tick" / "workspace"
    root.mkdir(parents=True)
    for round_number in range(200):
        path = root / "f"
        path.write_bytes(b"before")
        manifest = take_manifest(root, ALL, None)
        rewrite_and_restore_mtime(path, b"after!")
        assert changes_of(root, manifest) == Changes(modified=("f",)), f"round {round_number}"


@pytest.mark.parametrize("filled", [False, True])
def test_a_directory_in_a_files_place_is_refused(tmp_path, filled):
    root = tmp_path / "workspace"
    root.mkdir()
    (root / "f").write_bytes(b"x")
    manifest = take_manifest(root, ALL, None)
    turn_into_directory(root / "f", b"")
    if filled:
        (root / "f/x").write_bytes(b"x")
    with pytest.raises(WorkspaceContentError, match="'f'"):
        changes_of(root, manifest)


def test_a_file_in_a_directorys_place_is_fine(tmp_path):
    root = tmp_path / "workspace"
    (root / "d").mkdir(parents=True)
    (root / "d/x").write_bytes(b"x")
    manifest = take_manifest(root, ALL, None)
    shutil.rmtree(root / "d")
    (root / "d").write_bytes(b"now a file")
    assert changes_of(root, manifest) == Changes(added=("d",), deleted=("d/x",))


def test_an_empty_directory_is_no_change(tmp_path):
    root = tmp_path / "workspace"
    root.mkdir()
    manifest = take_manifest(root, ALL, None)
    (root / "empty/inner").mkdir(parents=True)
    assert not changes_of(root, manifest)


def test_selection_applies_before_and_after(tmp_path):
    root = tmp_path / "workspace"
    root.mkdir()
    (root / "in.csv").write_bytes(b"1")
    selection = Selection(["*.csv"])
    manifest = take_manifest(root, selection, None)
    (root / "scratch.tmp").write_bytes(b"1")
    (root / "out.csv").write_bytes(b"1")
    assert changes_of(root, manifest, selection) == Changes(added=("out.csv",))

"""The manifest: taken by the file system's clock, trusted digests, and its file."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perago.errors import ObjectNameError, WorkspaceContentError, WorkspaceStorageError
from perago.ports import ListedFile
from perago.workspace.digest import digest_bytes
from perago.workspace.manifest import (
    COARSE_TICK_NS,
    ENDLESS_TICK_NS,
    FINE_TICK_NS,
    Manifest,
    ManifestEntry,
    complete_manifest,
    take_manifest,
    tick_of,
)
from perago.workspace.patterns import Selection
from perago.workspace.scan import FileStat, scan
from servers.machine import slowness
from warm_histories import next_tick

ALL = Selection()


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "attempt" / "workspace"
    path.mkdir(parents=True)
    (path / "a.txt").write_text("hello")
    (path / "d").mkdir()
    (path / "d/b.bin").write_bytes(b"\0" * 100)
    return path


def test_every_selected_file_gets_its_stat_and_digest(root):
    manifest = take_manifest(root, ALL, None)
    assert set(manifest.entries) == {"a.txt", "d/b.bin"}
    assert manifest.entries["a.txt"].digest == digest_bytes(b"hello", "sha256")
    assert manifest.entries["d/b.bin"].stat.inode == (root / "d/b.bin").stat().st_ino
    assert manifest.total_bytes == 105
    assert set(take_manifest(root, Selection(["d"]), None).entries) == {"d/b.bin"}


def test_a_stores_digests_are_trusted_and_others_taken(root):
    given_by_store = {"a.txt": "git-sha1:feed", "not/there": "sha256:dead", "d/b.bin": "etag:unknown"}
    manifest = take_manifest(root, ALL, given_by_store)
    assert manifest.entries["a.txt"].digest == "git-sha1:feed"
    assert manifest.entries["d/b.bin"].digest == digest_bytes(b"\0" * 100, "sha256")
    assert set(manifest.entries) == {"a.txt", "d/b.bin"}


def test_nothing_is_left_beside_or_in_the_workspace(root):
    take_manifest(root, ALL, None)
    assert [entry.name for entry in root.parent.iterdir()] == ["workspace"]
    assert sorted(entry.name for entry in root.iterdir()) == ["a.txt", "d"]


def test_the_clock_is_the_file_systems(root):
    before = stamp_now(root)
    manifest = take_manifest(root, ALL, None)
    assert before <= manifest.taken_at_ns <= stamp_now(root)


def stamp_now(root):
    path = root.parent / "stamp"
    path.write_bytes(b"x")
    stamp = path.stat().st_mtime_ns
    path.unlink()
    return stamp


def test_a_fresh_file_is_racy_and_an_old_one_is_not(root):
    deadline = time.monotonic() + 10 * slowness()
    while not is_racy_at_once(root):  # a busy machine may let a tick pass in between
        assert time.monotonic() < deadline
    manifest = take_manifest(root, ALL, None)
    if manifest.tick_ns == ENDLESS_TICK_NS:
        pytest.skip("temporary files lie on a file system where every file is racy")
    while take_manifest(root, ALL, None).is_racy(manifest.entries["a.txt"].stat):
        assert time.monotonic() < deadline
    later = take_manifest(root, ALL, None)
    os.utime(root / "a.txt", ns=(0, 0))  # an old mtime alone proves nothing: ctime is new
    assert later.is_racy(take_manifest(root, ALL, None).entries["a.txt"].stat)


def is_racy_at_once(root):
    (root / "a.txt").write_bytes(b"fresh")
    manifest = take_manifest(root, ALL, None)
    return manifest.is_racy(manifest.entries["a.txt"].stat)


@given(
    st.integers(0, 10**19),
    st.sampled_from([FINE_TICK_NS, COARSE_TICK_NS]),
    st.integers(-(10**10), 10**10),
    st.booleans(),
)
def test_racy_is_what_is_not_older_by_more_than_a_tick(taken, tick, offset, by_ctime):
    stamp = taken + offset
    stat = FileStat(1, 0, stamp, 1, False) if by_ctime else FileStat(1, stamp, 0, 1, False)
    old_enough = stamp + tick < taken
    assert Manifest(taken, {}, tick).is_racy(stat) == (not old_enough or taken <= tick)


def test_whole_seconds_mean_a_coarse_clock():
    assert tick_of(1_700_000_000_000_000_000) == COARSE_TICK_NS
    assert tick_of(1_700_000_000_004_000_000) == FINE_TICK_NS


def test_what_cannot_be_stored_is_refused_at_once(root):
    (root / "link").symlink_to("a.txt")
    with pytest.raises(WorkspaceContentError):
        take_manifest(root, ALL, None)
    (root / "link").unlink()
    (root / "a\\b").write_text("x")
    with pytest.raises(ObjectNameError):
        take_manifest(root, ALL, None)


# ---------------------------------------------------------------- its file

stats = st.builds(
    FileStat,
    st.integers(0, 2**63),
    st.integers(-(2**62), 2**63),
    st.integers(0, 2**63),
    st.integers(0, 2**64),
    st.booleans(),
)
entries = st.dictionaries(
    st.text(min_size=1), st.builds(ManifestEntry, stats, st.sampled_from(["sha256:00", "git-sha1:ff"])), max_size=5
)


@given(st.builds(Manifest, st.integers(0, 2**63), entries, st.sampled_from([FINE_TICK_NS, COARSE_TICK_NS])))
def test_a_manifest_comes_back_from_its_file_as_it_was(tmp_path_factory, manifest):
    path = tmp_path_factory.mktemp("m") / "manifest.jsonl"
    manifest.save(path)
    assert Manifest.load(path) == manifest
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["manifest.jsonl"]


@pytest.fixture
def saved(root):
    path = root.parent / "manifest.jsonl"
    take_manifest(root, ALL, None).save(path)
    return path


def test_a_damaged_manifest_is_refused(saved):
    lines = saved.read_text().splitlines(keepends=True)
    head = json.loads(lines[0])
    damages = [
        "",
        lines[0],
        "".join(lines[:-1]),
        "".join(lines)[:-20],
        "\udcff",
        "".join([json.dumps({**head, "format": "other"}), "\n", *lines[1:]]),
        "{}\n",
        "[1]\n",
        lines[0] + "[1, 2]\n" * 2,
    ]
    for damage in damages:
        saved.write_bytes(damage.encode("utf-8", "surrogateescape"))
        with pytest.raises(WorkspaceStorageError, match="damaged"):
            Manifest.load(saved)


def test_a_missing_manifest_is_a_storage_error(tmp_path):
    with pytest.raises(WorkspaceStorageError, match="cannot read manifest"):
        Manifest.load(tmp_path / "none")


def test_a_full_disk_leaves_the_former_manifest_whole(small_disk):
    path = small_disk / "manifest.jsonl"
    small = Manifest(1, {})
    small.save(path)
    stat = FileStat(1, 1, 1, 1, False)
    large = replace(
        small, entries={f"file-{index:060d}": ManifestEntry(stat, "sha256:" + "0" * 64) for index in range(4000)}
    )
    with pytest.raises(WorkspaceStorageError, match=r"No space left.*free some space"):
        large.save(path)
    assert Manifest.load(path) == small
    assert [entry.name for entry in small_disk.iterdir()] == ["manifest.jsonl"]


def test_a_full_disk_is_told_when_the_manifest_is_taken(small_disk):
    root = small_disk / "attempt" / "workspace"
    root.mkdir(parents=True)
    with pytest.raises(OSError, match="No space"):
        (root / "big").write_bytes(b"x" * 1024 * 1024)
    with pytest.raises(WorkspaceStorageError, match="free some space"):
        take_manifest(root, ALL, None)


def test_of_what_is_kept_nothing_is_examined_again(root):
    (root / "kept").write_bytes(b"other")
    (root / "new").write_bytes(b"new")
    (root / "unknown").write_bytes(b"unknown")
    kept = {"kept": ManifestEntry(FileStat(1, 2, 3, 4, False), "sha256:00")}
    before = (root / "new").stat()
    manifest = complete_manifest(root, kept, {"kept": "sha256:00", "new": "sha256:11", "unknown": "unknown:x"})
    assert manifest.entries["kept"] is kept["kept"]
    assert manifest.entries["new"] == ManifestEntry(FileStat.of(before), "sha256:11")
    assert manifest.entries["unknown"].digest.startswith("sha256:")
    assert manifest.entries.keys() == {"kept", "new", "unknown"}
    (root / "later").write_bytes(b"")
    assert before.st_ctime_ns <= manifest.taken_at_ns <= (root / "later").stat().st_ctime_ns


# ---------------------------------------------------------------- what nothing has changed since


def settled(root) -> Manifest:
    """The manifest of files that are older than the clock's tick."""
    next_tick(root.parent)
    return take_manifest(root, ALL, None)


def test_a_file_that_nothing_has_changed_has_the_stat_of_the_manifest(root):
    manifest = settled(root)
    assert manifest.unchanged("a.txt", (root / "a.txt").lstat()) is manifest.entries["a.txt"].stat
    found = scan(root, ALL, known=manifest.unchanged)
    assert found == scan(root, ALL)
    assert found.files["d/b.bin"] is manifest.entries["d/b.bin"].stat


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_text("hallo"),
        lambda path: path.write_text("longer"),
        lambda path: path.chmod(0o755),
        lambda path: path.chmod(0o600),
        lambda path: os.utime(path, ns=(1, 1)),
        lambda path: os.link(path, path.with_name("link")),
    ],
)
def test_any_change_of_a_file_shows(root, change):
    manifest = settled(root)
    change(root / "a.txt")
    assert manifest.unchanged("a.txt", (root / "a.txt").lstat()) is None
    assert scan(root, ALL, known=manifest.unchanged) == scan(root, ALL)


def test_a_file_that_may_have_changed_within_a_tick_is_not_unchanged(root):
    manifest = take_manifest(root, ALL, None)
    racy = replace(manifest, taken_at_ns=manifest.entries["a.txt"].stat.ctime_ns)
    assert racy.unchanged("a.txt", (root / "a.txt").lstat()) is None


def test_a_file_that_was_not_laid_out_is_not_unchanged(root):
    manifest = settled(root)
    assert manifest.unchanged("new", (root / "a.txt").lstat()) is None
    absent = manifest.with_absent({"made": ListedFile(5, False, "sha256:0")})
    assert absent.unchanged("made", (root / "a.txt").lstat()) is None

"""The diff, case by case: what is read, and what is not."""

from __future__ import annotations

import pytest

from perago.attempt.run import diff
from perago.errors import WorkspaceContentError
from perago.values.models import Changes
from perago.workspace.manifest import FINE_TICK_NS, Manifest, ManifestEntry
from perago.workspace.scan import FileStat, Scan

OLD = 1_000_000_000
TAKEN = OLD + 10 * FINE_TICK_NS
STAT = FileStat(size=5, mtime_ns=OLD, ctime_ns=OLD, inode=7, executable=False)
NEWER = TAKEN + 1


def manifest(stat=STAT, digest="sha256:old", path="f"):
    return Manifest(TAKEN, {path: ManifestEntry(stat, digest)})


def now(stat=STAT, path="f", directories=()):
    return Scan({path: stat}, frozenset(directories))


def never(path, algorithm, size):
    raise AssertionError(f"{path} was read")


class Reader:
    def __init__(self, answer):
        self.answer = answer
        self.asked = []

    def __call__(self, path, algorithm, size):
        self.asked.append((path, algorithm, size))
        return self.answer


def test_a_file_with_its_old_stat_is_not_read():
    assert not diff(manifest(), now(), never)


def test_another_size_needs_no_reading():
    assert diff(manifest(), now(STAT._replace(size=6)), never) == Changes(modified=("f",))


def test_the_executable_bit_needs_no_reading():
    assert diff(manifest(), now(STAT._replace(executable=True, ctime_ns=NEWER)), never) == Changes(modified=("f",))


@pytest.mark.parametrize("changed", [{"mtime_ns": NEWER}, {"ctime_ns": NEWER}, {"inode": 8}])
def test_another_stat_of_one_size_is_settled_by_reading(changed):
    same, other = Reader("sha256:old"), Reader("sha256:new")
    assert not diff(manifest(), now(STAT._replace(**changed)), same)
    assert diff(manifest(), now(STAT._replace(**changed)), other) == Changes(modified=("f",))
    assert same.asked == other.asked == [("f", "sha256", 5)]


def test_the_digest_is_taken_with_the_algorithm_that_the_store_used():
    reader = Reader("git-sha1:old")
    assert not diff(manifest(digest="git-sha1:old"), now(STAT._replace(inode=8)), reader)
    assert reader.asked == [("f", "git-sha1", 5)]


@pytest.mark.parametrize("racy", [{"mtime_ns": TAKEN}, {"ctime_ns": TAKEN}, {"ctime_ns": TAKEN - FINE_TICK_NS}])
def test_a_racy_file_is_read_though_its_stat_is_the_same(racy):
    stat = STAT._replace(**racy)
    assert diff(manifest(stat), now(stat), Reader("sha256:new")) == Changes(modified=("f",))
    assert not diff(manifest(stat), now(stat), Reader("sha256:old"))


def test_a_file_just_older_than_a_tick_is_not_racy():
    stat = STAT._replace(mtime_ns=TAKEN - FINE_TICK_NS - 1, ctime_ns=TAKEN - FINE_TICK_NS - 1)
    assert not diff(manifest(stat), now(stat), never)


def test_changes_are_sorted():
    before = Manifest(TAKEN, {path: ManifestEntry(STAT, "sha256:old") for path in ("m2", "d1", "m1", "d0", "same")})
    after = Scan({path: STAT._replace(size=6) for path in ("m2", "b", "m1", "a")} | {"same": STAT}, frozenset())
    assert diff(before, after, never) == Changes(added=("a", "b"), modified=("m1", "m2"), deleted=("d0", "d1"))


@pytest.mark.parametrize("below", [{}, {"f/x": STAT}])
def test_a_directory_where_a_file_was_is_refused_even_an_empty_one(below):
    with pytest.raises(WorkspaceContentError, match=r"'f'.*another name"):
        diff(manifest(), Scan(below, frozenset({"f"})), never)


def test_many_directories_where_files_were_are_listed_and_counted():
    paths = [f"f{index:02d}" for index in range(15)]
    before = Manifest(TAKEN, {path: ManifestEntry(STAT, "sha256:old") for path in paths})
    with pytest.raises(WorkspaceContentError, match=r"'f00'.*'f09'; and 5 more"):
        diff(before, Scan({}, frozenset(paths)), never)


def test_a_file_where_a_directory_was_is_a_deletion_and_an_addition():
    assert diff(manifest(path="d/f"), now(path="d"), never) == Changes(added=("d",), deleted=("d/f",))

"""Which file stays: by its stat, and where that does not tell, by its content."""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import replace

import pytest

from perago.ports import Source
from perago.workspace.manifest import Manifest, ManifestEntry
from perago.workspace.scan import FileStat
from perago.workspace.warm.compare import Rules, Verdict, current_umask, judge, take_over
from perago.workspace.warm.record import Record, System

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workspaces stay on Linux only")

SECOND = 10**9
WANTED = Source("c", False)
ONE = "sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"


@pytest.fixture
def workspace(tmp_path):
    made = tmp_path / "workspace"
    made.mkdir(0o700)
    (made / "a").write_bytes(b"one")
    (made / "a").chmod(0o644)
    return made


def record_of(workspace, *, taken_after=SECOND):
    found = (workspace / "a").stat()
    was = FileStat(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, False)
    manifest = Manifest(found.st_ctime_ns + taken_after, {"a": ManifestEntry(was, ONE)}, 10_000_000)
    return Record(System("b", found.st_dev, 0), manifest, {"a": "c"})


def rules_of(workspace):
    return Rules.of(workspace.stat(), 0o022, (workspace / "a").lstat().st_ctime_ns + SECOND)


def verdict(workspace, record, wanted=WANTED, **changes):
    status = (workspace / "a").stat()
    names = [name for name in dir(status) if name.startswith("st_")]
    fields = {name: getattr(status, name) for name in names} | changes
    return judge("a", type("Status", (), fields)(), wanted, record, rules_of(workspace))


def test_what_nothing_has_changed_stays(workspace):
    assert verdict(workspace, record_of(workspace)) is Verdict.STAYS


@pytest.mark.parametrize(
    "changes",
    [
        {"st_size": 4},
        {"st_mtime_ns": 1},
        {"st_ctime_ns": 1},
        {"st_ino": 1},
        {"st_mode": stat.S_IFREG | 0o600},
        {"st_mode": stat.S_IFREG | 0o755},
        {"st_mode": stat.S_IFREG | 0o4644},
        {"st_mode": stat.S_IFLNK | 0o644},
        {"st_mode": stat.S_IFIFO | 0o644},
        {"st_dev": 1},
        {"st_uid": 12345},
        {"st_nlink": 2},
    ],
    ids=str,
)
def test_any_field_that_differs_tells(workspace, changes):
    assert verdict(workspace, record_of(workspace), **changes) is Verdict.GOES


def test_what_could_still_change_within_a_tick_of_now_goes(workspace):
    record = record_of(workspace)
    rules = replace(rules_of(workspace), settled_ns=record.manifest.entries["a"].stat.ctime_ns)
    assert judge("a", (workspace / "a").stat(), WANTED, record, rules) is Verdict.GOES


@pytest.mark.parametrize("wanted", [None, Source("other", False), Source("c", True)])
def test_what_the_input_does_not_have_goes(workspace, wanted):
    assert verdict(workspace, record_of(workspace), wanted) is Verdict.GOES


def test_what_was_not_laid_out_goes(workspace):
    assert verdict(workspace, replace(record_of(workspace), contents={})) is Verdict.GOES


@pytest.mark.parametrize("taken_after", [-SECOND, 0, 10_000_000])
def test_a_change_within_a_tick_of_the_stat_shows_in_no_field(workspace, taken_after):
    assert verdict(workspace, record_of(workspace, taken_after=taken_after)) is Verdict.IS_READ


@pytest.mark.parametrize(("content", "stays"), [(b"one", True), (b"two", False), (b"longer", False)])
def test_then_the_content_tells(workspace, tmp_path, content, stays):
    """The stat is that of the changed file, as if the clock had not moved on."""
    (workspace / "a").write_bytes(content)
    record = record_of(workspace, taken_after=0)
    (tmp_path / "rest").mkdir()
    stayed = take_over(workspace, tmp_path / "rest", record, {"a": Source("c", False)}, rules_of(workspace))
    assert list(stayed.files) == (["a"] if stays else [])
    assert (workspace / "a").exists() is stays


def test_an_attribute_of_a_file_that_is_read_tells_too(workspace, tmp_path):
    os.setxattr(workspace / "a", "user.mine", b"1")
    (tmp_path / "rest").mkdir()
    record = record_of(workspace, taken_after=0)
    assert not take_over(workspace, tmp_path / "rest", record, {"a": Source("c", False)}, rules_of(workspace)).files


def test_the_umask_is_read_without_a_change():
    before = os.umask(0o027)
    try:
        assert current_umask() == 0o027
    finally:
        assert os.umask(before) == 0o027


def test_links_are_moved_away_and_not_followed(workspace, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").write_bytes(b"x")
    (workspace / "d").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "rest").mkdir()
    take_over(
        workspace, tmp_path / "rest", record_of(workspace), {"d/precious": Source("c", False)}, rules_of(workspace)
    )
    assert (tmp_path / "elsewhere" / "precious").read_bytes() == b"x"
    assert list(workspace.iterdir()) == []

"""Which workspaces stay, who takes them, and when they go."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from perago.errors import WorkspaceStorageError
from perago.ports import SystemClock
from perago.values.findings import Kind
from perago.values.models import AttemptIdentity
from perago.values.spec import WorkspaceSpec
from perago.workspace import janitor
from perago.workspace.directory import AttemptDirectory
from perago.workspace.examine import examine
from perago.workspace.patterns import Selection
from perago.workspace.warm import clock, place, record
from perago.workspace.warm.mounts import Mount
from perago.workspace.warm.place import WarmPlace, entries
from warm_histories import lay_out, next_tick, sources_of, tree_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workspaces stay on Linux only")

WHOLE = WorkspaceSpec()
COMMIT = {"a": (b"one", False), "d/b": (b"two", True), "d/e/c": (b"three", False)}


class Bench:
    """Attempts in one root, on one commit."""

    def __init__(self, root: Path, warm: WarmPlace | None = None) -> None:
        self.root = root
        self.warm = warm or WarmPlace(min_files=0, min_bytes=0)
        self._number = 0

    def directory(self) -> AttemptDirectory:
        self._number += 1
        identity = AttemptIdentity(workflow_instance_id="wf", task_id=f"t{self._number}", retry_count=0)
        return AttemptDirectory.create(self.root, identity, "e", "w", SystemClock())

    def attempt(
        self,
        body: Callable[[Path], object] = lambda _: None,
        *,
        commit=COMMIT,
        spec=WHOLE,
        whole: bool = True,
        before_leaving: Callable[[], object] = lambda: None,
    ) -> int:
        """Run one attempt; returns the number of files that were there already."""
        directory = self.directory()
        stay = self.warm.stay(directory, "repository", spec)
        if stay is None:
            directory.remove()
            return 0
        with stay:
            kept = stay.keep(sources_of(commit))
            digests = lay_out(commit, directory.workspace, kept)
            next_tick(directory.path)
            stay.laid_out(Selection(), digests)
            body(directory.workspace)
            if whole:
                stay.body_ended(frozenset())
                before_leaving()
                stay.leave()
        directory.remove()
        return len(kept.digests)

    def close(self) -> None:
        self.warm.close()


@pytest.fixture
def bench(tmp_path) -> Iterator[Bench]:
    made = Bench(tmp_path / "root")
    yield made
    made.close()


def test_what_stayed_is_not_laid_out_again(bench):
    assert bench.attempt() == 0
    assert bench.attempt() == 3
    assert bench.attempt(commit={**COMMIT, "a": (b"new", False)}) == 2
    assert len(entries(bench.root)) == 1


def test_another_directory_of_the_repository_has_workspaces_of_its_own(bench):
    bench.attempt()
    assert bench.attempt(spec=WorkspaceSpec(prefix="p")) == 0
    assert len(entries(bench.root)) == 2


def item(number: int, own_bytes: int = 1):
    """An item of a map: a task that reads what all read, and a file of its own."""
    spec = WorkspaceSpec(include=["common", f"in/{number}"])
    common, own = b"x" * 81_920, str(number).encode() * own_bytes
    return {"spec": spec, "commit": {"common": (common, False), f"in/{number}": (own, False)}}


def test_items_of_a_map_have_the_common_files_from_each_other(bench):
    assert [bench.attempt(**item(number)) for number in (1, 2, 3, 3)] == [0, 1, 1, 2]
    assert len(entries(bench.root)) == 1


def test_other_patterns_with_other_files_leave_each_other_theirs(bench):
    apart = [item(number, own_bytes=12_000) for number in (1, 2)]
    assert [bench.attempt(**each) for each in apart] == [0, 0]
    assert [bench.attempt(**each) for each in apart] == [2, 2]


def test_what_has_the_same_patterns_is_taken_first(bench):
    bench.attempt(lambda _: bench.attempt(**item(1)), **item(2))  # 2 ends last
    assert bench.attempt(**item(1)) == 2


def test_only_the_newest_of_other_patterns_are_looked_at(bench, monkeypatch):
    looked_at = []
    load = record.Record.load
    monkeypatch.setattr(record.Record, "load", lambda path: looked_at.append(path) or load(path))
    for number in range(5):
        bench.attempt(**item(number, own_bytes=12_000))
    assert len(looked_at) == 1 + 2 + 2 + 2
    first = entries(bench.root)[0]
    bench.attempt(**item(8))
    assert first.path not in looked_at[7:]


def test_a_damaged_record_of_other_patterns_is_left_alone(bench):
    bench.attempt(**item(1))
    (damaged,) = entries(bench.root)
    (damaged.path / "record").write_bytes(b"{}")
    assert bench.attempt(**item(2)) == 0
    assert damaged.path.exists()


def test_what_a_task_makes_does_not_matter(bench):
    """Items of a map have outputs of their own, and read the same files."""
    bench.attempt(spec=WorkspaceSpec(outputs=["out/1"]).laid_out)
    assert bench.attempt(spec=WorkspaceSpec(outputs=["out/2"]).laid_out) == 3


def test_an_attempt_that_did_not_end_whole_leaves_nothing(bench):
    bench.attempt(whole=False)
    assert entries(bench.root) == []
    assert bench.attempt() == 0


def test_one_that_was_taken_and_not_left_again_is_gone(bench):
    bench.attempt()
    bench.attempt(whole=False)
    assert bench.attempt() == 0


def test_one_attempt_takes_it(bench):
    """Twenty at once, of which one is first."""
    bench.attempt()
    directories = [bench.directory() for _ in range(20)]
    stays = [bench.warm.stay(directory, "repository", WorkspaceSpec()) for directory in directories]
    begin, kept = threading.Barrier(len(stays)), list[int]()

    def take(stay) -> None:
        begin.wait()
        kept.append(len(stay.keep(sources_of(COMMIT)).digests))

    threads = [threading.Thread(target=take, args=(stay,)) for stay in stays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for stay in stays:
        stay.__exit__(None, None, None)
    assert sorted(kept) == [0] * 19 + [3]


def test_two_at_once_each_have_one(bench):
    bench.attempt(lambda _: bench.attempt())
    assert len(entries(bench.root)) == 2
    bench.attempt(lambda _: bench.attempt())
    assert len(entries(bench.root)) == 2


def test_what_a_body_left_beside_its_input_goes_at_once(bench, tmp_path):
    def body(workspace: Path) -> None:
        (workspace / "d" / "large").write_bytes(b"x" * 4096)
        (workspace / "scratch" / "deep").mkdir(parents=True)
        (workspace / "link").symlink_to(tmp_path)
        os.mkfifo(workspace / "fifo")
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(os.fspath(workspace / "socket"))

    bench.attempt(body)
    workspace = entries(bench.root)[0].path / "workspace"
    assert sorted(path.name for path in workspace.rglob("*")) == ["a", "b", "c", "d", "e"]


def test_a_small_workspace_does_not_stay(tmp_path):
    bench = Bench(tmp_path / "root", WarmPlace())
    bench.attempt()
    assert entries(bench.root) == []


def test_a_workspace_that_is_too_large_does_not_stay_and_the_oldest_goes_first(tmp_path):
    bench = Bench(tmp_path / "root", WarmPlace(max_bytes=4 * 3 * 4096, min_files=0, min_bytes=0))
    bench.attempt(commit={f"f{number}": (b"x", False) for number in range(13)})
    assert entries(bench.root) == []
    for number in range(6):
        bench.attempt(spec=WorkspaceSpec(prefix=f"p{number}"))
    bench.close()
    keys = [entry.key for entry in entries(bench.root)]
    assert keys == [place.key_of("repository", WorkspaceSpec(prefix=f"p{number}")) for number in (2, 3, 4, 5)]
    assert [path.name for path in bench.root.iterdir()] == ["warm"]  # what went is removed


def test_there_are_not_more_than_some(tmp_path, monkeypatch):
    monkeypatch.setattr(place, "MAX_ENTRIES", 2)
    bench = Bench(tmp_path / "root")
    for number in range(4):
        bench.attempt(spec=WorkspaceSpec(prefix=f"p{number}"))
    bench.close()
    assert len(entries(bench.root)) == 2


def test_all_go_before_the_disk_is_full(bench, monkeypatch):
    bench.attempt()
    usage = shutil.disk_usage(bench.root)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=int(usage.total * 0.09)))
    assert bench.attempt() == 0
    assert [*(bench.root / "warm").iterdir()] == []


def test_nothing_stays_where_the_disk_got_short_meanwhile(bench, monkeypatch):
    usage = shutil.disk_usage(bench.root if bench.root.exists() else bench.root.parent)

    def run_short():
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))

    bench.attempt(before_leaving=run_short)
    assert entries(bench.root) == []


def test_the_janitor_removes_what_no_attempt_uses(bench):
    bench.attempt()
    since = entries(bench.root)[0].since
    janitor.sweep(bench.root, 60, since + 59)
    assert len(entries(bench.root)) == 1
    janitor.sweep(bench.root, 60, since + 61)
    assert entries(bench.root) == []


def test_doctor_finds_what_no_attempt_uses_and_removes_it(bench):
    bench.attempt()
    assert list(examine(bench.root, 3600, SystemClock())) == []
    (found,) = examine(bench.root, -3600, SystemClock())
    assert (found.kind, found.what) == (Kind.WARM_WORKSPACE, str(entries(bench.root)[0].path))
    assert found.mend is not None
    assert found.mend()
    assert entries(bench.root) == []


# ---------------------------------------------------------------- in doubt: cold


def test_another_boot_is_another_system(bench, monkeypatch):
    bench.attempt()
    monkeypatch.setattr(record, "boot_id", lambda: "another")
    assert bench.attempt() == 0


def test_another_disk_is_another_system(bench):
    """Its stats may be the same by chance."""
    bench.attempt()
    path = entries(bench.root)[0].path / "record"
    known = record.Record.load(path)
    path.unlink()
    replace(known, system=known.system._replace(device=known.system.device + 1)).save(path)
    assert bench.attempt() == 0


def test_a_copy_of_a_warm_workspace_is_cold(bench):
    """As another host has it, whose record says what it said here."""
    bench.attempt()
    path = entries(bench.root)[0].path
    shutil.move(shutil.copytree(path, bench.root / "copy"), path.with_name(f"{path.name[:-16]}{'0' * 16}"))
    shutil.rmtree(path)
    assert bench.attempt() == 0


def test_a_clock_that_jumped_since_makes_it_cold(bench, monkeypatch):
    bench.attempt()
    real = clock.clock_offset_ns
    monkeypatch.setattr(record, "clock_offset_ns", lambda: real() - 2 * clock.STEADY_NS)
    assert bench.attempt() == 0


def test_a_clock_that_was_set_while_the_attempt_ran_leaves_nothing(bench, monkeypatch):
    monkeypatch.setattr(clock.ClockWatch, "was_set", lambda _: True)
    bench.attempt()
    assert entries(bench.root) == []


def test_a_file_system_whose_clock_is_elsewhere_keeps_nothing(bench, monkeypatch):
    monkeypatch.setattr(place, "mounts", lambda: [Mount(b"/", "nfs4")])
    bench.attempt()
    assert entries(bench.root) == []


@pytest.mark.parametrize("damage", [b"", b"perago-warm-0 x\n", b"\xff", None])
def test_a_damaged_record_makes_it_cold(bench, damage):
    bench.attempt()
    path = entries(bench.root)[0].path / "record"
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
    assert bench.attempt() == 0
    assert bench.attempt() == 3


def test_a_record_says_whether_it_was_changed(bench):
    bench.attempt()
    path = entries(bench.root)[0].path / "record"
    path.write_bytes(path.read_bytes().replace(b"sha256", b"sha255", 1))
    with pytest.raises(WorkspaceStorageError, match="damaged"):
        record.Record.load(path)
    assert bench.attempt() == 0


def test_something_mounted_in_it_makes_it_cold(bench, tmp_path):
    other = tmp_path / "other"
    other.write_bytes(b"one")
    bench.attempt()
    mounted = entries(bench.root)[0].path / "workspace" / "a"
    if subprocess.run(["mount", "--bind", other, mounted], check=False, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount, as root has")
    try:
        assert bench.attempt() == 0
    finally:
        bench.close()
        for left in bench.root.rglob("a"):
            subprocess.run(["umount", "-l", left], check=False, capture_output=True)


def test_an_attribute_of_a_directory_makes_it_cold(bench):
    def body(workspace: Path) -> None:
        os.setxattr(workspace / "d", "user.mine", b"1")

    bench.attempt(body)
    assert bench.attempt() == 0


def test_a_workspace_that_cannot_be_moved_does_not_stay(bench):
    bench.attempt(lambda workspace: workspace.chmod(0o500))
    assert entries(bench.root) == []
    assert bench.attempt() == 0


# ---------------------------------------------------------------- what could outlive a body


def test_a_link_made_elsewhere_costs_its_file_only(bench, tmp_path):
    seen = list[bytes]()
    bench.attempt(lambda workspace: os.link(workspace / "a", tmp_path / "link"))
    assert bench.attempt(lambda _: (tmp_path / "link").write_bytes(b"evil")) == 2
    assert bench.attempt(lambda workspace: seen.append((workspace / "a").read_bytes())) == 3
    assert seen == [b"one"]


def test_an_open_file_that_is_written_after_the_attempt_costs_its_file_only(bench):
    held = list[int]()
    bench.attempt(lambda workspace: held.append(os.open(workspace / "a", os.O_RDWR)))
    os.pwrite(held[0], b"evi", 0)
    seen = list[bytes]()
    assert bench.attempt(lambda workspace: seen.append((workspace / "a").read_bytes())) == 2
    os.close(held[0])
    assert seen == [b"one"]


def test_an_open_file_that_is_written_while_the_next_attempt_runs_is_a_change_of_that_attempt(bench):
    """The one thing that nobody sees: a program that the body did not start holds its file, and waits so long. It could
    as well write below the next attempt's path."""
    held = list[int]()
    bench.attempt(lambda workspace: held.append(os.open(workspace / "a", os.O_RDWR)))
    bench.attempt(lambda _: os.pwrite(held[0], b"evi", 0))
    os.close(held[0])
    assert bench.attempt() == 2


def test_modes_are_those_of_a_cold_lay_out(bench, tmp_path):
    found = list[object]()
    bench.attempt(lambda workspace: found.append(tree_of(workspace)))
    bench.attempt(lambda workspace: [path.chmod(0o700) for path in workspace.rglob("*")])
    bench.attempt(lambda workspace: found.append(tree_of(workspace)))
    assert found[0] == found[1]


def test_the_umask_of_the_attempt_counts(bench):
    found = list[int]()
    bench.attempt()
    before = os.umask(0o077)
    try:
        assert bench.attempt(lambda workspace: found.append((workspace / "d" / "b").stat().st_mode & 0o777)) == 0
    finally:
        os.umask(before)
    assert found == [0o700]

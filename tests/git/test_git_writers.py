"""Many processes that publish to one branch of a git repository, in the host's queue; some are killed in their turn."""

import sys
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks.writers.part import LOST_ON_TWO_HOSTS, TWO_HOSTS, Case, Writer, on_disk, run_race, writers_of
from benchmarks.writers.program_writer import Order
from git_support import git
from waiting import wait_for

SMALL = 2048


def publications(place, branch):
    """The writer and the turn of each commit, newest first; both are in a file that the commit changed."""
    found = []
    for commit in git(place.argument, "rev-list", f"{place.head}..{branch}").split():
        changed = git(place.argument, "diff", "--name-only", f"{commit}^", commit).split()
        [path] = [name for name in changed if name.endswith("/a")]
        writer, turn, *_ = git(place.argument, "show", f"{commit}:{path}").split()
        found.append((writer, int(turn)))
    return found


def test_writers_of_two_hosts_all_publish_and_lose_few_swaps(tmp_path):
    place = on_disk(tmp_path)
    with writers_of(place, 8, tmp_path) as writers:
        race = run_race(place, writers, Case("", 8, 4, SMALL), TWO_HOSTS, tmp_path)
    expected = [(f"writer-{number}", turn) for number in range(8) for turn in range(4)]
    assert sorted(publications(place, race.branch)) == expected
    assert race.lost <= LOST_ON_TWO_HOSTS


@pytest.mark.skipif(sys.platform != "linux", reason="reads who holds a lock from /proc/locks; Linux runs it")
def test_writers_that_are_killed_in_their_turn_hold_up_nobody(tmp_path):
    place, state = on_disk(tmp_path), tmp_path / "state"
    with writers_of(place, 8, tmp_path) as writers:
        for writer in writers:
            writer.begin(Order(state=str(state), branch="main", head=place.head, count=6, size=SMALL))
        killed = set()
        for _ in range(3):
            wait_for(lambda: kill_holder(state / "queue", writers, killed), "a turn of a writer")
        living = [number for number in range(8) if number not in killed]
        for number in living:
            assert len(writers[number].end().seconds) == 6
    assert len(killed) == 3
    assert {(f"writer-{number}", turn) for number in living for turn in range(6)} <= set(publications(place, "main"))
    assert git(place.argument, "fsck", "--strict", "--no-dangling") == ""


def kill_holder(queue: Path, writers: list[Writer], killed: set[int]) -> bool:
    """Kill the process whose turn it is; returns whether there is one."""
    tickets = sorted(queue.glob("*-*"), key=lambda path: int(path.name.partition("-")[2])) if queue.is_dir() else []
    pids = {writer.process.pid: number for number, writer in enumerate(writers) if number not in killed}
    with suppress(FileNotFoundError):
        for ticket in tickets:
            owner = locked_by(ticket)
            if owner in pids:
                writers[pids[owner]].process.kill()
                killed.add(pids[owner])
                return True
    return False


def locked_by(path: Path) -> int | None:
    """The process that holds the lock on a file."""
    inode = path.stat().st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if "FLOCK" in fields and fields[-3].split(":")[-1] == str(inode):
            return int(fields[-4])
    return None

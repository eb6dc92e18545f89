"""A process killed before any one of its syncs and renames leaves a whole repository, and the next one publishes."""

import signal
import time

import pytest

from git_support import EVERYTHING, Bench, fsck, make_execution, publish_in_a_process
from perago.ports import SystemClock
from perago.stores.git import GitStore
from perago.stores.git.locks import Patience
from perago.values.models import StagedWorkspace
from servers.machine import slowness

LARGE = b"x" * (1 << 20)
MANY = {f"f{number:03}": b"%d" % number for number in range(120)}
CONTENT = {"loose and large": lambda n: {f"a{n}": b"%d" % n, f"d/b{n}": LARGE + b"%d" % n}, "a pack": lambda n: MANY}


def test_a_kill_right_after_the_move_leaves_it_published(bench, syscalls):
    base = bench.import_files({"start": b"1"})
    killed = publish_in_a_process(bench, {"b": b"b"}, syscalls=syscalls, kill_after="/refs/heads/main")
    assert killed.code == -signal.SIGKILL
    ref = bench.head()
    (name,) = bench.git("for-each-ref", "--format=%(refname)", "refs/perago").split()
    assert bench.git("rev-parse", f"{ref}^", name).split() == [base, ref]
    later = bench.publish_files(ref, {"c": b"c"})
    staged = StagedWorkspace(repository="data", branch=name, commit=ref)
    again = bench.store.publish_workspace(staged, bench.input(base), EVERYTHING, make_execution(base))
    assert (again, bench.head()) == (ref, later), "an unclear answer is settled by looking"
    bench.store.cleanup_staging(staged)


@pytest.mark.parametrize("content", CONTENT.values(), ids=CONTENT.keys())
def test_a_kill_at_any_point_leaves_the_branch_old_or_new_and_usable(bench, syscalls, content):
    bench.import_files({"start": b"1"})
    quick = Bench(bench.root, GitStore(bench.path, patience=Patience(watch=0.05)))
    outcomes = []
    for number in range(1, 200):
        base = quick.head()
        ended = publish_in_a_process(bench, content(number), syscalls=syscalls, kill_at=number)
        head = quick.head()
        moved = head != base
        assert not moved or bench.git("rev-parse", f"{head}^") == base
        assert fsck(bench.path) == ""
        outcomes.append((ended.code, moved))
        begun = time.monotonic()
        quick.publish_files(head, {"after": b"%d" % number})
        assert time.monotonic() - begun < 10 * slowness()
        if ended.code == 0:
            break
    assert outcomes[-1] == (0, True)
    killed = outcomes[:-1]
    assert {code for code, _ in killed} == {-signal.SIGKILL}
    assert len(killed) >= 10
    assert (-signal.SIGKILL, False) in killed
    assert GitStore(bench.path, clock=SystemClock()).sweep(-60).staging
    assert bench.git("for-each-ref", "refs/perago") == ""
    assert len(quick.content(quick.head())) > 2

"""Transactional runs on a repository that several processes share: begun once, published whole, swept when old."""

import math
import os
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from clocks import LaterClock
from git_support import (
    EVERYTHING,
    GIT_TESTS,
    Bench,
    fsck,
    make_execution,
    run_branch,
)
from perago.errors import StoreError
from perago.stores.git import GitStore
from perago.stores.git.locks import Patience
from perago.values.findings import Kind
from perago.values.history import Merge, Publish
from perago.values.models import RUN_BRANCH_TTL_SECONDS, Changes

LARGE = b"x" * (1 << 20)
DAY = timedelta(days=1)
SECONDS = 120
PROGRAMS = 3
ROUNDS = 3
MAX_CALLS = 200


def begin(bench, branch):
    return bench.store.create_run_branch("data", branch, "main")


def publish(bench, branch, files):
    """One task of a run."""
    return bench.publish_files(bench.head(branch), files, branch=branch)


def end(bench, base, ref, plan=None):
    target = bench.input(base)
    changes = bench.store.changes_of_run(target, ref)
    execution = make_execution(base, changes=changes, plan=plan or Publish(base))
    staged = bench.store.stage_run(target, ref, execution)
    try:
        return bench.store.publish_workspace(staged, target, EVERYTHING, execution)
    finally:
        bench.store.cleanup_staging(staged)


def paths(bench):
    """All paths of main, as git sees them."""
    return set(bench.git("ls-tree", "-r", "--name-only", "main").split())


@contextmanager
def started(program, *arguments, **environment):
    """A program of this directory, which is killed at the end if it has not ended."""
    process = subprocess.Popen(
        [sys.executable, GIT_TESTS / program, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def later(bench, age):
    return GitStore(bench.path, clock=LaterClock(age))


# ---- several processes, killed processes


def test_programs_begin_one_run_once_and_nobody_sees_a_part_of_any(bench):
    bench.import_files({"start": b"1"})
    starts = []
    for number in range(PROGRAMS):
        starts.append(bench.person_commits({"start": b"%d" % number}))
        bench.git("branch", f"start-{number}", starts[-1])
    begun = bench.head()
    seen = set()
    with ExitStack() as stack:
        programs = [
            stack.enter_context(started("program_runs.py", bench.path, bench.root / f"host-{number}", number, ROUNDS))
            for number in range(PROGRAMS)
        ]
        for program in programs:
            print(file=program.stdin, flush=True)
        while any(program.poll() is None for program in programs):
            seen.add(frozenset(paths(bench)))
        printed = [program.communicate(timeout=SECONDS)[0].split() for program in programs]
    assert [program.returncode for program in programs] == [0] * PROGRAMS
    bases = {words[1] for words in printed}
    assert len(bases) == 1
    assert bases <= set(starts)
    ended = [words[at + 1] for words in printed for at, word in enumerate(words) if word == "ended"]
    assert len(seen) > ROUNDS
    for listed in [*seen, paths(bench)]:
        runs = [path.partition("/")[0] for path in listed if path.startswith("run-")]
        assert all(runs.count(run) == 2 for run in runs), listed
    line = bench.git("rev-list", "--first-parent", f"{begun}..main").split()
    assert sorted(line) == sorted(ended)
    assert len(ended) == PROGRAMS * ROUNDS
    assert bench.git("for-each-ref", "refs/perago") == ""


def test_a_kill_at_any_point_leaves_all_of_a_run_or_nothing_and_it_can_be_ended_again(bench, syscalls):
    bench.import_files({"start": b"1"})
    quick = Bench(bench.root, GitStore(bench.path, patience=Patience(watch=0.05)))
    outcomes = []
    with started("program_end.py", bench.path, LD_PRELOAD=str(syscalls)) as program:
        for number in range(MAX_CALLS):
            base, branch, other = quick.head(), run_branch(f"run-{number}"), run_branch(f"other-{number}")
            begin(quick, branch)
            publish(quick, branch, {f"first-{number}": b"1"})
            ref = publish(quick, branch, {f"d/second-{number}": b"%d" % number})
            foreign = quick.person_commits({"theirs": b"%d" % number})
            print(number or "moved", other, ref, file=program.stdin, flush=True)
            code = int(program.stdout.readline())
            head = quick.head()
            outcomes.append((code, head != foreign))
            assert fsck(bench.path) == ""
            assert quick.store.branch_head(other) in (None, foreign)
            assert begin(quick, other) == (quick.store.branch_head(other) or head)
            if head == foreign:
                assert not {f"first-{number}", f"d/second-{number}"} & paths(bench)
                head = end(quick, base, ref, Merge(foreign, (foreign,)))
            assert bench.git("rev-parse", f"{head}^1", f"{head}^2", f"{head}~2").split() == [foreign, ref, base]
            assert {f"first-{number}", f"d/second-{number}"} <= paths(bench)
            if code == 0:
                break
    killed = outcomes[:-1]
    assert outcomes[-1] == (0, True)
    assert {code for code, _ in killed} == {-signal.SIGKILL}
    # How many calls there are depends on the objects' ids, so that the sweep may miss the one after the move.
    assert (killed[0], killed[1]) == ((-signal.SIGKILL, True), (-signal.SIGKILL, False))
    assert len(killed) >= 8


# ---- sweeping


@pytest.mark.parametrize(
    ("begun", "used", "is_kept"),
    [(0, 30, True), (6, 30, True), (30, 6, True), (8, 30, False), (30, 8, False)],
    ids=["no task yet", "no task for long", "used lately", "begun long ago", "used long ago"],
)
def test_a_run_is_as_old_as_its_beginning_or_its_newest_commit(bench, begun, used, is_kept):
    """The head's time alone would sweep a run under its first task: it is at a commit that may be old."""
    Bench(bench.root, GitStore(bench.path, clock=LaterClock(-used * DAY))).import_files({"a": b"a"})
    branch = run_branch("wf", datetime.now(UTC) - begun * DAY)
    begin(bench, branch)
    swept = bench.store.sweep(3600, runs_older_than_seconds=RUN_BRANCH_TTL_SECONDS)
    assert (swept.runs, bench.store.branch_head(branch) is None) == (() if is_kept else (branch,), not is_kept)
    assert bench.store.sweep(3600).runs == ()
    assert bench.store.branches() == ["main"]


def test_branches_of_people_are_never_swept(bench):
    bench.import_files({"a": b"a"})
    names = ["perago-run-notes", "perago-run", "perago-run-20269999t000000z-wf-0"]
    for name in names:
        bench.git("branch", name, "main")
    assert later(bench, 400 * DAY).sweep(3600).runs == ()
    assert bench.store.branches() == sorted(["main", *names])


def test_a_branch_whose_head_is_missing_is_left_to_people_and_stops_no_sweep(loose_bench):
    bench = loose_bench
    bench.import_files({"a": b"a"})
    broken, old = run_branch("broken"), run_branch("old")
    begin(bench, old)
    (bench.path / "refs/heads" / broken).write_text("1" * 40 + "\n")
    assert later(bench, 8 * DAY).sweep(3600).runs == (old,)
    assert (bench.path / "refs/heads" / broken).exists()


def test_what_is_published_keeps_its_runs_commits_and_what_failed_goes(bench):
    base = bench.import_files({"a": b"a"})
    published, failed = run_branch("published"), run_branch("failed")
    for branch in (published, failed):
        begin(bench, branch)
    first = publish(bench, published, {"b": b"1", "large": LARGE})
    second = publish(bench, published, {"b": b"2", "large": None})
    lost = publish(bench, failed, {"c": b"1", "lost": LARGE + b"lost"})
    ref = end(bench, base, second)
    assert set(later(bench, 8 * DAY).sweep(3600).runs) == {published, failed}
    bench.git("gc", "--prune=now", "--quiet")
    assert bench.content(first)["large"] == LARGE
    assert bench.content(ref) == bench.content(second) == {"a": b"a", "b": b"2"}
    assert bench.git("cat-file", "-t", lost, check=False) == ""
    findings = list(bench.store.examine(older_than_seconds=-60))
    assert [finding.kind for finding in findings] == [Kind.UNREFERENCED_LARGE_FILE]
    assert all(finding.mend() for finding in findings)
    assert bench.content(first)["large"] == LARGE
    assert [entry.id for entry in bench.store.log(ref, 10)] == [ref, base]


def test_doctor_looks_again_before_it_removes_a_run(bench):
    bench.import_files({"a": b"a"})
    used, unused = run_branch("used", datetime.now(UTC) - 8 * DAY), run_branch("unused", datetime.now(UTC) - 9 * DAY)
    Bench(bench.root, GitStore(bench.path, clock=LaterClock(-30 * DAY))).import_files({"b": b"b"})
    for branch in (used, unused):
        begin(bench, branch)
    found = {finding.what: finding for finding in bench.store.examine(older_than_seconds=3600)}
    assert {name: finding.kind for name, finding in found.items()} == dict.fromkeys((used, unused), Kind.RUN_BRANCH)
    assert round(found[unused].age_seconds / 86_400) == 9
    publish(bench, used, {"c": b"c"})
    assert (found[used].mend(), found[unused].mend(), found[unused].mend()) == (False, True, True)
    assert list(bench.store.examine(older_than_seconds=3600)) == []
    assert bench.store.branch_head(used) is not None
    assert list(later(bench, 8 * DAY).examine(older_than_seconds=3600, run_age_limit=lambda _: math.inf)) == []
    limits = {used: 86_400.0}
    (finding,) = later(bench, 8 * DAY).examine(older_than_seconds=3600, run_age_limit=limits.__getitem__)
    limits[used] = math.inf
    assert not finding.mend()
    assert bench.store.branch_head(used) is not None


# ---- what is read


def test_a_run_is_published_without_its_content(bench):
    """Blobs are never read: also a run of files that are too damaged to be read is published."""
    base = bench.import_files({"a": b"a"})
    branch = run_branch("wf")
    begin(bench, branch)
    ref = publish(bench, branch, {"d/b": b"content"})
    blob = bench.git("rev-parse", f"{ref}:d/b")
    path = bench.path / "objects" / blob[:2] / blob[2:]
    content = path.read_bytes()
    path.unlink()
    foreign = bench.person_commits({"c": b"theirs"})
    published = end(bench, base, ref, Merge(foreign, (foreign,)))
    path.write_bytes(content)
    assert bench.content(published) == {"a": b"a", "c": b"theirs", "d/b": b"content"}


def test_a_commit_of_a_run_that_was_collected_is_not_published(bench):
    base = bench.import_files({"a": b"a"})
    branch = run_branch("wf")
    begin(bench, branch)
    ref = publish(bench, branch, {"b": b"b"})
    assert later(bench, 8 * DAY).sweep(3600).runs == (branch,)
    bench.git("gc", "--prune=now", "--quiet")
    execution = make_execution(base, changes=Changes(added=("b",)), plan=Publish(base))
    with pytest.raises(StoreError, match=ref):
        GitStore(bench.path).stage_run(bench.input(base), ref, execution)
    assert (bench.head(), bench.git("for-each-ref", "refs/perago")) == (base, "")

"""What killed attempts leave is swept, and nothing that lives."""

import os
import signal
import time

from clocks import LaterClock
from git_support import Bench, publish_in_a_process, write_files
from perago.stores.git import GitStore


def stage_something(bench):
    base = bench.head()
    work = bench.download(base)
    write_files(work.directory, {"b": b"b"})
    return bench.stage(work)[0]


def test_a_killed_attempts_staging_reference_is_swept_when_it_is_old(bench, syscalls):
    bench.import_files({"a": b"a"})
    killed = publish_in_a_process(bench, {"b": b"b"}, syscalls=syscalls, kill_before="/refs/heads/main")
    assert killed.code == -signal.SIGKILL
    assert bench.store.sweep(3600).staging == ()
    later = GitStore(bench.path, clock=LaterClock())
    (name,) = later.sweep(3600).staging
    assert name.startswith("refs/perago/staging/")
    assert bench.git("for-each-ref", "refs/perago") == ""
    assert later.sweep(3600).staging == ()


def test_a_staging_reference_whose_commit_is_gone_does_not_stop_a_sweep(bench):
    bench.import_files({"a": b"a"})
    broken = bench.path / "refs/perago/staging/broken"
    broken.parent.mkdir(parents=True, exist_ok=True)
    broken.write_text("1" * 40 + "\n")
    assert bench.store.sweep(3600).staging == ("refs/perago/staging/broken",)
    assert not broken.exists()


def test_branches_and_foreign_references_are_never_swept(bench):
    bench.import_files({"a": b"a"})
    bench.git("update-ref", "refs/perago/other", "main")
    bench.git("update-ref", "refs/elsewhere/staging", "main")
    before = bench.git("for-each-ref")
    assert GitStore(bench.path, clock=LaterClock()).sweep(3600).staging == ()
    assert bench.git("for-each-ref") == before


def test_temporary_files_and_locks_of_the_dead_are_swept(bench):
    bench.import_files({"a": b"a", "large": b"x" * (1 << 20)})
    staged = stage_something(bench)
    left = [bench.path / "lfs/tmp/left", bench.path / f"{staged.branch}-other.lock"]
    for path in left:
        path.write_bytes(b"x")
        os.utime(path, (time.time() - 7200, time.time() - 7200))
    swept = bench.store.sweep(3600)
    assert (swept.staging, swept.temporaries) == ((), 2)
    assert not any(path.exists() for path in left)
    assert bench.git("rev-parse", staged.branch) == staged.commit


def test_sweeping_an_empty_repository_is_fine(tmp_path):
    store = Bench(tmp_path).store
    assert store.sweep(0).temporaries == 0

"""A worker on lakeFS whose disk fills up: its tasks fail and say why, and it goes on when there is room again."""

from __future__ import annotations

import os

import pytest

from pipeline_support import Pipeline, surroundings
from small_disk import small_disk_at
from waiting import wait_for

PAGE = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(autouse=True)
def nothing_stays():
    """Replaces conftest's fixture, because the session's servers outlive a test."""


@pytest.fixture
def disk(tmp_path):
    """A file system of 16 MiB: for workspaces, cache, logs, and all that a worker writes of itself."""
    with small_disk_at(tmp_path, "16m") as path:
        yield path


def fill(disk, free_pages):
    """Leave so many pages free; returns the file that takes all others."""
    filler = disk / "filler"
    with filler.open("wb") as file:
        state = os.statvfs(disk)
        os.posix_fallocate(file.fileno(), 0, state.f_bavail * state.f_frsize - free_pages * PAGE)
    return filler


@pytest.mark.parametrize("free_pages", [0, 4, 12])
def test_tasks_fail_while_the_disk_is_full_and_complete_when_it_is_not(
    conductor, conductor_server, lakefs_server, lakefs_repository, disk, free_pages
):
    pipeline = Pipeline(conductor, lakefs_repository, surroundings(conductor_server, lakefs_server), disk)
    lakefs_repository.commit_files("main", {"large.bin": b"x" * (16 * PAGE)})
    before = lakefs_repository.head("main")
    with pipeline.worker("worker", "-j", "1") as worker:
        worker.wait_ready()
        pid, filler = worker.pid, fill(disk, free_pages)
        workflow = pipeline.start("main")
        failed = conductor.wait_for_end(workflow, 120)
        assert failed["status"] == "FAILED"
        reasons = {task["reasonForIncompletion"] for task in failed["tasks"]}
        assert all("No space left on device" in reason for reason in reasons), reasons
        assert lakefs_repository.head("main") == before
        assert lakefs_repository.branches("perago-", hidden=True) == []
        assert not list(worker.root.glob("*-*/workspace"))

        filler.unlink()
        conductor.retry(workflow)
        assert conductor.wait_for_end(workflow, 120)["status"] == "COMPLETED"
        wait_for(lambda: worker.status()["worker"]["slots"][0]["state"] == "idle", "the slot to be free", 60)
        assert (worker.process.poll(), worker.pid) == (None, pid)
        assert not list(worker.root.glob("*-*/workspace"))
    files = {found["path"] for found in lakefs_repository.objects(lakefs_repository.head("main"))}
    assert {"prepared.txt", "finished.txt"} <= files

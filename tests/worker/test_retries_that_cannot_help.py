"""What a worker reports of a failure: no retry is spent where none can help, and one is left where it may."""

from __future__ import annotations

from pathlib import Path

import pytest

from perago.stores.git import GitStore
from perago.stores.git.provider import git_settings
from perago.values.record import TryStatus
from waiting import wait_for

TERMINAL = [TryStatus.FAILED_WITH_TERMINAL_ERROR]
TRIED_AGAIN = [TryStatus.FAILED] * 4
"""Of a task that fails each time."""


class Place:
    """A git repository with a branch, as a task's input names it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings = git_settings(path / "data.git")
        self.store = GitStore.create(path / "data.git")
        self.base = self.commit("readme.txt")

    def commit(self, name: str) -> str:
        """As a person does."""
        directory = self.path / "files"
        directory.mkdir(exist_ok=True)
        (directory / name).write_text("data")
        return self.store.import_directory(directory, "main", name)

    def workspace(self, **other):
        return {"repository": "data", "branch": "main", "refType": "commit", "ref": self.base, **other}


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


@pytest.fixture
def worker(supervise, place, mode):
    with supervise(store=place.settings, mode=mode) as worker:
        yield worker


def statuses(worker, name):
    """Of all tries of a task, once there will be no more."""
    workflow = name.split("/")[0]
    wait_for(lambda: worker.engine.tasks.status(workflow).value != "RUNNING", "the workflow to end")
    return [entry.status for entry in worker.tries(name)]


def append(worker, workspace, params=None, **options):
    return worker.schedule("space.append", input_data={"workspace": workspace, "params": params or {}}, **options)


@pytest.mark.parametrize(
    ("other", "params"),
    [
        ({}, {"seconds": "no number"}),
        ({"refType": "branch"}, {}),
        ({"ref": "abc123"}, {}),
        ({"ref": "0" * 40}, {}),
        ({"branch": "mian"}, {}),
    ],
    ids=["params", "refType", "short ref", "unknown ref", "branch"],
)
def test_an_input_that_is_wrong_fails_for_good(worker, place, other, params):
    assert statuses(worker, append(worker, place.workspace(**other), params)) == TERMINAL


@pytest.mark.parametrize("workspace", [None, {}, "main"])
def test_an_input_without_a_workspace_fails_for_good(worker, workspace):
    assert statuses(worker, append(worker, workspace)) == TERMINAL


def test_the_params_of_a_free_task_that_are_wrong_fail_it_for_good(worker):
    assert statuses(worker, worker.schedule("light.echo", {"seconds": "no number"})) == TERMINAL


def test_a_repository_that_is_not_there_fails_for_good(supervise, tmp_path, mode):
    settings = git_settings(tmp_path / "nothing.git")
    workspace = {"repository": "nothing", "branch": "main", "refType": "commit", "ref": "0" * 40}
    with supervise(store=settings, mode=mode) as worker:
        assert statuses(worker, append(worker, workspace)) == TERMINAL


def test_what_a_body_raises_is_tried_again(worker):
    assert statuses(worker, worker.schedule("light.exit_async")) == TRIED_AGAIN


def test_a_refusal_for_a_commit_that_nobody_will_take_back_is_for_good(worker, place):
    place.commit("by-hand.txt")
    assert statuses(worker, append(worker, place.workspace())) == TERMINAL


def test_a_refusal_for_a_commit_of_another_workflow_is_for_good(worker, place):
    worker.completed(append(worker, place.workspace()))
    assert statuses(worker, append(worker, place.workspace())) == TERMINAL


def test_a_refusal_for_a_commit_of_a_sibling_that_has_completed_is_for_good(worker, place):
    worker.completed(append(worker, place.workspace()))
    assert statuses(worker, append(worker, place.workspace(), workflow=worker.where)) == TERMINAL


def test_a_refusal_for_a_commit_of_a_sibling_that_has_not_ended_is_tried_again(worker, place):
    """The sibling may complete with it, or without it: its report was undone by a heartbeat in flight."""
    _of_another_worker(worker)  # so that the workflow goes on
    sibling = append(worker, place.workspace(), workflow=worker.where)
    worker.engine.tasks.revert(worker.ended(sibling).task_id)
    assert statuses(worker, append(worker, place.workspace(), workflow=worker.where)) == TRIED_AGAIN


# ---- inputs that the engine made amid a retry


def test_an_input_that_was_made_while_another_task_was_tried_again_is_made_anew(worker):
    """Conductor makes it of that task's newest try, which has no output yet."""
    task_id = _of_another_worker(worker)
    worker.engine.tasks.timeout(task_id)
    assert statuses(worker, append(worker, None, workflow=worker.where)) == TRIED_AGAIN


def test_an_input_that_lacks_something_beside_another_task_fails_for_good(worker):
    _of_another_worker(worker)
    assert statuses(worker, append(worker, None, workflow=worker.where)) == TERMINAL


def _of_another_worker(worker):
    """The id of a task under way elsewhere, in the workflow `worker.where`."""
    worker.schedule("elsewhere")
    taken = worker.engine.tasks.poll("elsewhere")
    assert taken is not None
    return taken.task_id


def test_guards_that_are_functions_fail_like_the_others(supervise, place, mode):
    """A pre guard for good, a post guard each try; both are found by importing the task's module."""
    with supervise(store=place.settings, mode=mode, targets=["guarded_bodies"]) as worker:

        def run(ref, text):
            input_data = {"workspace": place.workspace(ref=ref), "params": {"text": text}}
            return worker.schedule("space.guarded", input_data=input_data)

        long = run(place.base, "too long")
        assert statuses(worker, long) == TRIED_AGAIN
        assert "the post guard did not hold: is_short raised ValueError: out.txt has 8 bytes" in worker.reason(long)
        fits = run(place.base, "short")
        assert statuses(worker, fits) == [TryStatus.COMPLETED]
        stopped = run(place.commit("stop.txt"), "short")
        assert statuses(worker, stopped) == TERMINAL
        assert "the pre guard did not hold: has_no_stop raised ValueError: there is a stop.txt" in worker.reason(
            stopped
        )

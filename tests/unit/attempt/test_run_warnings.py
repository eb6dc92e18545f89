"""What an attempt warns of: what the task was given or does has no effect, and nothing fails for it."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from attempt_world import Params, Result, World, nothing, say
from perago import require_glob, run_workspace_free_task_attempt, task
from perago.telemetry.logs import warning_for


@pytest.fixture
def warned(tmp_path):
    """Runs one attempt of a task with this spec and body; its warnings."""

    def run(body=nothing, *, files=None, params=None, status="COMPLETED", **spec):
        world = World(tmp_path / "root", **spec)
        world.body = body
        if files is not None:
            world.input_ref = world.store.commit("main", {"in.txt": None, **files})
        world.schedule()
        attempt = world.poll()
        if params is not None:
            attempt = replace(attempt, input_data={**attempt.input_data, "params": params})
        result = world.attempt(attempt)
        assert result.status == status, result.reason_for_incompletion
        return cautions(world.events)

    return run


def cautions(events):
    said = [warning_for(event.phase, event.attributes) for event in events if event.kind == "progress"]
    return [text for text in said if text is not None]


# ---------------------------------------------------------------- writes of a read_only task


def overwrite(workspace, params):
    (workspace / "in.txt").write_text("changed")
    (workspace / "new.txt").write_text("new")


def remove(workspace, params):
    (workspace / "in.txt").unlink()


def link(workspace, params):
    (workspace / "link").symlink_to("in.txt")
    os.mkfifo(workspace / "pipe")
    (workspace / "new.txt").write_text("new")


def remove_all(workspace, params):
    remove(workspace, params)
    workspace.rmdir()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (overwrite, "2 changed files are not published, because the task is read_only: 'in.txt', 'new.txt'."),
        (remove, "a changed file is not published, because the task is read_only: 'in.txt'."),
        (link, "a changed file is not published, because the task is read_only: 'new.txt'."),
        (remove_all, "a changed file is not published, because the task is read_only: 'in.txt'."),
    ],
)
def test_what_a_read_only_body_writes_is_warned_of(warned, body, told):
    assert warned(body, read_only=True) == [told]


def test_many_writes_of_a_read_only_body_are_counted(warned):
    def many(workspace, params):
        for number in range(100):
            (workspace / f"{number:02}.txt").write_text("")

    [told] = warned(many, read_only=True)
    assert told.startswith("100 changed files are not published")
    assert told.endswith(": '00.txt', '01.txt', '02.txt', ….")


def test_a_read_only_body_that_only_reads_is_not_warned_of(warned):
    assert warned(lambda workspace, params: (workspace / "in.txt").read_text(), read_only=True) == []


def test_what_a_read_only_task_excludes_is_its_scratch(warned):
    assert warned(say, read_only=True, exclude=["out.txt"]) == []


# ---------------------------------------------------------------- include, prefix


def test_an_include_that_matches_nothing_is_warned_of(warned):
    assert warned(include=["*.csv", "*.txt"]) == [
        "no file matches the workspace's include '*.csv'; '**/*.csv' matches in directories, too."
    ]
    assert warned(include=["data/*.csv"], files={"data.csv": "1"}) == [
        "no file matches the workspace's include 'data/*.csv'."
    ]


def test_an_include_that_matches_what_the_body_writes_is_not_warned_of(warned):
    assert warned(say, include=["in.txt", "out.txt"]) == []
    assert warned(say, prefix="features") == []


def test_a_prefix_that_holds_nothing_is_warned_of(warned):
    assert warned(prefix="features/v1", include=["*.csv"]) == ["the workspace's prefix features/v1/ has no files."]


def fail(workspace, params):
    raise FileNotFoundError("in.csv")


def test_a_body_that_fails_on_an_empty_workspace_is_told_why_it_is_empty(warned):
    assert warned(fail, include=["*.csv"], status="FAILED")[0].startswith("no file matches the workspace's include")
    assert warned(fail, prefix="features", status="FAILED") == ["the workspace's prefix features/ has no files."]


def test_so_is_one_whose_guard_does_not_hold(warned):
    terminal = "FAILED_WITH_TERMINAL_ERROR"
    [told] = warned(include=["*.csv"], pre=[require_glob("*.csv")], status=terminal)
    assert told.startswith("no file matches the workspace's include '*.csv'")


def test_a_read_only_task_is_warned_of_its_include_too(warned):
    assert warned(read_only=True, include=["*.csv"]) != []
    assert warned(read_only=True, include=["*.txt"]) == []


# ---------------------------------------------------------------- params


def test_params_that_the_task_does_not_know_are_warned_of(warned):
    assert warned(params={"text": "a", "txet": "b"}) == ["the task ignores unknown params: 'txet'; it has text."]
    many = {f"p{number}": 1 for number in range(100)}
    [told] = warned(params=many)
    assert told == "the task ignores unknown params: 'p0', 'p1', 'p2' and 97 more; it has text."


def test_those_of_a_free_task_too():
    @task(name="free", owner_email="ada@example.org")
    def free(params: Params) -> Result:
        return Result(said=params.text)

    events = []
    given = {"params": {"txet": "", "\x1b\u202e": 1}}
    result = run_workspace_free_task_attempt(free.__perago_task__, given, observer=events.append)
    assert result.status == "COMPLETED"
    assert cautions(events) == [r"the task ignores unknown params: 'txet', '\x1b\u202e'; it has text."]

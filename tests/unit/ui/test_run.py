"""The page of a run, of a task and of a workflow."""

from __future__ import annotations

import asyncio
import re

import pytest

from perago.engines.local import live
from perago.ports import Event, Phase
from perago.running.repos.address import local_engine, parse_address
from perago.ui.boxes import phases_of
from perago.ui.follow import event, followed
from perago.values.models import RuntimeTaskResult
from perago.values.record import WorkflowStatus
from ui_pages import HOSTILE, WORKSPACE, opened, record_run, repository, text_of

DEFINITION = {
    "name": "w",
    "version": 1,
    "schemaVersion": 2,
    "tasks": [
        {"name": name, "taskReferenceName": name, "type": "SIMPLE", "inputParameters": {}} for name in ("first", "then")
    ],
}


@pytest.fixture
def address(tmp_path):
    return repository(tmp_path)


@pytest.fixture
def workflow(address):
    """A workflow that runs, held by this process."""
    engine = local_engine(parse_address(address))
    with engine.start_workflow(
        target="app:w", name="w", definition=DEFINITION, input_data={"workspace": WORKSPACE, "params": {"n": 1}}
    ) as run:
        yield run


def test_a_task_with_its_params_and_result(address):
    run = record_run(address, "train", {"alpha": 0.5}, {"score": 0.25})
    with opened(address) as browser:
        page = text_of(browser.get(f"/run/{run}").text)
        found = browser.get(f"/run/{run}.json").json()
    assert "alpha 0.5" in page
    assert "score 0.25" in page
    assert [one["status"] for one in found["tries"]] == ["COMPLETED"]
    assert found["boxes"] == []


def test_a_failure_has_its_reason(address):
    run = record_run(address, "train", {}, reason="ValueError: no rows (at app.py:3 in train)")
    with opened(address) as browser:
        assert "Why it ended: ValueError: no rows (at app.py:3 in train)" in text_of(browser.get(f"/run/{run}").text)


def test_a_run_that_is_none_is_said(address):
    with opened(address) as browser:
        assert browser.get("/run/20260101-000000-abcdef").status_code == 404
        assert browser.get("/run/..%2f..%2fetc.json").status_code == 404


def test_a_workflow_is_followed_to_its_end(address, workflow):
    first = workflow.begin("first", "first", {"params": {}})
    with opened(address) as browser:
        page = browser.get(f"/run/{workflow.run_id}")
        assert re.search(f'hx-sse:connect="/[^/]+/run/{workflow.run_id}/live"', page.text)
        assert "Load the page again" in page.text
        boxes = browser.get(f"/run/{workflow.run_id}.json").json()["boxes"]
        assert [(box["name"], box["status"]) for box in boxes] == [("first", "IN_PROGRESS"), ("then", "waiting")]
        workflow.report(first.task_id, RuntimeTaskResult(status="COMPLETED", output={"result": {"n": 2}}))
        workflow.end(WorkflowStatus.COMPLETED, output={"result": {"n": 3}})
        workflow.close()
        with browser.stream("GET", f"/run/{workflow.run_id}/live") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            told = answer.read().decode()
    assert told.count("data: <dl") == 1
    assert "✓</span> completed" in told
    assert told.endswith("event: ended\ndata: \n\n")


def test_what_others_wrote_is_text_there_too(address, workflow):
    task = workflow.begin("first", HOSTILE, {"params": {HOSTILE: HOSTILE}})
    workflow.report(task.task_id, RuntimeTaskResult(status="FAILED", reason_for_incompletion=HOSTILE))
    workflow.begin(HOSTILE, HOSTILE, {})
    workflow.end(WorkflowStatus.FAILED, reason=HOSTILE)
    workflow.close()
    with opened(address) as browser:
        for path in ("", "/live"):
            page = browser.get(f"/run/{workflow.run_id}{path}").text
            assert "alert(1)" in page
            assert "<script>alert" not in page
            assert "<img src=x" not in page


def test_a_task_that_runs_says_what_it_does(address, workflow, monkeypatch):
    monkeypatch.setattr(live, "WRITE_SECONDS", 0.0)
    first = workflow.begin("first", "first", {"params": {}})
    for noted in (
        Event(phase=Phase.MATERIALIZE, kind="started"),
        Event(phase=Phase.MATERIALIZE, kind="completed", seconds=0.5),
        Event(phase=Phase.BODY, kind="started"),
        Event(phase=Phase.BODY, kind="progress", attributes={"done": 1, "total": 4, "message": HOSTILE}),
    ):
        workflow.live.event(first.task_id, noted)
    workflow.live.line(first.task_id, f"row 7 {HOSTILE}")
    workflow.live.tell()
    with opened(address) as browser:
        html = browser.get(f"/run/{workflow.run_id}").text
        [box, _] = browser.get(f"/run/{workflow.run_id}.json").json()["boxes"]
    assert [(one["name"], one["kind"], one["is_live"]) for one in box["task"]["phases"]] == [
        ("materialize", "get", False),
        ("body", "body", True),
    ]
    assert box["task"]["share"] == 0.25
    assert "1 of 4" in box["task"]["progress"]
    assert "body: 1 of 4" in text_of(html)
    assert "row 7" in html
    assert "<script>alert" not in html


def test_a_try_that_has_ended_keeps_its_phases_and_after_a_failure_its_last_lines(address, workflow):
    ids = [workflow.begin(name, name, {"params": {}}).task_id for name in ("first", "then")]
    for task_id in ids:
        workflow.live.event(task_id, Event(phase=Phase.BODY, kind="started"))
        workflow.live.line(task_id, f"said by {task_id}")
        workflow.live.event(task_id, Event(phase=Phase.BODY, kind="completed", seconds=2.0))
    workflow.report(ids[0], RuntimeTaskResult(status="COMPLETED", output={"result": {}}))
    workflow.report(ids[1], RuntimeTaskResult(status="FAILED", reason_for_incompletion="no rows (at app.py:3 in then)"))
    with opened(address) as browser:
        page = text_of(browser.get(f"/run/{workflow.run_id}").text)
        tries = browser.get(f"/run/{workflow.run_id}.json").json()["tries"]
    assert [[(one["name"], one["seconds"]) for one in each["phases"]] for each in tries] == [[("body", 2.0)]] * 2
    assert f"said by {ids[1]}" in page
    assert f"said by {ids[0]}" not in page
    assert "no rows (at app.py:3 in then)" in page


def test_a_result_that_was_taken_and_changed_nothing_is_marked(address, workflow):
    first = workflow.begin("first", "first", {"params": {}})
    for noted in (
        Event(phase=Phase.DECIDE, kind="started"),
        Event(phase=Phase.DECIDE, kind="completed", seconds=0.01, attributes={"cached_from": "c" * 40}),
    ):
        workflow.live.event(first.task_id, noted)
    workflow.report(first.task_id, RuntimeTaskResult(status="COMPLETED", output={"result": {}}))
    with opened(address) as browser:
        assert '<span class="mark">cached</span>' in browser.get(f"/run/{workflow.run_id}").text
        assert browser.get(f"/run/{workflow.run_id}.json").json()["tries"][0]["cached_from"] == "c" * 40


def test_the_phases_of_a_try_fill_its_bar():
    found = phases_of({"materialize": 250, "body": 500}, "body", 0.25)
    assert [(one.name, one.x, one.width, one.is_live) for one in found] == [
        ("materialize", 0, 250, False),
        ("body", 250, 750, True),
    ]
    assert [(one.x, one.width) for one in phases_of({}, "parse", 0.0)] == [(0, 1)]
    assert phases_of({}) == []


@pytest.mark.parametrize(("tasks", "is_large"), [(150, False), (151, True)])
def test_the_blocks_of_a_large_workflow_are_closed(address, tasks, is_large):
    names = [f"task_{number}" for number in range(tasks)]
    branches = [[{**DEFINITION["tasks"][0], "name": name, "taskReferenceName": name}] for name in names]
    fork = {"name": "fork", "taskReferenceName": "fork", "type": "FORK_JOIN", "forkTasks": branches}
    join = {"name": "join", "taskReferenceName": "join", "type": "JOIN", "joinOn": names}
    engine = local_engine(parse_address(address))
    definition = {**DEFINITION, "tasks": [fork, join]}
    with (
        engine.start_workflow(target="a", name="w", definition=definition, input_data={}) as run,
        opened(address) as browser,
    ):
        found = browser.get(f"/run/{run.run_id}.json").json()
        html = browser.get(f"/run/{run.run_id}").text
    assert (found["box_count"], found["is_large"]) == (tasks, is_large)
    assert ('<details class="group"><summary>' in html) is is_large
    assert '<details class="group" open' not in html


def test_a_damaged_definition_still_shows_its_tasks(address):
    engine = local_engine(parse_address(address))
    with engine.start_workflow(target="a", name="w", definition={"tasks": "none"}, input_data={}) as run:
        run.begin("first", "first", {})
        with opened(address) as browser:
            boxes = browser.get(f"/run/{run.run_id}.json").json()["boxes"]
    assert [box["name"] for box in boxes] == ["first"]


def test_events_are_sent_when_something_changes_and_end_with_the_run():
    looks = iter([("<p>1\n<p>2", True), ("<p>3", False)])
    versions = iter(range(100))

    async def here():
        return False

    async def all_of():
        return [one async for one in followed(lambda: next(looks), lambda: next(versions), here)]

    assert asyncio.run(all_of()) == [b"data: <p>1\ndata: <p>2\n\n", b"data: <p>3\n\n", b"event: ended\ndata: \n\n"]


def test_nobody_is_followed_for_nobody():
    async def gone():
        return True

    async def all_of():
        return [one async for one in followed(lambda: ("", True), lambda: None, gone)]

    assert asyncio.run(all_of()) == []
    assert event("a\r\nevent: b") == b"data: a\ndata: event: b\n\n"

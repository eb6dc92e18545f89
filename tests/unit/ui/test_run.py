"""The page of a run, of a task and of a workflow."""

from __future__ import annotations

import asyncio
import re

import pytest

from perago.running.repos.address import local_engine, parse_address
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

"""What a body tells of its secrets is in nothing that a worker logs, reports or publishes."""

from __future__ import annotations

from pathlib import Path

import pytest

import told_secrets
from start_support import TaskFlow
from waiting import wait_for

PHRASE = "tok/en 'of' \"the\" day\\n"
PIN = 7316624913
PARTS = ("tok/en", "tok%2F", "tok\\/en", "of' \"the", 'the\\"', "73166")
SUPPORT = Path(told_secrets.__file__).parent


@pytest.fixture
def told(flow):
    """The tasks that tell secrets, in the domain of the test's worker."""
    tasks = TaskFlow(flow.api, "told_secrets")
    tasks.domain = flow.domain
    return tasks


@pytest.mark.parametrize("how", ["warm", "forked"])
def test_secrets_are_in_no_log_reason_or_commit_of_a_worker(told, start, how):
    given = {"phrase": PHRASE, "pin": PIN}
    with start(modules=["told_secrets"], PYTHONPATH=str(SUPPORT), PERAGO_FREE_TASKS=how) as worker:
        worker.wait_ready()
        completed, failed = told.start("secrets.tell", given), told.start("secrets.tell", {**given, "fails": True})
        assert told.completed(completed)["result"] == {"lines": 2}
        reason = told.wait_status(failed, "FAILED")["reasonForIncompletion"]
        assert "**********" in reason
        wait_for(lambda: "not taken: **********" in log_of(told, failed), "the traceback")
        shown = reason + log_of(told, completed) + log_of(told, failed)
    files = files_of(worker)
    assert "do not use **********" in files
    for part in PARTS:
        assert part not in worker.told() + shown
        assert part not in files.replace("\\\\", "\\")


def test_a_thread_that_outlives_the_body_is_masked(told, start, tmp_path):
    with start(modules=["told_secrets"], PYTHONPATH=str(SUPPORT)) as worker:
        worker.wait_ready()
        told.completed(told.start("secrets.late", {"phrase": PHRASE}))
        wait_for(lambda: "told late" in files_of(worker), "the line of the thread")
    assert "told late: **********" in files_of(worker)
    assert "tok/en" not in files_of(worker)


def files_of(worker):
    return "".join(path.read_text() for path in worker.logs.iterdir())


def log_of(told, workflow_id):
    task_id = told.task(workflow_id)["taskId"]
    return "\n".join(entry["log"] for entry in told.api.expect("GET", f"/tasks/{task_id}/log") or [])

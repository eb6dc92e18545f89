"""The page of the worker of a workspace root."""

from __future__ import annotations

import time

from starlette.testclient import TestClient

from perago.ui.app import build
from perago.ui.guard import Keys
from perago.ui.source import Source
from perago.worker.supervisor.lock import only_supervisor
from perago.worker.supervisor.status import JobStatus, SlotStatus, WorkerStatus, write_status
from ui_pages import HOST, HOSTILE, PORT, text_of


def browser(root):
    keys = Keys(PORT)
    client = TestClient(build(Source(None, "main", root), keys), base_url=f"http://{HOST}{keys.place}")
    client.cookies.set(keys.cookie_name, keys.cookie)
    return client


def test_slots_and_what_they_do(tmp_path):
    now = time.time()
    job = JobStatus(
        workflow=HOSTILE,
        task="build",
        reference=None,
        task_id="t",
        attempt=2,
        execution="e",
        phase="body",
        progress="40 of 100",
        begun_at=now,
        ending=None,
    )
    slots = [
        SlotStatus(slot=1, state="busy", since=now, deaths=1, memory_bytes=1024, job=job),
        SlotStatus(slot=2, state="idle", since=now, deaths=0, memory_bytes=0),
    ]
    with only_supervisor(tmp_path, "worker-1") as directory:
        status = WorkerStatus(
            worker_id="worker-1",
            pid=7,
            state="running",
            execution_mode="process",
            tasks=["build"],
            domain=None,
            started_at=now,
            polled_at=None,
            undelivered=3,
            slots=slots,
            ready=True,
        )
        write_status(directory, status)
        page = browser(tmp_path).get("/worker").text
        found = browser(tmp_path).get("/worker.json").json()
    assert "body, 40 of 100" in text_of(page)
    assert "<script>alert" not in page
    assert [slot["state"] for slot in found["worker"]["slots"]] == ["busy", "idle"]


def test_no_worker(tmp_path):
    assert "No worker runs" in text_of(browser(tmp_path).get("/worker").text)
    assert "No worker runs" in text_of(browser(None).get("/worker").text)

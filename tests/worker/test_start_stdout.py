"""What `perago start --json` leaves on stdout, and what becomes of it where nobody reads that."""

from __future__ import annotations

import json
import os
import signal

import pytest

from start_support import StartedWorker

ECHO = ("supervised_bodies:echo",)


@pytest.fixture(autouse=True)
def nothing_stays():
    """Replaces conftest's fixture, because the session's servers outlive a test."""


@pytest.mark.parametrize(
    ("url", "modules", "fault"),
    [
        ("http://127.0.0.1:9/api", ECHO, "Conductor server cannot be used"),
        ("no address", ECHO, "CONDUCTOR_SERVER_URL"),
    ],
)
def test_a_start_that_fails_is_an_object_on_a_line_as_all_else_there(tmp_path, url, modules, fault):
    with StartedWorker(tmp_path, url, list(modules), "--json") as worker:
        assert worker.wait() == 2, worker.told()
    *_, last = [json.loads(line) for line in worker.output.read_text().splitlines()]
    assert last["error"]["exit_code"] == 2
    assert fault in last["error"]["message"]


def test_a_reader_of_the_log_that_went_away_changes_nothing(flow, start):
    read, write = os.pipe()
    os.close(read)
    worker = start("--json", modules=ECHO)
    worker.stdout = write
    with worker:
        os.close(write)
        worker.wait_ready()
        assert flow.completed(flow.start("light.echo", {"text": "unread"}))["result"]["text"] == "unread"
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0, worker.told()
    assert worker.told() == ""

"""What a worker writes where people see it at once."""

from __future__ import annotations

import json
import logging
import threading
from types import SimpleNamespace

import pytest

from perago.cli.start import _logging
from perago.worker.attempts.journal import LOGGER, write
from perago.worker.supervisor.supervisor import Loop
from servers.machine import slowness


def config_of(tmp_path):
    return SimpleNamespace(
        log_root=tmp_path, log_file_max_size=10**6, log_retention=SimpleNamespace(total_seconds=lambda: 3600.0)
    )


@pytest.fixture(autouse=True)
def logger_as_before():
    """A worker's log is for the whole process, which ends with the worker; this one goes on."""
    level, propagate = LOGGER.level, LOGGER.propagate
    yield
    LOGGER.setLevel(level)
    LOGGER.propagate = propagate


def test_neither_stderr_nor_the_file_holds_a_secret(tmp_path, capsys):
    failed = threading.Event()

    def work():
        if not failed.is_set():
            failed.set()
            raise ValueError("no answer from https://me:hunter2@host/?token=hunter3\x1b[2J")

    with _logging(config_of(tmp_path), "worker-1", as_json=False):
        loop = Loop("housekeeping", work)
        loop.start()
        assert failed.wait(10 * slowness())
        assert loop.stop(10)
    told = capsys.readouterr().err
    (line,) = [json.loads(line) for line in (tmp_path / "worker-1.jsonl").read_text().splitlines()]
    for text in (told, line["traceback"]):
        assert "ValueError: no answer from https://" in text
        assert "hunter" not in text
    assert "ERROR housekeeping failed" in told
    assert "\x1b" not in told


def test_a_line_for_people_says_which_task_it_is_of(tmp_path, capsys):
    fields = {"workflow": "w-1", "task": "clean_orders", "task_id": "t-1", "execution": "e", "phase": "publish"}
    with _logging(config_of(tmp_path), "worker-1", as_json=False) as path:
        write(logging.WARNING, "FAILED after 0.112 s: branch 'main' has moved", fields)
        write(logging.INFO, "worker-1 runs clean_orders", {})
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith(
        " WARNING clean_orders (workflow w-1, task t-1): FAILED after 0.112 s: branch 'main' has moved"
    )
    assert second.endswith(" INFO worker-1 runs clean_orders")
    assert json.loads(path.read_text().splitlines()[0])["message"] == "FAILED after 0.112 s: branch 'main' has moved"


def test_a_log_without_a_line_is_not_left(tmp_path):
    with _logging(config_of(tmp_path), "worker-1", as_json=False):
        assert list(tmp_path.iterdir())
    assert list(tmp_path.iterdir()) == []

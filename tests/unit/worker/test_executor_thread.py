"""What a body in a thread tells, and forks of the body, which have no part in that."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time

import pytest

from perago.ports import Event, Phase
from perago.worker.executor_thread import JOB, ExecutorThread, _JobHandler, _JobMetrics

PROGRESS = Event(phase=Phase.BODY, kind="progress", attributes={"done": 1})


class BusyJournal:
    """Another thread of this process is writing to it, and holds its lock."""

    def __init__(self):
        self._lock = threading.Lock()
        self._lock.acquire()

    def _write(self, *_):
        with self._lock:
            pass

    log = metric = phase = _write


def exit_code_of(child, seconds):
    """Of a fork; None: it did not end in time, and was killed."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def log(journal):
    job = object()
    handler = _JobHandler(journal)
    handler.job = job
    JOB.set(job)
    handler.handle(logging.makeLogRecord({"msg": "from the fork"}))


def measure(journal):
    _JobMetrics(journal, object()).counter("rows", 1)


def make_progress(journal):
    ExecutorThread(None, None, journal, None)._observe(object(), PROGRESS)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # from 3.12 on, it warns of forks beside threads
@pytest.mark.parametrize("tell", [log, measure, make_progress])
def test_a_fork_that_tells_something_does_not_wait_for_a_thread_of_its_parent(tell):
    journal = BusyJournal()
    child = os.fork()
    if child == 0:
        tell(journal)
        os._exit(0)
    assert exit_code_of(child, 10) == 0

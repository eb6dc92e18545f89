"""What a body in a thread tells, and forks of the body, which have no part in that."""

from __future__ import annotations

import logging
import threading

import pytest

from forks import exit_code_in_fork
from perago.ports import Event, Phase
from perago.worker.attempts.in_thread import JOB, JobHandler, JobMetrics, JobObserver

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


def log(journal):
    job = object()
    handler = JobHandler(journal)
    handler.job = job
    JOB.set(job)
    handler.handle(logging.LogRecord("bodies", logging.INFO, __file__, 1, "from the fork", (), None))


def measure(journal):
    JobMetrics(journal, object()).gauge("rows", 1)


def make_progress(journal):
    JobObserver(journal, object())(PROGRESS)


@pytest.mark.parametrize("tell", [log, measure, make_progress])
def test_a_fork_that_tells_something_does_not_wait_for_a_thread_of_its_parent(tell):
    journal = BusyJournal()
    assert exit_code_in_fork(lambda: tell(journal)) == 0

"""What a body tells on its way to the supervisor, and forks of the body, which have no part in that."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time

import pytest

from perago.ports import Event, Phase
from perago.worker.outbox import Outbox
from perago.worker.phase_sender import PhaseSender

PROGRESS = Event(phase=Phase.BODY, kind="progress", attributes={"done": 1})


class SlowOutbox(Outbox):
    """Is in the middle of sending until it is let."""

    def __init__(self, channel):
        super().__init__(channel)
        self.is_sending, self.let = threading.Event(), threading.Event()

    def send(self, message, *, with_next=False):
        self.is_sending.set()
        self.let.wait(30)


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


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # from 3.12 on, it warns of forks beside threads
def test_a_fork_that_tells_something_does_not_wait_for_a_thread_of_its_parent():
    near, far = socket.socketpair()
    with near, far:
        outbox = SlowOutbox(near)
        sender = PhaseSender(outbox)
        thread = threading.Thread(target=sender, args=(PROGRESS,))
        thread.start()
        try:
            assert outbox.is_sending.wait(10)
            child = os.fork()
            if child == 0:
                sender(PROGRESS)
                os._exit(0)
            assert exit_code_of(child, 10) == 0
        finally:
            outbox.let.set()
            thread.join(10)

"""What a body tells on its way to the supervisor, and forks of the body, which have no part in that."""

from __future__ import annotations

import socket
import threading

from forks import exit_code_in_fork
from perago.ports import Event, Phase
from perago.worker.executor.link import PhaseSender
from perago.worker.process.outbox import Outbox
from servers.machine import slowness

PROGRESS = Event(phase=Phase.BODY, kind="progress", attributes={"done": 1})


class SlowOutbox(Outbox):
    """Is in the middle of sending until it is let."""

    def __init__(self, channel):
        super().__init__(channel)
        self.is_sending, self.let = threading.Event(), threading.Event()

    def send(self, message, *, with_next=False):
        self.is_sending.set()
        self.let.wait(30 * slowness())


def test_a_fork_that_tells_something_does_not_wait_for_a_thread_of_its_parent():
    near, far = socket.socketpair()
    with near, far:
        outbox = SlowOutbox(near)
        sender = PhaseSender(outbox)
        thread = threading.Thread(target=sender, args=(PROGRESS,))
        thread.start()
        try:
            assert outbox.is_sending.wait(10 * slowness())
            assert exit_code_in_fork(lambda: sender(PROGRESS)) == 0
        finally:
            outbox.let.set()
            thread.join(10)


class KeptOutbox(Outbox):
    """Keeps what is sent."""

    def __init__(self, channel):
        super().__init__(channel)
        self.sent = []

    def send(self, message, *, with_next=False):
        self.sent.append(message)


def test_a_warning_is_never_held_back_for_newer_progress():
    near, far = socket.socketpair()
    with near, far:
        outbox = KeptOutbox(near)
        sender = PhaseSender(outbox)
        warnings = [{"unknown_params": 1}, {"not_published": 1}, {"empty_prefix": "x/"}, {"unmatched": ["*.csv"]}]
        for warning in warnings:
            sender(PROGRESS)
            sender(Event(phase=Phase.PARSE, kind="progress", attributes=warning))
            sender(PROGRESS)
        assert [message.fact.attributes for message in outbox.sent if message.fact.phase == "parse"] == warnings

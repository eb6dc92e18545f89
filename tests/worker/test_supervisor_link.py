"""An executor's end of the channel: what waits reads it, and a cancellation is seen by whoever looks."""

import contextlib
import errno
import os
import signal
import socket
import threading
import time

import pytest

from forks import fork
from perago.errors import EngineError, TaskExecutionError
from perago.worker.executor import link as link_module
from perago.worker.executor.link import SupervisorLink
from perago.worker.executor.wire import Answer, Run, Sweep
from perago.worker.process.messages import Cancel, Decoder, Failure, encode
from perago.worker.process.outbox import Outbox

RUN = Run(attempt={}, execution_id="e1")
CURRENT = {
    "status": "IN_PROGRESS",
    "workflow_instance_id": "w1",
    "task_id": "t1",
    "retry_count": 0,
    "task_def_name": "app.mix",
}
LONG = 30.0


class Supervisor:
    """The far end."""

    def __init__(self, channel):
        self.channel = channel
        self._decoder = Decoder()
        self._asked = []

    def send(self, *messages):
        self.channel.sendall(b"".join(map(encode, messages)))

    def question(self):
        """The number of the next question."""
        while not self._asked:
            self._asked += self._decoder.feed(self.channel.recv(65536))
        return self._asked.pop(0)["number"]


@pytest.fixture
def channel():
    near, far = socket.socketpair()
    far.settimeout(LONG)
    with near, far:
        yield near, far


@pytest.fixture
def ends(channel, monkeypatch):
    """Of a channel; the near one looks for a cancellation whenever it is asked."""
    monkeypatch.setattr(link_module, "LOOK_SECONDS", 0.0)
    near, far = channel
    return SupervisorLink(near, Outbox(near)), Supervisor(far)


@contextlib.contextmanager
def alarm_after(seconds):
    """What a body may have set."""

    def raise_alarm(*_):
        raise TimeoutError(errno.ETIME, "the body's alarm")

    before = signal.signal(signal.SIGALRM, raise_alarm)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def asking(link):
    """A thread that asks for the present state; with what came of it, in a list."""
    outcome = []

    def ask():
        try:
            outcome.append(link.load_current_attempt(None).task_id)
        except EngineError as exc:
            outcome.append(str(exc))

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, outcome


def test_orders_come_in_the_order_in_which_they_were_sent(ends):
    link, supervisor = ends
    supervisor.send(RUN, Sweep(repository="r", older_than_seconds=1.0, runs_older_than_seconds=1.0))
    assert [type(link.take()), type(link.take())] == [Run, Sweep]


def test_an_order_may_come_in_pieces(ends):
    link, supervisor = ends
    data = encode(Run(attempt={"text": "x" * 1_000_000}, execution_id="e1"))
    sender = threading.Thread(target=supervisor.channel.sendall, args=(data,))
    sender.start()
    assert len(link.take().attempt["text"]) == 1_000_000
    sender.join(LONG)


def test_there_is_no_order_when_the_supervisor_has_gone(ends):
    link, supervisor = ends
    supervisor.channel.close()
    assert link.take() is None


def test_a_cancellation_is_seen_in_any_thread_for_as_long_as_the_attempt_lasts(ends):
    link, supervisor = ends
    supervisor.send(RUN)
    link.take()
    assert not link.is_cancelled()
    supervisor.send(Cancel())
    seen = []
    thread = threading.Thread(target=lambda: seen.append(link.is_cancelled()))
    thread.start()
    thread.join(LONG)
    assert seen == [True]
    assert link.is_cancelled()


def test_a_body_may_ask_as_often_as_it_likes(ends, monkeypatch):
    link, supervisor = ends
    supervisor.send(RUN)
    link.take()
    assert not link.is_cancelled()
    monkeypatch.setattr(link_module, "LOOK_SECONDS", 60.0)
    supervisor.send(Cancel())
    assert not any(link.is_cancelled() for _ in range(1_000))  # it has not looked again
    monkeypatch.setattr(link_module, "LOOK_SECONDS", 0.0)
    assert link.is_cancelled()


def test_a_cancellation_is_seen_by_a_fork_and_not_taken_from_its_parent(ends):
    link, supervisor = ends
    supervisor.send(RUN)
    link.take()
    supervisor.send(Cancel())
    child = fork()
    if child == 0:
        os._exit(0 if link.is_cancelled() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert link.is_cancelled()


def test_a_cancellation_is_for_one_attempt(ends):
    link, supervisor = ends
    supervisor.send(RUN)
    link.take()
    supervisor.send(Cancel())
    assert link.is_cancelled()
    supervisor.send(RUN)
    link.take()
    assert not link.is_cancelled()


def test_a_cancellation_is_seen_that_comes_with_the_order(ends):
    link, supervisor = ends
    supervisor.send(RUN, Cancel())
    link.take()
    assert link.is_cancelled()


def test_a_cancellation_is_seen_of_which_a_part_was_read_with_the_order(ends):
    link, supervisor = ends
    run, cancel = encode(RUN), encode(Cancel())
    supervisor.channel.sendall(run + cancel[:7])
    link.take()
    assert not link.is_cancelled()
    supervisor.channel.sendall(cancel[7:])
    assert link.is_cancelled()


def test_a_cancellation_that_comes_after_the_end_is_for_nobody(ends):
    link, supervisor = ends
    supervisor.send(RUN)
    link.take()
    supervisor.send(Cancel(), RUN)
    link.take()
    assert not link.is_cancelled()


def test_what_a_bodys_alarm_raises_in_a_look_comes_through_and_loses_nothing(ends):
    link, supervisor = ends
    supervisor.send(RUN)
    link.take()

    def comes_through(seconds):
        deadline = time.monotonic() + 5.0
        try:
            with alarm_after(seconds):
                while time.monotonic() < deadline:
                    link.is_cancelled()
        except TimeoutError:
            return True
        return False

    assert all(comes_through(0.0001 + number * 1e-6) for number in range(300))
    supervisor.send(Cancel(), RUN)
    assert link.is_cancelled()
    assert isinstance(link.take(), Run)


def test_a_question_is_answered_though_a_cancellation_comes_before(ends):
    link, supervisor = ends
    supervisor.send(RUN)
    link.take()
    thread, outcome = asking(link)
    supervisor.send(Cancel(), Answer(number=supervisor.question(), value=CURRENT))
    thread.join(LONG)
    assert outcome == ["t1"]
    assert link.is_cancelled()


def test_a_cancellation_is_seen_that_comes_with_an_answer(ends):
    link, supervisor = ends
    supervisor.send(RUN)
    link.take()
    thread, outcome = asking(link)
    supervisor.send(Answer(number=supervisor.question(), value=CURRENT), Cancel())
    thread.join(LONG)
    assert outcome == ["t1"]
    assert link.is_cancelled()


def test_a_question_that_a_bodys_alarm_interrupts_leaves_what_comes_next_whole(ends):
    link, supervisor = ends
    supervisor.send(RUN)
    link.take()
    asked, rung = [], threading.Event()

    def interrupt():
        asked.append(supervisor.question())
        while not rung.wait(0.01):  # one that comes just before the link waits would not wake it
            signal.pthread_kill(threading.main_thread().ident, signal.SIGALRM)

    def raise_alarm(*_):
        if not rung.is_set():
            rung.set()
            raise TimeoutError(errno.ETIME, "the body's alarm")

    thread = threading.Thread(target=interrupt)
    before = signal.signal(signal.SIGALRM, raise_alarm)
    try:
        thread.start()
        with pytest.raises(TimeoutError, match="alarm"):
            link.load_current_attempt(None)
    finally:
        rung.set()
        thread.join(LONG)
        signal.signal(signal.SIGALRM, before)
    supervisor.send(Answer(number=asked[0], value=CURRENT), Cancel(), RUN)
    assert isinstance(link.take(), Run)
    assert not link.is_cancelled()


def test_a_channel_of_which_something_may_be_lost_is_not_read_any_further(ends, monkeypatch):
    """An executor that ends is replaced; one that waited for the rest of a message would stay."""
    link, supervisor = ends

    def interrupt(_decoder, _data):
        raise TimeoutError(errno.ETIME, "the body's alarm")

    supervisor.send(RUN)
    with monkeypatch.context() as patch:
        patch.setattr(Decoder, "feed", interrupt)
        with pytest.raises(TimeoutError, match="alarm"):
            link.take()
    supervisor.send(RUN)
    with pytest.raises(TaskExecutionError, match="interrupted"):
        link.take()


def test_a_fork_that_has_closed_all_it_had_is_not_cancelled(channel, ends):
    link, supervisor = ends
    supervisor.send(RUN, Cancel())
    near, _ = channel
    child = fork()
    if child == 0:
        link.take()
        link = SupervisorLink(near, None)
        near.close()
        os._exit(1 if link.is_cancelled() else 0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_answer_to_another_question_is_passed_over(ends):
    link, supervisor = ends
    thread, outcome = asking(link)
    number = supervisor.question()
    wrong = Failure(error="EngineError", reason="to another question")
    supervisor.send(Answer(number=number + 7, failure=wrong), Answer(number=number, value=CURRENT))
    thread.join(LONG)
    assert outcome == ["t1"]


def test_what_the_engine_raised_is_raised(ends):
    link, supervisor = ends
    thread, outcome = asking(link)
    supervisor.send(Answer(number=supervisor.question(), failure=Failure(error="EngineError", reason="it is away")))
    thread.join(LONG)
    assert outcome == ["it is away"]


def test_questions_of_two_threads_do_not_take_each_others_answers(ends):
    link, supervisor = ends
    asked = [asking(link), asking(link)]
    for _ in asked:
        supervisor.send(Answer(number=supervisor.question(), value=CURRENT))
    for thread, outcome in asked:
        thread.join(LONG)
        assert outcome == ["t1"]


def test_a_question_is_given_up_when_the_supervisor_has_gone(ends):
    link, supervisor = ends
    thread, outcome = asking(link)
    supervisor.question()
    supervisor.channel.close()
    thread.join(LONG)
    assert outcome == ["the supervisor ended before it answered"]

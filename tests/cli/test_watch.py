"""The observer of `perago run`, and the signals around it."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from forks import fork
from perago.attempt.output import place_in_body
from perago.errors import TaskCancelledError, TaskExecutionError, TaskFailed
from perago.ports import Event, Phase
from perago.running.watch import Interrupts, RunObserver
from servers.machine import slowness


class Display:
    def __init__(self, fails=False):
        self.shown = []
        self._fails = fails

    def __call__(self, event):
        self.line(f"{event.phase} {event.kind}")

    def line(self, text):
        self.shown.append(text)
        if self._fails:
            raise OSError("the terminal has gone")


@pytest.fixture
def cancelled():
    return threading.Event()


@pytest.mark.parametrize(
    ("phase", "kind"),
    [
        (Phase.PARSE, "started"),
        (Phase.MATERIALIZE, "started"),
        (Phase.MATERIALIZE, "progress"),
        (Phase.BODY, "started"),
        (Phase.DIFF, "started"),
        (Phase.STAGE, "progress"),
        (Phase.FENCE, "started"),
    ],
)
def test_before_publishing_a_cancelled_attempt_ends_at_its_next_event(cancelled, phase, kind):
    watch = RunObserver(Display(), cancelled)
    watch(Event(phase=phase, kind=kind))
    cancelled.set()
    with pytest.raises(TaskCancelledError, match=f"phase {phase}"):
        watch(Event(phase=phase, kind=kind))


@pytest.mark.parametrize(
    ("phase", "kind"),
    [
        (Phase.BODY, "progress"),
        (Phase.STAGE, "completed"),
        (Phase.STAGE, "failed"),
        (Phase.PUBLISH, "started"),
        (Phase.PUBLISH, "completed"),
        (Phase.REPORT, "started"),
        (Phase.CLEAN, "started"),
    ],
)
def test_a_body_is_left_to_its_runner_and_a_publication_goes_to_its_end(cancelled, phase, kind):
    cancelled.set()
    display = Display()
    RunObserver(display, cancelled)(Event(phase=phase, kind=kind))
    assert display.shown == [f"{phase} {kind}"]


def test_a_warning_is_told_of_a_cancelled_attempt_and_does_not_replace_its_error(cancelled):
    cancelled.set()
    display = Display()
    RunObserver(display, cancelled)(
        Event(phase=Phase.MATERIALIZE, kind="progress", attributes={"empty_prefix": "features"})
    )
    assert display.shown == ["materialize progress"]


def test_a_display_that_fails_is_not_asked_again_and_fails_no_attempt(cancelled):
    display = Display(fails=True)
    watch = RunObserver(display, cancelled)
    for _ in range(3):
        watch(Event(phase=Phase.PARSE, kind="started"))
        watch.line("more")
    assert display.shown == ["parse started"]


def test_only_an_error_that_was_not_raised_on_purpose_has_a_place():
    accident = TaskExecutionError("x")
    accident.add_note('Traceback\n  File "/lib/perago.py", line 1, in call\n  File "/app/task.py", line 7, in build\n')
    assert place_in_body(accident) == "/app/task.py:7 in build"
    on_purpose = TaskFailed("x")
    on_purpose.add_note(accident.__notes__[0])
    assert place_in_body(on_purpose) is None
    assert place_in_body(TaskExecutionError("without a note")) is None
    assert place_in_body(None) is None


def test_signals_are_taken_and_given_back(cancelled):
    before = signal.getsignal(signal.SIGTERM)
    with Interrupts(cancelled.set):
        os.kill(os.getpid(), signal.SIGTERM)
        assert cancelled.wait(5 * slowness())
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_that_was_ignored_stays_ignored(cancelled):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts(cancelled.set):
            os.kill(os.getpid(), signal.SIGHUP)
        assert not cancelled.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_forks_have_the_handlers_that_were_there_before(cancelled):
    def own(*_: object) -> None: ...

    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    with Interrupts(cancelled.set):
        signal.signal(signal.SIGHUP, own)
        pid = fork()
        if pid == 0:
            found = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
            os._exit(0 if found == [*before[:2], own] and not blocked else 1)
        assert os.waitpid(pid, 0)[1] == 0
        os.kill(os.getpid(), signal.SIGTERM)
        assert cancelled.wait(5 * slowness())


def test_for_a_debugger_the_first_signal_interrupts(cancelled):
    with Interrupts(cancelled.set, at_once=True), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    assert not cancelled.is_set()

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from perago.errors import TaskExecutionError, TaskTimeoutError
from perago.worker.body.run import ZYGOTE
from perago.worker.process.child import ChildProcess
from servers.machine import slowness
from waiting import wait_for

CALLER = Path(__file__).parent / "modules" / "caller.py"
LINUX = sys.platform == "linux"


def _started(progress: str) -> list[int]:
    """What `leave_children` tells: its own process, a child, and two that left its group."""
    body, child, *escaped = map(int, progress.split())
    return [body, child, *(escaped if LINUX else [])]


def test_children_that_a_body_leaves_are_ended(bodies, is_alive):
    bodies.run("leave_children")
    assert not any(map(is_alive, _started(bodies.progress[0][2])))


def test_children_of_a_body_that_crashed_are_ended(bodies, is_alive):
    with pytest.raises(TaskExecutionError, match="code 9"):
        bodies.run("leave_children", {"text": "crash"})
    assert not any(map(is_alive, _started(bodies.progress[0][2])))


def test_children_of_a_body_that_was_killed_are_ended(bodies, is_alive):
    with pytest.raises(TaskTimeoutError):
        bodies.run("leave_children", {"text": "hold_the_lock"}, timeout_seconds=1.5 * slowness(), grace_seconds=0.1)
    assert not any(map(is_alive, _started(bodies.progress[0][2])))


def test_a_process_that_lingers_after_its_body_is_ended_and_the_body_fails(bodies, is_alive):
    started = time.monotonic()
    with pytest.raises(TaskExecutionError, match=r"was still running 0\.3 s later: it waits for lingerer"):
        bodies.run("leave_thread", end_seconds=0.3)
    assert not is_alive(int(bodies.progress[0][2]))
    assert time.monotonic() - started < 5 * slowness()


def test_the_callers_interruption_ends_the_body(bodies, is_alive):
    def interrupt(*_):
        os.kill(os.getpid(), signal.SIGINT)

    bodies.on_progress = interrupt
    with pytest.raises(KeyboardInterrupt):
        bodies.run("leave_children", {"text": "wait"})
    assert not any(map(is_alive, _started(bodies.progress[0][2])))


@pytest.mark.parametrize("doing", ["wait", "hold_the_lock"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_a_caller_that_is_killed(is_alive, doing, number):
    with subprocess.Popen([sys.executable, CALLER, doing], stdout=subprocess.PIPE, text=True) as caller:
        started = _started(caller.stdout.readline())
        assert all(map(is_alive, started))
        caller.send_signal(number)
    wait_for(lambda: not any(map(is_alive, started)), seconds=2)


@pytest.mark.skipif(not LINUX, reason="only Linux lets a process ask to die with its parent")
def test_the_body_dies_with_its_reaper(bodies, is_alive):
    def kill_reaper(_done, _total, pids):
        os.kill(psutil.Process(int(pids)).ppid(), signal.SIGKILL)

    bodies.on_progress = kill_reaper
    with pytest.raises(TaskExecutionError, match="SIGKILL"):
        bodies.run("ignore_everything")
    wait_for(lambda: not is_alive(int(bodies.progress[0][2])), seconds=2)


def test_a_reaper_that_is_killed_with_an_order_unread_is_seen_as_any_other():
    others = psutil.Process().children()  # servers of other tests
    with ChildProcess(ZYGOTE) as process:
        (reaper,) = set(psutil.Process().children()) - set(others)
        wait_for(lambda: len(reaper.children()) == 1, seconds=60)  # on a busy machine too
        reaper.suspend()
        wait_for(lambda: reaper.status() == psutil.STATUS_STOPPED, seconds=60)
        process.terminate()
        reaper.kill()
        deadline = time.monotonic() + 10
        while process.exit_code is None and time.monotonic() < deadline:
            process.poll(1)
        assert process.exit_code == -signal.SIGKILL


def test_a_reaper_that_is_asked_to_end_ends_the_body(bodies, is_alive):
    def end_reaper(_done, _total, pids):
        os.kill(psutil.Process(int(pids.split()[0])).ppid(), signal.SIGTERM)

    bodies.on_progress = end_reaper
    with pytest.raises(TaskExecutionError, match="SIGKILL"):
        bodies.run("leave_children", {"text": "wait"})
    assert not any(map(is_alive, _started(bodies.progress[0][2])))


def test_bodies_run_side_by_side_and_leave_nothing(bodies, is_alive):
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda _: bodies.run("leave_children"), range(8)))
    assert len({pid for result in results for pid in result["value"]}) == 24
    assert not any(is_alive(pid) for _, _, pids in bodies.progress for pid in _started(pids))


@pytest.fixture
def many_open_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    with ExitStack() as files:
        for _ in range(1100):
            files.enter_context(Path(os.devnull).open())
        yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_caller_with_many_open_files_can_run_bodies(many_open_files, bodies):
    """Descriptors keep their numbers in the body's process, and select(2) takes none above 1023."""
    assert bodies.run("return_text", {"text": "fine"}) == {"value": "fine"}


def test_many_bodies_leave_nothing(bodies):
    """The fixture around each test compares processes, descriptors and threads before and after."""
    for number in range(10):
        assert bodies.run("return_text", {"text": str(number)}) == {"value": str(number)}

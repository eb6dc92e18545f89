"""The loop's thread: results and errors come back, an interrupt ends what runs, and nothing stays behind."""

import asyncio
import concurrent.futures
import contextlib
import gc
import signal
import subprocess
import sys
import threading
import time
import weakref

import pytest

from perago.http.loop import LoopThread
from perago.http.pace import Pace
from perago.http.parallel import IN_FLIGHT_BYTES, at_pace, in_parallel, in_thread, together
from servers.machine import slowness
from waiting import wait_for


@pytest.fixture
def loop():
    thread = LoopThread("loop-test")
    yield thread
    thread.close()


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "loop-test"]


async def value():
    return threading.current_thread().name


async def fail():
    raise KeyError("mine")


def test_results_and_errors_come_back(loop):
    assert loop.run(value()) == "loop-test"
    with pytest.raises(KeyError, match="mine"):
        loop.run(fail())


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_what_would_end_a_process_ends_only_the_task_that_raises_it(loop, error):
    begun, may_end = threading.Event(), asyncio.Event()

    async def wait():
        begun.set()
        await may_end.wait()
        return "whole"

    async def raise_it():
        raise error(3)

    async def have_it_raised():
        may_end.set()
        return await asyncio.gather(raise_it(), return_exceptions=True)

    answers = []
    neighbour = threading.Thread(target=lambda: answers.append(loop.run(wait())))
    neighbour.start()
    assert begun.wait(10 * slowness())
    with pytest.raises(error, match="3"):
        loop.run(raise_it())
    (raised,) = loop.run(have_it_raised())
    assert isinstance(raised, error)
    neighbour.join(10)
    assert answers == ["whole"]
    assert loop.run(value()) == "loop-test"


STORM = """
import asyncio, faulthandler, random, signal
from perago.http.loop import LoopThread

async def work():
    await asyncio.sleep(random.random() / 5000)

def interrupt(number, frame):
    # One for each time it is wanted: the next timer may run already when the interrupt of the last one is raised.
    global is_wanted
    if is_wanted:
        is_wanted = False
        raise KeyboardInterrupt

is_wanted = False
signal.signal(signal.SIGALRM, interrupt)
loop = LoopThread("storm")
interrupts = 0
while interrupts < 2000:
    if interrupts % 100 == 0:
        faulthandler.dump_traceback_later(60, exit=True)
    try:
        while True:
            # For each call: an interrupt that comes in the callback of a weak reference is lost there.
            is_wanted = True
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00002, 0.0006))
            loop.run(work())
    except KeyboardInterrupt:
        interrupts += 1
    except RuntimeError as exc:
        # Python's own: it comes as a thread starts, between the release of a condition's lock and the note of that.
        if not isinstance(exc.__context__, KeyboardInterrupt):
            raise
        interrupts += 1
loop.close()
print(interrupts)
"""


def test_an_interrupt_at_any_moment_leaves_nothing_locked():
    ended = subprocess.run([sys.executable, "-c", STORM], capture_output=True, text=True, timeout=280, check=False)
    assert (ended.stdout, ended.returncode) == ("2000\n", 0), ended.stderr


def test_what_would_end_the_process_as_the_loop_is_stopped_does_not_keep_it():
    thread = LoopThread("loop-test")

    def exit_now():
        raise SystemExit

    async def exit_in_the_turn_in_which_it_stops():
        loop = asyncio.get_running_loop()
        tell, told = loop.call_soon_threadsafe, threading.Event()
        loop.call_soon_threadsafe = lambda *call: (tell(*call), told.set())
        threading.Thread(target=thread.close).start()
        assert told.wait(10 * slowness())
        loop.call_soon(exit_now)

    thread.run(exit_in_the_turn_in_which_it_stops())
    wait_for(lambda: not threads())


def test_a_task_that_would_end_the_process_when_it_is_cancelled_leaves_the_end_whole():
    ended = threading.Event()

    async def tell():
        ended.set()

    async def exit_when_cancelled():
        try:
            await asyncio.sleep(600)
        finally:
            raise SystemExit

    async def leave_it():
        leave_it.task = asyncio.ensure_future(exit_when_cancelled())
        await asyncio.sleep(0)

    loop = LoopThread("loop-test", tell)
    loop.run(leave_it())
    loop.close()
    assert ended.is_set()
    assert threads() == []


UNCLOSED = """
import asyncio
from perago.http.loop import LoopThread
loop = LoopThread("unclosed")
loop.run(asyncio.sleep(0))
loop.run(asyncio.to_thread(print, "done"))
"""


def test_one_that_nobody_closes_ends_with_its_process_without_a_word():
    ended = subprocess.run([sys.executable, "-c", UNCLOSED], capture_output=True, text=True, timeout=60, check=True)
    assert (ended.stdout, ended.stderr) == ("done\n", "")


def test_it_serves_many_threads(loop):
    results = []
    workers = [threading.Thread(target=lambda: results.append(loop.run(value()))) for _ in range(20)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert results == ["loop-test"] * 20
    assert len(threads()) == 1


def test_the_thread_begins_with_the_first_call_and_ends_with_close(loop):
    assert threads() == []
    loop.run(value())
    loop.close()
    loop.close()
    assert threads() == []
    with pytest.raises(RuntimeError, match="closed"):
        loop.run(value())


def test_the_thread_ends_with_its_owner():
    loop = LoopThread("loop-test")
    loop.run(value())
    gone = weakref.ref(loop)
    del loop
    gc.collect()
    assert gone() is None
    assert threads() == []


def test_a_call_that_takes_too_long_is_cancelled(loop):
    ended = threading.Event()

    async def slow():
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    with pytest.raises(TimeoutError):
        loop.run(slow(), timeout=0.05 * slowness())  # `slow` has begun by then
    assert ended.is_set()


PROGRAM = """
import asyncio, sys
from perago.http.loop import LoopThread
async def wait():
    try:
        print("waiting", flush=True)
        await asyncio.sleep(60)
    finally:
        print("let go", flush=True)
loop = LoopThread("interrupted")
try:
    loop.run(wait())
except KeyboardInterrupt:
    print("interrupted", flush=True)
    {end}
"""


@pytest.mark.parametrize("end", ["loop.close()", "pass"])
def test_an_interrupt_ends_the_call_and_the_process(end):
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(end=end)], stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout.readline() == "waiting\n"
        running.send_signal(signal.SIGINT)
        assert running.stdout.read() == "let go\ninterrupted\n"
        assert running.wait(timeout=20 * slowness()) == 0


INTERRUPT_ELSEWHERE = """
import asyncio, signal, threading
from perago.http.loop import LoopThread
async def interrupted():
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)  # the system may give a signal to any thread
    await asyncio.sleep(600)
try:
    LoopThread("elsewhere").run(interrupted())
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_an_interrupt_that_does_not_wake_the_waiting_thread_is_not_lost():
    """As one that comes between the last look for signals and the wait, which load makes likely."""
    command = [sys.executable, "-c", INTERRUPT_ELSEWHERE]
    assert subprocess.run(command, capture_output=True, timeout=60 * slowness(), check=True).stdout == b"interrupted\n"


def test_the_first_failure_ends_the_others(loop):
    ended = []

    async def work(number):
        if number == 3:
            raise KeyError(number)
        try:
            await asyncio.sleep(60 if number < 3 else 0)
        finally:
            ended.append(number)

    with pytest.raises(KeyError, match="3"):
        loop.run(in_parallel(range(100), work, 4))
    assert sorted(ended) == [0, 1, 2]


def test_jobs_are_taken_when_a_worker_is_free(loop):
    taken, running, most = [], [0], [0]

    async def work(number):
        taken.append(number)
        running[0] += 1
        most[0] = max(most[0], running[0])
        await asyncio.sleep(0)
        running[0] -= 1

    async def nothing():
        pass

    loop.run(together(in_parallel(range(50), work, 7), in_parallel((), work, 0), nothing()))
    assert taken == list(range(50))
    assert most[0] == 7


def test_a_thread_has_ended_when_its_cancelled_caller_goes_on(loop):
    steps = []

    def write():
        steps.append("begun")
        time.sleep(0.2)
        steps.append("written")

    async def cancelled():
        task = asyncio.create_task(in_thread(write))
        while not steps:
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        steps.append("closed")

    loop.run(cancelled())
    assert steps == ["begun", "written", "closed"]


FORK = """
import os, sys
from perago.http.loop import LoopThread
async def name():
    return "done"
loop = LoopThread("forked")
loop.run(name())
child = os.fork()
if child == 0:
    print("child", loop.run(name(), timeout=20), flush=True)
    loop.close()
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
print("parent", loop.run(name(), timeout=20))
"""


def test_a_fork_has_a_thread_of_its_own_and_ends_nothing_of_its_parents():
    program = [sys.executable, "-W", "ignore", "-c", FORK]  # from 3.12 on, it warns of forks beside threads
    ran = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert ran.stdout == "child done\nparent done\n", ran.stderr
    assert ran.stderr == ""


def test_a_call_that_is_interrupted_before_it_begins_never_begins(loop):
    begun = []
    blocked, go = threading.Event(), threading.Event()

    async def block():
        blocked.set()
        go.wait(20 * slowness())

    async def late():
        begun.append(1)

    blocking = threading.Thread(target=loop.run, args=(block(),))
    blocking.start()
    assert blocked.wait(20 * slowness())
    releasing = threading.Timer(0.5, go.set)
    releasing.start()
    with pytest.raises(TimeoutError):
        loop.run(late(), timeout=0.05)
    blocking.join()
    releasing.join()
    assert loop.run(value()) == "loop-test"
    assert begun == []


def test_calls_that_meet_a_close_end():
    switching = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for _ in range(30):
            loop, ended = LoopThread("loop-test"), []
            loop.run(value())
            callers = [threading.Thread(target=call_until_closed, args=(loop, ended), daemon=True) for _ in range(4)]
            for caller in callers:
                caller.start()
            loop.close()
            for caller in callers:
                caller.join(20)
            assert len(ended) == 4
            assert threads() == []
    finally:
        sys.setswitchinterval(switching)


def call_until_closed(loop, ended):
    with contextlib.suppress(RuntimeError, concurrent.futures.CancelledError):
        while True:
            loop.run(value())
    ended.append(1)


def highest(loop, pace, sizes):
    """Do jobs of these sizes; returns the most that were under way, and the order of their begins."""
    under_way, most, began = 0, 0, []

    async def work(job):
        nonlocal under_way, most
        began.append(job)
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001)
        under_way -= 1

    loop.run(at_pace(range(len(sizes)), work, pace, sizes.__getitem__))
    return most, began


def test_jobs_at_a_pace_begin_in_order_and_as_many_as_it_allows(loop):
    most, began = highest(loop, Pace(256, 7), [0] * 100)

    assert most == 7
    assert began == list(range(100))


def test_a_pace_that_allows_more_lets_more_begin(loop):
    pace = Pace(50, 2)

    async def work(_):
        pace.answered(1.0)

    loop.run(at_pace(range(1_500), work, pace, lambda _: 0))
    most, _ = highest(loop, pace, [0] * 100)

    assert most == pace.limit == 50


def test_content_in_memory_bounds_the_jobs_that_begin(loop):
    size = IN_FLIGHT_BYTES // 4
    most, began = highest(loop, Pace(256, 100), [size] * 30)

    assert most == 4
    assert began == list(range(30))
    assert highest(loop, Pace(256, 100), [2 * IN_FLIGHT_BYTES] * 3)[0] == 1


def test_the_first_error_at_a_pace_ends_all_jobs(loop):
    ended = []

    async def work(job):
        try:
            if job == 5:
                raise KeyError(job)
            await asyncio.sleep(60)
        finally:
            ended.append(job)

    with pytest.raises(KeyError):
        loop.run(at_pace(range(100), work, Pace(10, 10), lambda _: 0))
    assert len(ended) == 10

"""A background thread with an event loop, for synchronous code."""

from __future__ import annotations

import asyncio
import math
import threading
import time
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Generic, TypeVar

from perago.errors import required
from perago.http.forks import keep, tell_forks

T = TypeVar("T")

AtEnd = Callable[[], Coroutine[Any, Any, None]]

CANCEL_SECONDS = 5.0
"""Time for a cancelled call to release its resources, and for joining the loop's threads."""

SIGNAL_SECONDS = 0.1
"""Longest wait for a lock at a time. A signal that comes just before it, or to another thread, does not end the wait:
its handler, such as that of Ctrl-C, runs only between two waits."""


class LoopThread:
    """Runs coroutines for any number of threads, on a thread that starts with the first coroutine.

    It ends with `close`, with the process, or with the last reference to this object. A fork has no threads: its first
    coroutine starts a new thread, which knows nothing of earlier coroutines.

    Args:
        name: of the thread.
        at_end: runs on the loop after everything else, to close what was opened there.
    """

    def __init__(self, name: str, at_end: AtEnd | None = None) -> None:
        self._name = name
        self._at_end = at_end
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: weakref.finalize[Any, LoopThread] | None = None
        self._closed = False

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run a coroutine to its end. An interrupt of the waiting thread cancels it.

        Args:
            timeout: seconds; None to rely on the coroutine's own deadlines.

        Raises:
            TimeoutError: it took longer, and was cancelled.
            RuntimeError: this thread is closed.
        """
        call = _Call(coroutine)
        try:
            # Under the lock, so that nothing starts on a loop that is ending, where it would never finish.
            _under(self._lock, lambda: call.begin_on(self._running()))
            return call.result(timeout)
        except BaseException:
            if not call.has_ended:
                call.cancel()
            raise

    def close(self) -> None:
        """Cancel what runs, and end the thread. May be called twice."""
        end = _under(self._lock, self._leave)
        if end is not None:
            end()

    def _leave(self) -> weakref.finalize[Any, LoopThread] | None:
        end, self._end, self._loop, self._closed = self._end, None, None, True
        return end

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._closed:
            raise RuntimeError(f"{self._name} is closed")
        if self._loop is None:
            loop, stopping = asyncio.new_event_loop(), threading.Event()
            arguments = (loop, stopping, self._at_end)
            thread = threading.Thread(target=_serve, args=arguments, name=self._name, daemon=True)
            thread.start()
            self._end = weakref.finalize(self, _stop, loop, stopping, thread)
            tell_forks(self)
            self._loop = loop  # after the start, so that an interrupt leaves no loop without a thread
        return self._loop

    def leave_to_parent(self) -> None:
        """See `forks.Forked`."""
        self._lock = threading.Lock()  # a thread that does not exist here may have held it
        if self._end is not None:
            self._end.detach()
        if self._loop is not None:
            keep(self._loop)
        self._loop, self._end = None, None


def _under(lock: threading.Lock, action: Callable[[], T]) -> T:
    """Run it with a lock held.

    On Python 3.14 an interrupt can come between the `__enter__` and the block of a `with`, which then leaves the lock
    locked (python/cpython#148874). Here, one call takes the lock and notes that.
    """
    held: list[bool] = []
    try:
        held.extend(map(lock.acquire, (True,)))
        return action()
    finally:
        if held:
            lock.release()


def _serve(loop: asyncio.AbstractEventLoop, stopping: threading.Event, at_end: AtEnd | None) -> None:
    asyncio.set_event_loop(loop)
    executor = ThreadPoolExecutor(thread_name_prefix=f"{threading.current_thread().name}-thread")
    loop.set_default_executor(executor)
    try:
        _run_until(stopping.is_set, loop.run_forever)
    finally:
        _run_to_end(loop, _end_tasks())
        if at_end is not None:
            _run_to_end(loop, at_end())
        _run_to_end(loop, loop.shutdown_asyncgens())
        _end_threads(executor)
        loop.close()


def _run_until(is_over: Callable[[], bool], run: Callable[[], object]) -> None:
    """Run the loop until it is over. asyncio lets SystemExit of one task through, which must not end the others."""
    while not is_over():
        with suppress(SystemExit, KeyboardInterrupt):  # raised by a task: signals go to the main thread
            run()


def _run_to_end(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, None]) -> None:
    task = loop.create_task(coroutine)
    _run_until(task.done, lambda: loop.run_until_complete(task))


def _end_threads(executor: ThreadPoolExecutor) -> None:
    """End the loop's threads, as used by `asyncio.to_thread`. Code that runs in one cannot be ended."""
    ending = threading.Thread(target=executor.shutdown, kwargs={"cancel_futures": True}, daemon=True)
    try:
        ending.start()
    except RuntimeError:  # from Python 3.12 on, no thread starts at the end of the process, which then waits itself
        executor.shutdown(wait=False, cancel_futures=True)
    else:
        ending.join(CANCEL_SECONDS)


async def _end_tasks() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=CANCEL_SECONDS)


def _stop(loop: asyncio.AbstractEventLoop, stopping: threading.Event, thread: threading.Thread) -> None:
    stopping.set()
    with suppress(RuntimeError):  # already ended
        loop.call_soon_threadsafe(loop.stop)
    if thread is not threading.current_thread():
        thread.join()


class _Call(Generic[T]):
    """One coroutine, and the thread that waits for it.

    The wait uses a bare lock. An interrupt while a thread enters a Python condition, such as a future's, can leave the
    condition locked. The loop would then block forever when it sets the outcome.

    Attributes:
        has_ended: the coroutine has also released its files and connections.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self.has_ended = False
        self._ended = threading.Lock()
        self._ended.acquire()
        self._error: BaseException | None = None
        self._coroutine = coroutine
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[T] | None = None

    def result(self, timeout: float | None) -> T:
        """The coroutine's return value or exception; CancelledError if it was cancelled.

        Raises:
            TimeoutError: it has not ended in time.
        """
        if not self._wait(timeout):
            raise TimeoutError
        if self._error is not None:
            raise self._error
        return required(self._task, "a call that never started has an error").result()

    def begin_on(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        loop.call_soon_threadsafe(self._begin)

    def cancel(self) -> None:
        if self._loop is None:
            self._coroutine.close()
            return
        with suppress(RuntimeError):  # the loop has ended, and with it the call
            self._loop.call_soon_threadsafe(self._cancel)
            self._wait(CANCEL_SECONDS)

    def _wait(self, seconds: float | None) -> bool:
        deadline = math.inf if seconds is None else time.monotonic() + seconds
        while not self.has_ended:
            left = min(SIGNAL_SECONDS, deadline - time.monotonic())
            if left <= 0:
                return False
            self._ended.acquire(timeout=left)
        return True

    def _begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._coroutine)
        self._task.add_done_callback(self._end)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        else:  # the caller was interrupted before the start
            self._coroutine.close()
            self._tell(CancelledError())

    def _end(self, task: asyncio.Task[T]) -> None:
        self._tell(CancelledError() if task.cancelled() else task.exception())

    def _tell(self, error: BaseException | None) -> None:
        self._error, self.has_ended = error, True
        self._ended.release()

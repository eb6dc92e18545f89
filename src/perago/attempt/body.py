"""Call the task's function, take its result, and refuse files of the workspace that it leaves open."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import inspect
import logging
import os
import stat
import sys
import threading
import time
import traceback
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol

from pydantic import BaseModel

from perago.errors import TaskExecutionError
from perago.tasks.context import LOGGER_ROOT, TaskContext
from perago.tasks.declare import TaskDefinition
from perago.tasks.metrics import MetricRecorder
from perago.tasks.params import validate_result
from perago.values.json_text import JsonObject
from perago.values.names import show_name

_SHOWN = 5
"""Files, or threads, that a message names."""


def open_descriptors() -> frozenset[tuple[int, str]] | None:
    """The descriptors of this process, each with what it leads to. None: this system does not tell."""
    if sys.platform != "linux":
        return None
    return frozenset(_descriptors())


def refuse_open_files(task_name: str, workspace: Path | None) -> None:
    """Refuse a workspace in which this process still writes a regular file: what is in its buffer is not known.

    Called where a body has run in this process, which goes on: in a process of its own, Python closes its files.

    Args:
        workspace: None: the task has none.

    Raises:
        TaskExecutionError: names the files.
    """
    if workspace is None or not _written(workspace):
        return
    gc.collect()  # what is in reference cycles is closed by this
    left = _written(workspace)
    if left:
        named = ", ".join(map(show_name, left[:_SHOWN])) + (f" and {len(left) - _SHOWN} more" if left[_SHOWN:] else "")
        raise TaskExecutionError(
            f"task {task_name!r}: the body has returned with files still open for writing: {named}. Close files before "
            f"the body returns, with a `with` block for instance"
        )


def _written(workspace: Path) -> list[str]:
    """The regular files below a directory that are open for writing, relative to it."""
    root = f"{os.path.realpath(workspace)}{os.sep}"
    return sorted(
        {
            path.removeprefix(root)
            for handle, path in _descriptors()
            if path.startswith(root) and _is_written(handle) and Path(path).exists()
        }
    )


def _is_written(handle: int) -> bool:
    try:
        mode = fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE
        return mode != os.O_RDONLY and stat.S_ISREG(os.fstat(handle).st_mode)
    except OSError:  # closed meanwhile, by another thread
        return False


def _descriptors() -> Iterator[tuple[int, str]]:
    directory = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"
    for name in os.listdir(directory):  # noqa: PTH208 - numbers, not paths
        try:
            yield int(name), _leads_to(int(name))
        except OSError:  # that of the listing itself, or closed meanwhile
            continue


def _leads_to(handle: int) -> str:
    if sys.platform == "darwin":
        return os.fsdecode(fcntl.fcntl(handle, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
    return os.readlink(f"/proc/self/fd/{handle}")  # noqa: PTH115 - what it leads to may be no path


_LEAVE_SECONDS = 0.1
"""For threads that are at their end just now."""

_POOL = "concurrent.futures.thread"

_PROCESS_POOL = "_ExecutorManagerThread"
"""Class of the thread that manages a pool of processes, of `concurrent.futures` and of loky."""


@dataclass(frozen=True, kw_only=True)
class BodyCall:
    """One call of a task's function.

    Attributes:
        params: validated.
        raw_params: as they came in, for a body that runs in another process and validates them there.
        workspace: the body's own directory; None for a free task.
        metrics: where the body's metrics go; None: nowhere.
        context: the attempt as the body may see it.
    """

    task: TaskDefinition
    params: BaseModel
    raw_params: JsonObject
    context: TaskContext
    workspace: Path | None = None
    metrics: MetricRecorder | None = None


class InvokeBody(Protocol):
    """Run the body, wherever, and return its validated result as JSON.

    Raises:
        TaskExecutionError: the body failed or its result does not validate.
    """

    def __call__(self, call: BodyCall, /) -> JsonObject: ...


def invoke_in_process(call: BodyCall) -> JsonObject:
    """Run the body here, in this thread; an `async def` body on an event loop of its own.

    Raises:
        TaskExecutionError: as `InvokeBody`, or the body left a file of its workspace open for writing.
    """
    return validate_result(call.task, call_body(call))


def call_body(call: BodyCall) -> object:
    """Call the function in this process, which goes on; returns what it returns, not validated yet.

    Raises:
        TaskExecutionError: the body called `sys.exit`, or left a file of its workspace open for writing. What it raises
            is passed on.
    """
    owner, threads = os.getpid(), frozenset(threading.enumerate())
    try:
        returned = _call(call)
        if os.getpid() == owner:
            _warn_of_threads(call.task, threads)
            refuse_open_files(call.task.name, call.workspace)
        return returned
    finally:
        if os.getpid() != owner:
            _end_fork()


def invoke_in_own_process(call: BodyCall) -> JsonObject:
    """Run the body in a process that ends after it. A fork that the body makes comes out of here like its parent."""
    return validate_result(call.task, _call(call))


def _call(call: BodyCall) -> object:
    owner = os.getpid()
    try:
        returned = call.task.fn(*call.task.arguments(call.workspace, call.params, call.metrics, call.context))
        return _finish(returned) if inspect.iscoroutine(returned) else returned
    except SystemExit as exc:
        if os.getpid() != owner:
            raise
        raise TaskExecutionError(
            f"task {call.task.name!r}: the body called sys.exit({exc.code!r}); raise TaskFailed or TaskTerminalError "
            f"to fail a task"
        ) from exc


def _warn_of_threads(task: TaskDefinition, before: frozenset[threading.Thread]) -> None:
    """Tell of threads that the body leaves at work: what they still write comes too late, and fails nothing.

    Daemons are meant to be left. Beside other bodies in this process nobody knows whose a thread is.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    deadline = time.monotonic() + _LEAVE_SECONDS
    left = []
    for thread in threading.enumerate():
        if thread.daemon or thread in before or _waits_for_work(thread):
            continue
        with suppress(RuntimeError):  # another one is just starting it
            thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive() and not _waits_for_work(thread):
            left.append(thread.name)
    if left:
        logging.getLogger(f"{LOGGER_ROOT}.{task.name}").warning(
            "the body has returned, and threads that it began still run: %s. What they write from now on may be lost; "
            "have the body join them before it returns",
            ", ".join(left[:_SHOWN]) + (f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""),
        )


def _waits_for_work(thread: threading.Thread) -> bool:
    """Whether it belongs to a pool, and has nothing to do: libraries keep such pools for as long as the process."""
    if type(thread).__name__ == _PROCESS_POOL:
        return True
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 - documented, whatever its name
    return frame is not None and frame.f_code.co_name == "_worker" and frame.f_globals.get("__name__") == _POOL


def _end_fork() -> NoReturn:
    """A fork that a body has made does not come out of it: the attempt is its parent's, and is ended once."""
    error = sys.exc_info()[1]
    code = 0 if error is None else 1
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        traceback.print_exception(error)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # closed by the body, or by the reader
            stream.flush()
    os._exit(code)  # what is to be done at this process's exit is its parent's too


def _finish(coroutine: Coroutine[Any, Any, object]) -> object:
    """Run a coroutine to its end, also where this thread has a running loop (a notebook, an async test)."""
    if not _is_loop_running():
        return asyncio.run(coroutine)
    outcome: list[object] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(asyncio.run(coroutine))
        except BaseException as exc:  # noqa: BLE001 - handed to the caller's thread, which raises it
            failure.append(exc)

    thread = threading.Thread(target=run, name=f"perago-body-{threading.get_ident()}")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def _is_loop_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False  # and no body runs within this clause: each of its errors would show this one as its context
    return True

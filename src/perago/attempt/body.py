"""Call the task's function and return its result, unless files are left open or the result is too large."""

from __future__ import annotations

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

from perago.engines.limits import MAX_OUTPUT_BYTES, json_size, too_large
from perago.errors import TaskExecutionError, TaskTerminalError, required
from perago.tasks.context import LOGGER_ROOT, TaskContext
from perago.tasks.declare import TaskDefinition
from perago.tasks.guards import GuardPhase, call_guards
from perago.tasks.metrics import MetricRecorder
from perago.tasks.params import validate_result
from perago.values.json_text import JsonObject
from perago.values.names import show_name

_SHOWN = 5
"""Number of files or threads in a message."""


def refuse_open_files(task_name: str, workspace: Path | None) -> None:
    """Refuse a workspace with a regular file that this process has open for writing: data may still be in its buffer.

    Only for bodies that run in a process that goes on. In a process of its own, Python closes the files at exit.

    Args:
        workspace: None if the task has none.

    Raises:
        TaskExecutionError: names the files.
    """
    if workspace is None or not _written(workspace):
        return
    gc.collect()  # closes files in reference cycles
    left = _written(workspace)
    if left:
        named = ", ".join(map(show_name, left[:_SHOWN])) + (f" and {len(left) - _SHOWN} more" if left[_SHOWN:] else "")
        raise TaskExecutionError(
            f"task {task_name!r}: the body returned with files open for writing: {named}. Close files before the body "
            f"returns, for instance with a `with` block"
        )


def _written(workspace: Path) -> list[str]:
    """Regular files below a directory that are open for writing, relative to it."""
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
    except OSError:  # another thread has closed it
        return False


def _descriptors() -> Iterator[tuple[int, str]]:
    directory = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"
    for name in os.listdir(directory):  # noqa: PTH208 - numbers, not paths
        try:
            yield int(name), _leads_to(int(name))
        except OSError:  # the descriptor of the listing itself, or closed since
            continue


def _leads_to(handle: int) -> str:
    if sys.platform == "darwin":
        return os.fsdecode(fcntl.fcntl(handle, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
    return os.readlink(f"/proc/self/fd/{handle}")  # noqa: PTH115 - the target may not be a path


_LEAVE_SECONDS = 0.1
_SIGNAL_SECONDS = 0.1  # a signal that comes just before a wait, or to another thread, is handled only after the wait
"""Seconds to wait for threads that are just ending."""

_POOL = "concurrent.futures.thread"

_PROCESS_POOL = "_ExecutorManagerThread"
"""Class of the thread that manages a process pool, in `concurrent.futures` and in loky."""


@dataclass(frozen=True, kw_only=True)
class BodyCall:
    """One call of a task's function.

    Attributes:
        params: validated.
        raw_params: as given, for a body that runs in another process and validates them there.
        workspace: the body's directory; None for a free task.
        metrics: receives the body's metrics; None discards them.
        context: the attempt as the body sees it.
        guards: call the task's own guards of this phase in place of its function.
    """

    task: TaskDefinition
    params: BaseModel
    raw_params: JsonObject
    context: TaskContext
    workspace: Path | None = None
    metrics: MetricRecorder | None = None
    guards: GuardPhase | None = None


class InvokeBody(Protocol):
    """Run the body and return its validated result as JSON; or the guards, which have none.

    Raises:
        TaskExecutionError: the body failed or its result does not validate.
        PreGuardrailViolation, PostGuardrailViolation: a guard raised.
    """

    def __call__(self, call: BodyCall, /) -> JsonObject: ...


def invoke_in_process(call: BodyCall) -> JsonObject:
    """Run the body in this thread; an `async def` body on an event loop of its own.

    Raises:
        TaskExecutionError: as `InvokeBody`; also if the body left a workspace file open for writing.
    """
    if call.guards is not None:
        return _call_guards(call, call.guards)
    return validate_result(call.task, call_body(call))


def _call_guards(call: BodyCall, phase: GuardPhase) -> JsonObject:
    spec = required(call.task.workspace, "only a task with a workspace has guards")
    workspace = required(call.workspace, "guards look at a workspace")
    call_guards(workspace, spec.pre if phase == "pre" else spec.post, phase)
    return {}


def call_body(call: BodyCall) -> object:
    """Call the function in this process, which goes on; returns its result, not validated yet.

    Raises:
        TaskExecutionError: the body called `sys.exit`, or left a workspace file open for writing. Its own errors pass
            through.
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
    """Run the body in a process that ends after it. If the body forks, the child returns from here, too."""
    if call.guards is not None:
        return _call_guards(call, call.guards)
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
    """Warn of threads that the body leaves running: what they write is too late, but does not fail the task.

    Daemon threads may be left. In a process with several bodies the owner of a thread is unknown.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    deadline = time.monotonic() + _LEAVE_SECONDS
    left = []
    for thread in threading.enumerate():
        if thread.daemon or thread in before or _waits_for_work(thread):
            continue
        with suppress(RuntimeError):  # it is just being started
            thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive() and not _waits_for_work(thread):
            left.append(thread.name)
    if left:
        logging.getLogger(f"{LOGGER_ROOT}.{task.name}").warning(
            "the body returned, but threads that it started are still running: %s. What they write now may be lost; "
            "join them in the body",
            ", ".join(left[:_SHOWN]) + (f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""),
        )


def _waits_for_work(thread: threading.Thread) -> bool:
    """Whether it is an idle thread of a pool: libraries keep such pools until the process ends."""
    if type(thread).__name__ == _PROCESS_POOL:
        return True
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 - documented despite its name
    return frame is not None and frame.f_code.co_name == "_worker" and frame.f_globals.get("__name__") == _POOL


def _end_fork() -> NoReturn:
    """End a fork that a body made. Only the parent finishes the attempt."""
    error = sys.exc_info()[1]
    code = 0 if error is None else 1
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        traceback.print_exception(error)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # closed by the body, or by the reader
            stream.flush()
    os._exit(code)  # exit handlers belong to the parent


def _finish(coroutine: Coroutine[Any, Any, object]) -> object:
    """Run a coroutine to its end, even if this thread already runs a loop (a notebook, an async test)."""
    import asyncio  # a tenth of the start of a command that has no async body

    if not _is_loop_running():
        return asyncio.run(coroutine)
    outcome: list[object] = []
    failure: list[BaseException] = []
    runner = asyncio.Runner()
    loop = runner.get_loop()

    def run() -> None:
        try:
            with runner:
                outcome.append(runner.run(coroutine))
        except BaseException as exc:  # noqa: BLE001 - the calling thread raises it
            failure.append(exc)

    thread = threading.Thread(target=run, name=f"perago-body-{threading.get_ident()}")
    thread.start()
    try:
        while thread.is_alive():
            thread.join(_SIGNAL_SECONDS)
    except KeyboardInterrupt:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
        thread.join()
        raise
    if failure:
        raise failure[0]
    return outcome[0]


def _is_loop_running() -> bool:
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False  # the body does not run in this clause: its errors would show this one as their context
    return True


WORKSPACE_BYTES = 16 * 1024
"""Bytes reserved for `workspace` in a task's output: repository, branch and commit."""

MAX_RESULT_BYTES = MAX_OUTPUT_BYTES - WORKSPACE_BYTES


def within_limit(invoke_body: InvokeBody) -> InvokeBody:
    """Wrap `invoke_body`: a result of more than `MAX_RESULT_BYTES` of JSON is a `TaskTerminalError`, because a retry
    cannot help."""

    def invoke(call: BodyCall, /) -> JsonObject:
        result = invoke_body(call)
        size = json_size(result)
        if size > MAX_RESULT_BYTES:
            raise TaskTerminalError(too_large(size, MAX_RESULT_BYTES))
        return result

    return invoke

"""Tasks that a supervised worker runs in the tests: well behaved ones, and such that end their executor."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import multiprocessing
import os
import resource
import signal
import stat
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
from pydantic import BaseModel

from perago import RetryPolicy, TaskContext, TaskControls, TimeoutPolicy, WorkspaceSpec, task


class Params(BaseModel):
    text: str = ""
    seconds: float = 0.0
    path: Path | None = None


class Answer(BaseModel):
    text: str = ""
    pid: int = 0


OWNER = "tests@example.org"
SHORT_LEASE = TaskControls(
    retry=RetryPolicy(delay_seconds=0), timeout=TimeoutPolicy(policy="RETRY", response_seconds=2)
)


@task(name="light.echo", owner_email=OWNER)
def echo(params: Params) -> Answer:
    return Answer(text=params.text, pid=os.getpid())


@task(name="light.print", owner_email=OWNER)
def print_it(params: Params) -> Answer:
    """Prints the text, and has a process of its own print it too."""
    print(params.text)
    subprocess.run(["echo", params.text], check=True)
    return Answer(text=params.text)


@task(name="light.heed", owner_email=OWNER)
def heed(params: Params, context: TaskContext) -> Answer:
    """Runs until it is cancelled, or the seconds are over; its path tells how it ended."""
    for done in (0, 1):  # the second is held back for a moment
        context.progress(done, 10, str(os.getpid()))
    deadline = time.monotonic() + params.seconds
    while not context.cancelled and time.monotonic() < deadline:
        time.sleep(0.01)
    if params.path is not None:
        params.path.write_text("cancelled" if context.cancelled else "done")
    context.raise_if_cancelled()
    return Answer(text="done", pid=os.getpid())


@task(name="light.tidy", owner_email=OWNER)
def tidy(params: Params, context: TaskContext) -> Answer:
    """Never looks whether it is cancelled; its path tells that it cleaned up all the same."""
    context.progress(1, None, str(os.getpid()))
    try:
        time.sleep(600)
    finally:
        assert params.path is not None
        params.path.write_text("tidied")
    return Answer()


@task(name="light.wait_for_a_file", owner_email=OWNER)
def wait_for_a_file(params: Params, context: TaskContext) -> Answer:
    """Ends when its path exists, cancelled or not."""
    context.progress(1, None, str(os.getpid()))
    assert params.path is not None
    while not params.path.exists():
        time.sleep(0.01)
    return Answer(text="done", pid=os.getpid())


@task(name="light.stubborn", owner_email=OWNER)
def stubborn(params: Params, context: TaskContext) -> Answer:
    """Heeds nothing but SIGKILL; its path holds its process id."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if params.path is not None:
        params.path.write_text(str(os.getpid()))
    context.progress(1, None, str(os.getpid()))
    time.sleep(600)
    return Answer()


@task(name="light.hold_the_lock", owner_email=OWNER)
def hold_the_lock(params: Params, context: TaskContext) -> Answer:
    """Holds the interpreter lock for some seconds: no thread of this process runs meanwhile."""
    context.progress(1, None, str(os.getpid()))
    ctypes.PyDLL(None).usleep(int(params.seconds * 1_000_000))
    return Answer(text="held")


@task(name="light.print_under_the_lock", owner_email=OWNER)
def print_under_the_lock(params: Params) -> Answer:
    """Prints 64 MiB in lines of 64 bytes without giving up the interpreter lock, as a C library may."""
    lines = (b"x" * 63 + b"\n") * (1024 * 1024)
    return Answer(text=str(ctypes.PyDLL(None).write(1, lines, len(lines))))


@task(name="light.hold_the_lock_on_a_short_lease", owner_email=OWNER, controls=SHORT_LEASE)
def hold_the_lock_on_a_short_lease(params: Params, context: TaskContext) -> Answer:
    context.progress(1, None, str(os.getpid()))
    ctypes.PyDLL(None).usleep(int(params.seconds * 1_000_000))
    return Answer(text="held")


@task(name="light.tell_modules", owner_email=OWNER)
def tell_modules(params: Params) -> Answer:
    """Tells which modules of Perago, and which HTTP client, its process has loaded."""
    return Answer(text=" ".join(name for name in sys.modules if name.startswith(("perago", "aiohttp", "urllib3"))))


@task(name="light.sleep_async", owner_email=OWNER)
async def sleep_async(params: Params, context: TaskContext) -> Answer:
    context.progress(1, None, "sleeping")
    await asyncio.sleep(params.seconds)
    return Answer(text="slept", pid=os.getpid())


@task(name="light.exit_async", owner_email=OWNER)
async def exit_async(params: Params) -> Answer:
    if params.text == "interrupt":
        raise KeyboardInterrupt
    sys.exit(params.text)


@task(name="light.leave_thread", owner_email=OWNER)
def leave_thread(params: Params) -> Answer:
    threading.Thread(target=time.sleep, args=(params.seconds,)).start()
    return Answer(text="left")


@task(name="light.leave_thread_async", owner_email=OWNER)
async def leave_thread_async(params: Params) -> Answer:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.to_thread(time.sleep, params.seconds), 0.05)
    return Answer(text="left")


@task(name="light.block_loop_later", owner_email=OWNER)
async def block_loop_later(params: Params) -> Answer:
    asyncio.get_running_loop().call_later(0.2, time.sleep, params.seconds)
    return Answer(text="left")


@task(name="light.sleep", owner_email=OWNER)
def sleep(params: Params, context: TaskContext) -> Answer:
    context.progress(1, None, "sleeping")
    time.sleep(params.seconds)
    return Answer(text="slept", pid=os.getpid())


@task(name="light.log", owner_email=OWNER)
def log(params: Params, context: TaskContext) -> Answer:
    context.logger.info("counted", rows=3)
    logging.getLogger("somebody.elses").warning("password=%s is weak", "hunter2")
    context.progress(5, 10, params.text)
    return Answer()


@task(name="light.die", owner_email=OWNER)
def die(params: Params) -> Answer:
    """Ends its process in the way that the text names."""
    match params.text:
        case "close":
            os.closerange(3, 1024)
        case "exit":
            os._exit(3)
        case "segfault":
            ctypes.string_at(0)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "memory":
            resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
            hoard = [bytearray(64 << 20) for _ in range(64)]
            raise AssertionError(f"so much memory was not to be had: {len(hoard)}")
        case "corrupt":
            _write_into_every_socket()
        case "interrupt":
            raise KeyboardInterrupt
    return Answer()


def _write_into_every_socket() -> None:
    """What is not a message, where messages go; again and again."""
    for _ in range(50):
        for handle in range(3, 1024):
            try:
                if stat.S_ISSOCK(os.fstat(handle).st_mode):
                    os.write(handle, struct.pack(">I", 4) + b"junk")
            except OSError:
                continue
    time.sleep(600)


@task(name="light.leave_a_process", owner_email=OWNER)
def leave_a_process(params: Params) -> Answer:
    """Its path holds the id of a process that it leaves behind, which is a child of nobody's."""
    script = "setsid sleep 600 >/dev/null 2>&1 & echo $!"
    pid = subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, check=True, text=True).stdout
    assert params.path is not None
    params.path.write_text(pid.strip())
    return Answer(pid=os.getpid())


@task(name="light.take_a_lock", owner_email=OWNER)
def take_a_lock(params: Params) -> Answer:
    """Has multiprocessing start the process that it keeps."""
    with multiprocessing.get_context("spawn").Lock():
        return Answer(text=str(len(psutil.Process().children())), pid=os.getpid())


@task(name="light.change_its_process", owner_email=OWNER)
def change_its_process(params: Params) -> Answer:
    """Tells where it is and what a variable is, then changes both."""
    told = f"{Path.cwd()} {os.environ.get('PERAGO_TEST_LEFT')}"
    os.chdir("/")
    os.environ["PERAGO_TEST_LEFT"] = "behind"
    return Answer(text=told, pid=os.getpid())


@task(name="space.append", owner_email=OWNER, workspace=WorkspaceSpec())
def append(workspace: Path, params: Params, context: TaskContext) -> Answer:
    """Appends the text to a file; waits for the seconds first."""
    return _append(workspace, params, context)


@task(name="space.append_on_a_short_lease", owner_email=OWNER, workspace=WorkspaceSpec(), controls=SHORT_LEASE)
def append_on_a_short_lease(workspace: Path, params: Params, context: TaskContext) -> Answer:
    return _append(workspace, params, context)


def _append(workspace: Path, params: Params, context: TaskContext) -> Answer:
    context.progress(0, 1, "waiting")
    time.sleep(params.seconds)
    target = workspace / "lines.txt"
    before = target.read_text() if target.exists() else ""
    target.write_text(before + params.text + "\n")
    return Answer(text=params.text, pid=os.getpid())


WRITER = 'while [ ! -e go ]; do sleep 0.01; done; echo half > "$0/out.csv"; touch written'


@task(name="space.leave_a_writer", owner_email=OWNER, workspace=WorkspaceSpec())
def leave_a_writer(workspace: Path, params: Params) -> Answer:
    """Leaves a process that writes once there is a file `go` in the directory at its path; `pid` there names it."""
    assert params.path is not None
    (workspace / "out.csv").write_text("whole\n" * 1000)
    writer = subprocess.Popen(["sh", "-c", WRITER, workspace], cwd=params.path)
    (params.path / "pid").write_text(str(writer.pid))
    return Answer()


@task(name="space.look", owner_email=OWNER, workspace=WorkspaceSpec(read_only=True, include=["*.txt", "*.csv"]))
def look(workspace: Path, params: Params) -> Answer:
    """Reads, and writes what is published nowhere."""
    (workspace / "notes.txt").write_text(params.text)
    return Answer()


@task(name="space.stubborn", owner_email=OWNER, workspace=WorkspaceSpec())
def stubborn_in_space(workspace: Path, params: Params) -> Answer:
    """Heeds nothing but SIGKILL; its path holds where its workspace is."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (workspace / "half.txt").write_text("half")
    assert params.path is not None
    params.path.write_text(str(workspace))
    time.sleep(600)
    return Answer()


KEPT: list[Any] = []


@task(name="space.leave_open", owner_email=OWNER, workspace=WorkspaceSpec())
def leave_open(workspace: Path, params: Params) -> Answer:
    KEPT.append((workspace / "open.txt").open("w"))
    return Answer()


@task(name="space.leave_open_async", owner_email=OWNER, workspace=WorkspaceSpec())
async def leave_open_async(workspace: Path, params: Params) -> Answer:
    KEPT.append((workspace / "open.txt").open("w"))
    return Answer()


class Ring:
    """Holds a file open until the collector ends it."""

    def __init__(self, path: Path) -> None:
        self.handle, self.ring = os.open(path, os.O_WRONLY | os.O_CREAT), self

    def __del__(self) -> None:
        os.write(self.handle, b"whole")
        os.close(self.handle)


@task(name="space.leave_in_a_cycle", owner_email=OWNER, workspace=WorkspaceSpec())
def leave_in_a_cycle(workspace: Path, params: Params) -> Answer:
    Ring(workspace / "ring.txt")
    return Answer()


@task(name="light.leave_what_cannot_be_put_back", owner_email=OWNER)
def leave_what_cannot_be_put_back(params: Params) -> Answer:
    """A handler that a library in C sets: Python does not know what was there before."""
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = [ctypes.c_int, ctypes.c_void_p], ctypes.c_void_p
    libc.signal(signal.SIGUSR1, 1)
    return Answer(pid=os.getpid())


@task(name="light.change_what_is_put_back", owner_email=OWNER)
def change_what_is_put_back(params: Params) -> Answer:
    """Tells what it finds, and leaves something else."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    mask = os.umask(0o777)
    told = [str(signal.getsignal(signal.SIGCHLD)), str(signal.getsignal(signal.SIGUSR1)), soft, mask, time.tzname[0]]
    told += [multiprocessing.get_start_method(allow_none=True), str(Path.cwd()), sys.stdout is None]
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()
    multiprocessing.set_start_method("spawn")
    os.chdir("/")
    sys.stdout = None
    signal.alarm(1)
    return Answer(text=repr(told), pid=os.getpid())


def look_up(rows: dict[str, int], name: str) -> int:
    return rows[name]


@task(name="light.fail_deep", owner_email=OWNER)
def fail_deep(params: Params) -> Answer:
    return Answer(pid=look_up({}, "nope"))


@task(name="space.fail_deep", owner_email=OWNER, workspace=WorkspaceSpec())
def fail_deep_in_a_workspace(workspace: Path, params: Params) -> Answer:
    print("hunter2-token=hunter2-printed, and", params.text)
    return Answer(pid=look_up({}, "nope"))


@task(name="light.print_much", owner_email=OWNER)
def print_much(params: Params) -> Answer:
    _print_much()
    return Answer()


@task(name="space.print_much", owner_email=OWNER, workspace=WorkspaceSpec())
def print_much_in_a_workspace(workspace: Path, params: Params) -> Answer:
    _print_much()
    return Answer()


def _print_much() -> None:
    print("first", flush=True)
    subprocess.run(["echo", "from a program"], check=True)
    for number in range(100_000):
        print("line", number)

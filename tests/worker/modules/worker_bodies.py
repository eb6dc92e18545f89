"""Tasks whose bodies do what bodies may do to the process that they run in."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from perago import MetricRecorder, MetricSpec, TaskContext, TaskFailed, TaskTerminalError, WorkspaceSpec, task


class Params(BaseModel):
    text: str = ""
    size: int = 0
    secret: SecretStr = SecretStr("")


class Answer(BaseModel):
    value: Any = None


class OutOfBudget(TaskTerminalError):
    """A class that only this module knows."""


class Spoilt(TaskTerminalError):
    """One whose reason nobody can read."""

    def __init__(self) -> None:
        pass

    @property
    def reason(self) -> str:
        raise RuntimeError("no reason")


class Crooked(TaskTerminalError, SyntaxError):
    """One that `traceback` cannot write."""

    def __init__(self) -> None:
        self.reason, self.filename, self.lineno, self.text, self.offset = "crooked", "f", 1, "text", "one"


def _start_sleeper(**options: Any) -> int:
    return subprocess.Popen(["sleep", "600"], **options).pid


@task(name="say_where", owner_email="t@example.org", workspace=WorkspaceSpec())
def say_where(workspace: Path, params: Params, context: TaskContext) -> Answer:
    (workspace / "out.txt").write_text(params.text)
    return Answer(
        value={
            "pid": os.getpid(),
            "session": os.getsid(0),
            "group": os.getpgid(0),
            "cwd": str(Path.cwd()),
            "argv": Path("/proc/self/cmdline").read_text() if sys.platform == "linux" else "",
            "environment": " ".join(os.environ.values()),
            "path": sys.path,
            "execution_id": context.execution_id,
            "task_id": context.identity.task_id,
            "secret": params.secret.get_secret_value()[::-1],
        }
    )


@task(name="print_and_return", owner_email="t@example.org")
def print_and_return(params: Params) -> Answer:
    sys.stdout.write("printed by the body\n")
    os.write(1, b"written to descriptor 1\n")
    subprocess.run(["echo", "printed by a program"], check=True)
    return Answer(value="returned")


@task(name="return_text", owner_email="t@example.org")
def return_text(params: Params) -> Answer:
    return Answer(value=params.text + "x" * params.size)


@task(name="wait_async", owner_email="t@example.org")
async def wait_async(params: Params) -> Answer:
    await asyncio.sleep(0.01)
    return Answer(value="waited")


@task(name="report", owner_email="t@example.org")
def report(params: Params, context: TaskContext) -> Answer:
    for done in range(params.size):
        context.progress(done, params.size, f"step {done}")
    logging.getLogger("bodies.quiet").info("nobody asked for this")
    logging.getLogger("bodies").warning("careful with %s", params.text)
    return Answer()


@task(name="log_fields", owner_email="t@example.org")
def log_fields(params: Params, context: TaskContext) -> Answer:
    log = context.logger.warning if params.text == "warn" else context.logger.info
    log("read", rows=3, path=Path("/tmp"))
    return Answer()


@task(name="measure", owner_email="t@example.org", metrics=MetricSpec())
def measure(params: Params, metrics: MetricRecorder) -> Answer:
    metrics.gauge("rows", 3, labels={"kind": "clean"})
    metrics.histogram("age", 1.5)
    return Answer()


@task(name="fail", owner_email="t@example.org")
def fail(params: Params) -> Answer:
    match params.text:
        case "failed":
            raise TaskFailed("try me again")
        case "terminal":
            raise TaskTerminalError("never again")
        case "own":
            raise OutOfBudget("spent")
        case "number":
            raise TaskTerminalError(5)
        case "spoilt":
            raise Spoilt
        case "crooked":
            raise Crooked
        case "exit":
            sys.exit("bye")
        case "interrupt":
            raise KeyboardInterrupt
        case "result":
            return {"unknown": 1}
        case _:
            raise LookupError("no such thing, token=hunter2")


@task(name="die", owner_email="t@example.org")
def die(params: Params) -> Answer:
    if params.text == "close":
        os.closerange(3, 1024)
        return Answer()
    if params.text:
        os.kill(os.getpid(), int(params.text) if params.text.isdigit() else signal.Signals[params.text])
        time.sleep(60)
    os._exit(params.size)


@task(name="heed", owner_email="t@example.org")
def heed(params: Params, context: TaskContext) -> Answer:
    """Ends as it should: soon after it is told; writes when it noticed."""
    context.progress(0, 1, "waiting")
    while not context.cancelled:
        time.sleep(0.005)
    Path(params.text).write_text(repr(time.time()))
    context.raise_if_cancelled()
    return Answer()


@task(name="heed_sigterm", owner_email="t@example.org")
def heed_sigterm(params: Params, context: TaskContext) -> Answer:
    """Knows nothing of cancellation, but cleans up behind itself."""
    context.progress(0, 1, "waiting")
    try:
        while True:
            time.sleep(60)
    finally:
        Path(params.text).write_text("cleaned up")


@task(name="ignore_everything", owner_email="t@example.org")
def ignore_everything(params: Params, context: TaskContext) -> Answer:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    context.progress(0, 1, str(os.getpid()))
    while True:
        time.sleep(60)


@task(name="hold_the_lock", owner_email="t@example.org")
def hold_the_lock(params: Params, context: TaskContext) -> Answer:
    """One call into C that takes hours, never lets go of the interpreter lock and never looks at signals."""
    context.progress(0, 1, str(os.getpid()))
    sum(range(10**15))
    return Answer()


@task(name="spin", owner_email="t@example.org")
def spin(params: Params) -> Answer:
    while True:
        pass


@task(name="leave_children", owner_email="t@example.org")
def leave_children(params: Params, context: TaskContext) -> Answer:
    pids = [_start_sleeper(), _start_sleeper(start_new_session=True), _start_orphan()]
    context.progress(0, 1, " ".join(map(str, [os.getpid(), *pids])))
    match params.text:
        case "crash":
            os._exit(9)
        case "wait":
            time.sleep(600)
        case "hold_the_lock":
            sum(range(10**15))
    return Answer(value=pids)


@task(name="leave_thread", owner_email="t@example.org")
def leave_thread(params: Params, context: TaskContext) -> Answer:
    context.progress(0, 1, str(os.getpid()))
    threading.Thread(target=time.sleep, args=(600,), name="lingerer").start()
    return Answer()


@task(name="fork", owner_email="t@example.org")
def fork(params: Params, context: TaskContext) -> Answer:
    """The fork runs on through the code that reports: it must stay mute."""
    child = os.fork()
    if child == 0:
        context.progress(1, 1, "from the fork")
        return Answer(value="the fork's")
    os.waitpid(child, 0)
    return Answer(value="the body's")


@task(name="corrupt", owner_email="t@example.org")
def corrupt(params: Params) -> Answer:
    """Writes what is no message into every socket it has: no JSON, or JSON of another kind."""
    rubbish = struct.pack(">I", len(params.text)) + params.text.encode() if params.text else b"\xff" * 100
    for handle in sorted(int(path.name) for path in Path("/proc/self/fd").iterdir())[3:]:
        try:
            if Path(f"/proc/self/fd/{handle}").readlink().name.startswith("socket:"):
                os.write(handle, rubbish)
        except OSError:
            continue
    return Answer()


def _start_orphan() -> int:
    """A program in a session of its own whose parent is gone."""
    script = "sleep 600 </dev/null >/dev/null 2>&1 & echo $!"
    shell = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, start_new_session=True)
    return int(shell.stdout)

"""Tasks for the tests of `perago run`."""

from __future__ import annotations

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydantic import BaseModel, Field, SecretStr

from perago import (
    PublishBudget,
    TaskContext,
    TaskControls,
    TaskFailed,
    TaskTerminalError,
    WorkspaceSpec,
    forbid_glob,
    require_file,
    task,
)

OWNER = "tests@example.org"


class Params(BaseModel):
    """What a body is to do.

    Attributes:
        text: written to `out.txt`.
        touch: a file outside the workspace that is made when the body has written; None: none.
        wait_for: a file outside the workspace that the body waits for; None: it does not wait.
        kind: how to fail.
    """

    text: str = "out"
    touch: str | None = None
    wait_for: str | None = None
    kind: str = ""
    password: SecretStr = SecretStr("")


class Result(BaseModel):
    length: int


class Sum(BaseModel):
    total: int


class Numbers(BaseModel):
    numbers: list[int] = Field(min_length=1)
    label: str = ""


def _meet(params: Params) -> None:
    if params.touch is not None:
        touched = Path(params.touch)
        touched.with_suffix(".part").write_text(str(os.getpid()))
        touched.with_suffix(".part").rename(touched)  # whoever waits for it must not find it empty
    while params.wait_for is not None and not Path(params.wait_for).exists():
        time.sleep(0.01)


@task(name="write", owner_email=OWNER, workspace=WorkspaceSpec())
def write(workspace: Path, params: Params) -> Result:
    (workspace / "out.txt").write_text(params.text)
    _meet(params)
    return Result(length=len(params.text))


@task(name="replace_all", owner_email=OWNER, workspace=WorkspaceSpec(prefix="in"))
def replace_all(workspace: Path, params: Params) -> Result:
    (workspace / "a.txt").write_text("longer alpha")
    (workspace / "b.txt").unlink()
    (workspace / "new.txt").write_text(params.text)
    return Result(length=3)


@task(name="leave", owner_email=OWNER, workspace=WorkspaceSpec())
def leave(workspace: Path, params: Params) -> Result:
    return Result(length=len(list(workspace.iterdir())))


@task(name="read", owner_email=OWNER, workspace=WorkspaceSpec(prefix="in", read_only=True))
def read(workspace: Path, params: Params) -> Result:
    return Result(length=len((workspace / "a.txt").read_text()))


@task(name="write_in_vain", owner_email=OWNER, workspace=WorkspaceSpec(read_only=True, include=["*.csv"]))
def write_in_vain(workspace: Path, params: Params) -> Result:
    """Writes what is published nowhere."""
    (workspace / "new.csv").write_text(params.text)
    return Result(length=len(params.text))


@task(name="write_beside", owner_email=OWNER, workspace=WorkspaceSpec())
def write_beside(workspace: Path, params: Params) -> Result:
    """Writes where it runs, not where its workspace is; params.kind says what."""
    for name in params.kind.split():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(params.text)
    if params.touch:
        (workspace / params.touch).write_text(params.text)
    return Result(length=3)


@task(name="fail", owner_email=OWNER, workspace=WorkspaceSpec())
def fail(workspace: Path, params: Params) -> Result:
    (workspace / "half.txt").write_text("half done")
    match params.kind:
        case "terminal":
            raise TaskTerminalError("never again")
        case "exit":
            sys.exit(7)
        case "bug":
            raise ValueError("evil \x1b]0;title\x07 \x1b[2J bug,\non two lines")
        case "die":
            os._exit(9)
        case "link":
            (workspace / "link").symlink_to("half.txt")
        case "fifo":
            os.mkfifo(workspace / "pipe")
        case "kind":
            (workspace / "other.txt").unlink()
            (workspace / "other.txt").mkdir()
        case "result":
            return Result.model_construct(length="many")
        case _:
            raise TaskFailed("not today")
    return Result(length=0)


@task(name="fail_once", owner_email=OWNER, workspace=WorkspaceSpec())
def fail_once(workspace: Path, params: Params) -> Result:
    """Fails until the file that it makes outside is there."""
    marker = Path(params.touch or "")
    if not marker.exists():
        marker.write_text("")
        raise TaskFailed("the first time")
    return write.__perago_task__.fn(workspace, params.model_copy(update={"touch": None}))


@task(
    name="guarded",
    owner_email=OWNER,
    workspace=WorkspaceSpec(prefix="in", pre=[require_file("a.txt")], post=[forbid_glob("*.tmp")]),
)
def guarded(workspace: Path, params: Params) -> Result:
    (workspace / "left.tmp").write_text("")
    return Result(length=0)


@task(name="needs_more", owner_email=OWNER, workspace=WorkspaceSpec(pre=[require_file("missing.csv")]))
def needs_more(workspace: Path, params: Params) -> Result:
    raise AssertionError("the guard lets nobody in")


@task(name="add", owner_email=OWNER)
def add(params: Numbers) -> Sum:
    return Sum(total=sum(params.numbers))


@task(name="wait_free", owner_email=OWNER)
def wait_free(params: Params) -> Sum:
    _meet(params)
    return Sum(total=0)


@task(name="heed", owner_email=OWNER, workspace=WorkspaceSpec())
def heed(workspace: Path, params: Params, context: TaskContext) -> Result:
    """Looks whether it is cancelled, and says so outside."""
    Path(params.touch or "").write_text("")
    while not context.cancelled:
        time.sleep(0.01)
    Path(params.wait_for or "").write_text("heeded")
    context.raise_if_cancelled()
    return Result(length=0)


@task(name="count", owner_email=OWNER, workspace=WorkspaceSpec())
def count(workspace: Path, params: Params, context: TaskContext) -> Result:
    """Tells how far it is, logs, and prints."""
    for done in range(3):
        context.progress(done + 1, 3, f"step {done + 1}")
        time.sleep(0.15)
    context.logger.info("counted", steps=3)
    sys.stdout.write("printed by the body\n")
    return Result(length=3)


SHORT = PublishBudget(
    observed_merge_p99_seconds=1,
    safety_margin_seconds=0,
    lakefs_merge_timeout_seconds=1,
    conductor_completion_timeout_seconds=1,
    worker_shutdown_grace_seconds=1,
    heartbeat_interval_seconds=1,
)


@task(
    name="write-in-a-second", owner_email=OWNER, workspace=WorkspaceSpec(), controls=TaskControls(publish_budget=SHORT)
)
def write_in_a_second(workspace: Path, params: Params) -> Result:
    return write(workspace, params)


@task(name="leave_out", owner_email=OWNER, workspace=WorkspaceSpec(include=["*.txt"], exclude=["tmp"]))
def leave_out(workspace: Path, params: Params) -> Result:
    """Writes beside what it should, where nothing is kept."""
    for name in ("kept.txt", "report.json", "tmp/scratch.txt"):
        (workspace / name).parent.mkdir(exist_ok=True)
        (workspace / name).write_text(params.text)
    return Result(length=3)


@task(name="leave_a_thread", owner_email=OWNER, workspace=WorkspaceSpec())
def leave_a_thread(workspace: Path, params: Params) -> Result:
    """Returns while a thread of its own has not written yet."""
    threading.Thread(target=time.sleep, args=[600], name="daemon", daemon=True).start()

    def write_late() -> None:
        time.sleep(0.5)
        (workspace / "late.txt").write_text("written")

    threading.Thread(target=write_late, name="writer").start()
    ThreadPoolExecutor(1).submit(len, "done").result()  # and leaves a pool that has nothing to do
    return write(workspace, params)


@task(name="log_in", owner_email=OWNER, workspace=WorkspaceSpec())
def log_in(workspace: Path, params: Params, context: TaskContext) -> Result:
    """Tells its password, reports it as progress, and fails with it."""
    secret = params.password.get_secret_value()
    context.logger.warning("logged in with %s", secret, using=secret)
    context.progress(1, 2, f"using {secret}")
    raise ConnectionError(f"the server did not take {secret}")

"""Bodies that do to their process what programs do; the page "What a body may do" tells of each."""

from __future__ import annotations

import atexit
import dbm.dumb
import decimal
import gc
import hashlib
import locale
import logging
import mimetypes
import multiprocessing
import os
import pwd
import random
import resource
import shelve
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import warnings
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from perago import RetryPolicy, TaskControls, WorkspaceSpec, task

KEPT: list[Any] = []

ALARM_SECONDS = 4.0
"""More than the end of a process takes on a busy machine: the alarm would end it then, as it would any program."""


class Params(BaseModel):
    name: str = ""


class Result(BaseModel):
    value: Any = None


def row(function: Any) -> Any:
    controls = TaskControls(retry=RetryPolicy(count=0))
    return task(name=function.__name__, owner_email="t@example.org", workspace=WorkspaceSpec(), controls=controls)(
        function
    )


@row
def write_a_file(workspace: Path, params: Params) -> Result:
    (workspace / "written.txt").write_text("x" * 4000)
    return Result(value=(workspace / "written.txt").stat().st_mode & 0o777)


# ---------------------------------------------------------------- left open


@row
def leave_a_file_open(workspace: Path, params: Params) -> Result:
    file = (workspace / "open.txt").open("w")
    file.write("x" * 400)
    KEPT.append(file)
    return Result()


@row
def leave_a_file_open_elsewhere(workspace: Path, params: Params) -> Result:
    file = tempfile.TemporaryFile("w")  # noqa: SIM115 - left open
    file.write("x" * 400)
    KEPT.append(file)
    atexit.register(lambda: (workspace / "at_exit.txt").write_text("called"))
    return Result()


@row
def leave_a_database_open(workspace: Path, params: Params) -> Result:
    """In WAL mode: its table is in the database file when the last connection is closed."""
    database = sqlite3.connect(workspace / "kept.db")
    database.execute("pragma journal_mode=wal")
    database.execute("create table found (number)")
    database.execute("insert into found values (42)")
    database.commit()
    KEPT.append(database)
    return Result()


class Ring:
    """Refers to itself: only the collector ends it."""

    def __init__(self, held: Any) -> None:
        self.held, self.ring = held, self


RING = Ring(None)


@row
def leave_a_database_in_a_cycle(workspace: Path, params: Params) -> Result:
    gc.disable()
    database = sqlite3.connect(workspace / "kept.db")
    database.execute("pragma journal_mode=wal")
    database.execute("create table found (number)")
    database.commit()
    Ring(database)
    Ring((workspace / "ring.txt").open("w")).held.write("y" * 100)
    return Result()


@row
def leave_a_shelf_open(workspace: Path, params: Params) -> Result:
    """Its index is written when it is closed. No descriptor is open before."""
    shelf = shelve.Shelf(dbm.dumb.open(str(workspace / "shelf")))  # noqa: SIM115 - left open
    shelf["found"] = 42
    KEPT.append(shelf)
    return Result()


class WritesLast:
    """Writes when Python deletes it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __del__(self) -> None:
        self.path.write_text("deleted")


@row
def leave_what_writes_last(workspace: Path, params: Params) -> Result:
    """In a global; in a cycle of the body; in a cycle that the module made when it was loaded."""
    KEPT.append(WritesLast(workspace / "global.txt"))
    Ring(WritesLast(workspace / "body.txt"))
    RING.held = WritesLast(workspace / "module.txt")
    return Result()


@row
def leave_a_generator_suspended(workspace: Path, params: Params) -> Result:
    def write() -> Iterator[None]:
        try:
            yield
        finally:
            (workspace / "generator.txt").write_text("closed")

    suspended = write()
    next(suspended)
    KEPT.append(suspended)
    return Result()


@row
def write_at_exit(workspace: Path, params: Params) -> Result:
    atexit.register(lambda: (workspace / "at_exit.txt").write_text("called"))
    return Result()


@row
def leave_a_thread(workspace: Path, params: Params) -> Result:
    def write() -> None:
        time.sleep(0.2)
        (workspace / "thread.txt").write_text("written")

    threading.Thread(target=write).start()
    return Result()


@row
def leave_shared_memory(workspace: Path, params: Params) -> Result:
    KEPT.append(shared_memory.SharedMemory(name=params.name, create=True, size=100))
    return Result()


@row
def leave_without_stdout(workspace: Path, params: Params) -> Result:
    sys.stdout = None  # type: ignore[assignment]
    sys.stderr.close()
    return Result()


# ---------------------------------------------------------------- processes


def _square(number: int) -> int:
    return number * number


def _sleep() -> None:
    time.sleep(600)


def _report(queue: Any) -> None:
    queue.put([str(signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGCHLD)])


def _exit() -> None:
    sys.exit(7)


@row
def use_pools(workspace: Path, params: Params) -> Result:
    """Those of all start methods, of which one is left; children that are terminated, and that exit."""
    found: dict[str, Any] = {}
    for method in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context(method)
        with context.Pool(2) as pool:
            found[method] = pool.map(_square, range(5))
        terminated, exited = context.Process(target=_sleep), context.Process(target=_exit)
        terminated.start()
        exited.start()
        terminated.terminate()
        terminated.join()
        exited.join()
        found[f"{method} codes"] = [terminated.exitcode, exited.exitcode]
    queue = multiprocessing.SimpleQueue()
    child = multiprocessing.get_context("fork").Process(target=_report, args=[queue])
    child.start()
    found["handlers"] = queue.get()
    child.join()
    left = multiprocessing.Pool(2)
    found["left"] = left.map(_square, range(3))
    KEPT.append(left)
    return Result(value=found)


@row
def fork_from_threads(workspace: Path, params: Params) -> Result:
    codes: dict[str, int] = {}

    def fork(name: str) -> None:
        child = os.fork()
        if child == 0:
            (workspace / f"{name}.txt").write_text(name)
            if name == "killed":
                os.kill(os.getpid(), signal.SIGTERM)
            sys.exit(7 if name == "exits" else None)
        codes[name] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    threads = [threading.Thread(target=fork, args=[name]) for name in ("ends", "exits", "killed")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Result(value=dict(sorted(codes.items())))


@row
def ignore_children(workspace: Path, params: Params) -> Result:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    return Result()


@row
def run_what_fails(workspace: Path, params: Params) -> Result:
    try:
        subprocess.run([sys.executable, "-c", "exit(3)"], check=True)
    except subprocess.CalledProcessError as exc:
        return Result(value=exc.returncode)
    return Result(value="succeeded")


# ---------------------------------------------------------------- the process itself


@row
def limit_file_sizes(workspace: Path, params: Params) -> Result:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    (workspace / "small.txt").write_text("x" * 400)
    return Result()


@row
def take_all_modes(workspace: Path, params: Params) -> Result:
    (workspace / "before.txt").write_text("x")
    os.umask(0o777)
    return Result()


@row
def set_an_alarm(workspace: Path, params: Params) -> Result:
    def ring(*_: object) -> None:
        raise TimeoutError("the alarm")

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, ALARM_SECONDS)
    return Result()


@row
def sleep_over_the_alarm(workspace: Path, params: Params) -> Result:
    time.sleep(ALARM_SECONDS + 0.5)
    return Result(value="slept")


@row
def change_everything(workspace: Path, params: Params) -> Result:
    """Says what it finds, and leaves something else."""
    found = [
        multiprocessing.get_start_method(allow_none=True),
        time.tzname[0],
        os.nice(0),
        locale.setlocale(locale.LC_ALL),
        decimal.getcontext().prec,
        len(warnings.filters),
        socket.getdefaulttimeout(),
        os.environ.get("LEFT_BEHIND"),
        sys.getrecursionlimit(),
    ]
    multiprocessing.set_start_method("spawn")
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()
    os.nice(1)
    locale.setlocale(locale.LC_ALL, "C.UTF-8")
    decimal.getcontext().prec = 5
    warnings.simplefilter("error")
    socket.setdefaulttimeout(1)
    os.environ["LEFT_BEHIND"] = "yes"
    sys.setrecursionlimit(500)
    os.chdir("/")
    return Result(value=found)


@row
def log_to_a_file(workspace: Path, params: Params) -> Result:
    logging.basicConfig(filename=workspace / "log.txt", level=logging.INFO, format="%(levelname)s %(message)s")
    logging.getLogger("app").info("one line")
    return Result()


@row
def raise_much(workspace: Path, params: Params) -> Result:
    raise ValueError("x" * 50_000_000)


@row
def draw(workspace: Path, params: Params) -> Result:
    return Result(value=random.random())


@row
def wait_to_be_looked_at(workspace: Path, params: Params) -> Result:
    """Until the file that tells of it is removed."""
    mark = hashlib.sha256(b"a mark").hexdigest()
    told = Path(params.name)
    told.write_text(f"{os.getpid()}\n")
    while told.exists():
        time.sleep(0.01)
    return Result(value=len(mark))


@row
def crash_at_the_end(workspace: Path, params: Params) -> Result:
    (workspace / "half.txt").write_text("half")
    atexit.register(os.kill, os.getpid(), signal.SIGSEGV)
    return Result()


@row
def exit_at_the_end(workspace: Path, params: Params) -> Result:
    (workspace / "half.txt").write_text("half")
    atexit.register(os._exit, 3)
    return Result()


@row
def die(workspace: Path, params: Params) -> Result:
    match params.name:
        case "exit":
            os._exit(3)
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "memory":
            os.kill(os.getpid(), signal.SIGKILL)
    return Result()


@task(
    name="begin_afresh",
    owner_email="t@example.org",
    workspace=WorkspaceSpec(),
    controls=TaskControls(body_start="spawn"),
)
def begin_afresh(workspace: Path, params: Params) -> Result:
    """Says which program its process was started with."""
    return Result(value=Path("/proc/self/cmdline").read_text().split("\0")[2])


@row
def begin_as_set(workspace: Path, params: Params) -> Result:
    return Result(value=Path("/proc/self/cmdline").read_text().split("\0")[2])


# ---------------------------------------------------------------- programs, places and times


@row
def use_git(workspace: Path, params: Params) -> Result:
    """In the temporary directory: a repository in the workspace would be published."""
    with tempfile.TemporaryDirectory() as directory:

        def git(*words: str) -> str:
            done = subprocess.run(["git", *words], cwd=directory, capture_output=True, text=True, check=True)
            return done.stdout.strip()

        git("init", "--quiet", "--initial-branch=main")
        Path(directory, "a.txt").write_text("a")
        git("add", ".")
        git("-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "--quiet", "-m", "one")
        return Result(value=[git("log", "--format=%s"), git("status", "--porcelain")])


@row
def use_a_compiler(workspace: Path, params: Params) -> Result:
    """None where there is none."""
    compiler = shutil.which("cc")
    if compiler is None:
        return Result()
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "a.c").write_text('#include <stdio.h>\nint main(void) { puts("compiled"); return 0; }\n')
        subprocess.run([compiler, "a.c", "-o", "a"], cwd=directory, capture_output=True, check=True)
        done = subprocess.run([Path(directory, "a")], capture_output=True, text=True, check=True)
    return Result(value=done.stdout)


@row
def use_locales(workspace: Path, params: Params) -> Result:
    found = {}
    for name in ("C.UTF-8", "de_DE.UTF-8", "C"):
        try:
            found[name] = locale.setlocale(locale.LC_ALL, name)
        except locale.Error:
            found[name] = "not on this host"
    listed = subprocess.run(["locale", "-a"], capture_output=True, text=True, check=True).stdout
    return Result(value=[found, listed])


@row
def use_time_zones(workspace: Path, params: Params) -> Result:
    moment = datetime(2026, 11, 29, 12, tzinfo=UTC)
    zones = ("Europe/Berlin", "Asia/Tokyo", "America/New_York")
    found = [str(moment.astimezone(zoneinfo.ZoneInfo(name))) for name in zones]
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()
    date = subprocess.run(
        ["date", "-d", "@0"], capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C"}
    )
    return Result(value=[found, time.localtime(0).tm_hour, date.stdout])


@row
def look_up_users(workspace: Path, params: Params) -> Result:
    return Result(
        value=[pwd.getpwuid(os.getuid()).pw_name, socket.gethostbyname("localhost"), mimetypes.guess_type("a.csv")]
    )

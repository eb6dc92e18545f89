"""A process in the middle of something; there it kills itself, or waits for a line on stdin.

usage: program_busy.py kill|wait WHAT PATH
"""

import fcntl
import os
import signal
import sys
from pathlib import Path

from perago.engines.local import LocalEngine
from perago.ports import SystemClock
from perago.stores.git.locks import Patience, hold
from perago.stores.git.repository import BareRepository
from perago.values.models import RuntimeTaskResult

HOW, WHAT, PATH = sys.argv[1], sys.argv[2], Path(sys.argv[3])


def halt(*_arguments: object) -> None:
    os.write(2, b"halted\n")
    if HOW == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    os.read(0, 1)


def move_reference() -> None:
    """PATH: of a repository."""
    lock = "refs/heads/main.lock"
    with hold(BareRepository(PATH), Patience(), SystemClock()) as held, held.moving((lock,), "0" * 40):
        (PATH / lock).touch()
        halt()
        (PATH / lock).unlink()


def keep_open() -> None:
    """PATH: of a file, made if it is not there."""
    with PATH.open("a"):
        halt()


def lock_file() -> None:
    with PATH.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        halt()


def begin_run() -> None:
    """PATH: of a directory of runs."""
    PATH.mkdir(parents=True)
    os.fsync = halt
    LocalEngine(PATH).start_run(target="t", task_name="t", input_data={})


def end_run() -> None:
    engine = LocalEngine(PATH)
    run = engine.start_run(target="t", task_name="t", input_data={})
    os.fsync = halt
    with run:
        engine.report_result(run.attempt, RuntimeTaskResult("COMPLETED", output={"result": {}}))


globals()[WHAT]()

"""Entry of an executor and its zygote: `python -m perago.worker.executor.zygote <channel> <control>`.

The process that is started so becomes their reaper. The zygote reads what is to be loaded; all that comes over the
channel after that, the key to the store too, is read by the executor alone. It is forked from the zygote, too, but
where the modules have started threads: there it loads them itself (`executor_fresh`).
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import perago
from perago.worker.body.zygote import run_zygote
from perago.worker.process.reaper import die_with, run_under_reaper
from perago.worker.process.zygote import has_threads

if TYPE_CHECKING:
    from perago.tasks.declare import TaskDefinition


FRESH = "perago.worker.executor.fresh"


def serve_supervisor(
    zygote: int, channel: socket.socket, orders: socket.socket, tasks: Mapping[str, TaskDefinition] | None
) -> NoReturn:
    """Be the executor of a zygote, and end with it."""
    exit_code = 1
    try:
        die_with(zygote)
        from perago.worker.executor.main import run_executor

        run_executor(channel, orders, tasks)
        exit_code = 0
    except BaseException:  # noqa: BLE001 - as Python would tell it
        traceback.print_exc()
    finally:
        os._exit(exit_code)  # what modules have registered for a program's end is for those that run bodies


def _run_executor(channel: socket.socket) -> None:
    orders, far_orders = socket.socketpair()

    def start_executor(tasks: Mapping[str, TaskDefinition] | None) -> int:
        zygote = os.getpid()
        executor = _spawn(channel, orders) if has_threads() else os.fork()
        if executor == 0:
            far_orders.close()
            serve_supervisor(zygote, channel, orders, tasks)
        orders.close()
        return executor

    run_zygote(channel, far_orders, start_executor)


def _spawn(channel: socket.socket, orders: socket.socket) -> int:
    handles = (channel.fileno(), orders.fileno())
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-m", FRESH, *map(str, handles)], cwd=Path(perago.__file__).parent.parent, pass_fds=handles
    )
    process.returncode = 0  # it is collected with all other children
    return process.pid


if __name__ == "__main__":
    channel_handle, control_handle = map(int, sys.argv[1:3])
    run_under_reaper(channel_handle, control_handle, _run_executor)

"""Entry of an executor and its zygote: `python -m perago.worker.executor.zygote <channel> <control>`.

The started process becomes their reaper. The zygote reads the order to load modules; everything after that on the
channel, including the store's key, is read only by the executor. The executor is forked from the zygote, unless the
modules have started threads: then it loads them itself (`executor.fresh`).
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, NoReturn

from perago.worker.body.zygote import run_zygote
from perago.worker.process.reaper import die_with, run_under_reaper
from perago.worker.process.zygote import SOURCES, has_threads

if TYPE_CHECKING:
    from perago.tasks.declare import TaskDefinition


FRESH = "perago.worker.executor.fresh"


def serve_supervisor(
    zygote: int, channel: socket.socket, orders: socket.socket, tasks: Mapping[str, TaskDefinition] | None
) -> NoReturn:
    """Run as the executor of a zygote, and end with it."""
    exit_code = 1
    try:
        die_with(zygote)
        from perago.worker.executor.main import run_executor

        run_executor(channel, orders, tasks)
        exit_code = 0
    except BaseException:  # noqa: BLE001 - printed as Python would
        traceback.print_exc()
    finally:
        os._exit(exit_code)  # atexit functions of modules are for processes that run bodies


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
    process = subprocess.Popen(  # noqa: S603 - this interpreter and a module of Perago
        [sys.executable, "-m", FRESH, *map(str, handles)], cwd=SOURCES, pass_fds=handles
    )
    process.returncode = 0  # collected with all other children
    return process.pid


if __name__ == "__main__":
    channel_handle, control_handle = map(int, sys.argv[1:3])
    run_under_reaper(channel_handle, control_handle, _run_executor)

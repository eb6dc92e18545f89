"""Entry of an executor and its zygote: `python -m perago.worker.executor_child <channel> <control>`.

The process that is started so becomes their reaper. The zygote reads what is to be loaded; all that comes over the
channel after that, the key to the store too, is read by the executor alone, which it forks.
"""

from __future__ import annotations

import os
import socket
import sys
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING

from perago.worker.body.zygote import run_zygote
from perago.worker.process.reaper import die_with, run_under_reaper

if TYPE_CHECKING:
    from perago.tasks.declare import TaskDefinition


def _run_executor(channel: socket.socket) -> None:
    orders, far_orders = socket.socketpair()

    def start_executor(tasks: Mapping[str, TaskDefinition] | None) -> int:
        zygote = os.getpid()
        executor = os.fork()
        if executor == 0:
            exit_code = 1
            try:
                die_with(zygote)
                far_orders.close()
                from perago.worker.executor_main import run_executor

                run_executor(channel, orders, tasks)
                exit_code = 0
            except BaseException:  # noqa: BLE001 - as Python would tell it
                traceback.print_exc()
            finally:
                os._exit(exit_code)  # what modules have registered for a program's end is for those that run bodies
        orders.close()
        return executor

    run_zygote(channel, far_orders, start_executor)


if __name__ == "__main__":
    channel_handle, control_handle = map(int, sys.argv[1:3])
    run_under_reaper(channel_handle, control_handle, _run_executor)

"""Entry of an executor: `python -m perago.worker.executor_child <channel> <control>`, started by `child_process`."""

from __future__ import annotations

import socket
import sys

from perago.worker.under_reaper import run_under_reaper


def _run_executor(channel: socket.socket) -> None:
    from perago.worker.executor_main import run_executor

    run_executor(channel)


if __name__ == "__main__":
    channel_handle, control_handle = map(int, sys.argv[1:3])
    run_under_reaper(channel_handle, control_handle, _run_executor)

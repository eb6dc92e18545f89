"""Entry of a body's process: `python -m perago.worker.body_child <channel> <control>`, started by `child_process`."""

from __future__ import annotations

import socket
import sys

from perago.worker.under_reaper import run_under_reaper


def _run_body(channel: socket.socket) -> None:
    from perago.worker.body_main import run_body

    run_body(channel)


if __name__ == "__main__":
    channel_handle, control_handle = map(int, sys.argv[1:3])
    run_under_reaper(channel_handle, control_handle, _run_body)

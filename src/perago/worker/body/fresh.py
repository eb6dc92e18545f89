"""Entry of a body's process in a fresh interpreter: `python -m perago.worker.body.fresh <channel> <cancel flag>`."""

from __future__ import annotations

import os
import sys

from perago.worker.process.reaper import die_with, own_socket
from perago.worker.process.shared_flag import SharedFlag

if __name__ == "__main__":
    die_with(os.getppid())
    from perago.worker.body.main import run_body

    channel_handle, flag_handle = map(int, sys.argv[1:3])
    os.set_inheritable(flag_handle, False)
    run_body(own_socket(channel_handle), SharedFlag(flag_handle))

"""Entry of an executor in a fresh interpreter: `python -m perago.worker.executor.fresh <channel> <orders>`."""

from __future__ import annotations

import os
import sys

from perago.worker.executor.zygote import serve_supervisor
from perago.worker.process.reaper import own_socket

if __name__ == "__main__":
    channel, orders = (own_socket(int(handle)) for handle in sys.argv[1:3])
    serve_supervisor(os.getppid(), channel, orders, None)

"""A process that waits for its turn, prints `in`, and keeps the turn until it is sent a line.

usage: program_queue.py DIRECTORY BRANCH
"""

from __future__ import annotations

import sys
from pathlib import Path

from perago.values.models import WorkspaceInput
from perago.workspace.queue import HostQueue

directory, branch = sys.argv[1:]
target = WorkspaceInput(repository="data", branch=branch, refType="commit", ref="A")
with HostQueue(Path(directory), "http://lakefs", is_server=True)(target, bool):
    print("in", flush=True)
    sys.stdin.readline()

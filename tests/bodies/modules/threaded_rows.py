"""A module that starts a thread when it is loaded: a fork would not have it."""

from __future__ import annotations

import queue
import threading
from pathlib import Path

from plain_rows import Params, Result

from perago import WorkspaceSpec, task

ASKED: queue.SimpleQueue[queue.SimpleQueue[str]] = queue.SimpleQueue()


def _answer() -> None:
    while True:
        ASKED.get().put("answered")


threading.Thread(target=_answer, daemon=True).start()


@task(name="ask_the_thread", owner_email="t@example.org", workspace=WorkspaceSpec())
def ask_the_thread(workspace: Path, params: Params) -> Result:
    answer: queue.SimpleQueue[str] = queue.SimpleQueue()
    ASKED.put(answer)
    return Result(value=answer.get(timeout=5))

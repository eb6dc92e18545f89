"""A module that starts a thread when it is loaded: a fork would not have it."""

from __future__ import annotations

import _thread
import queue
from pathlib import Path

from plain_rows import Params, Result

from perago import WorkspaceSpec, task

ASKED: queue.SimpleQueue[queue.SimpleQueue[str]] = queue.SimpleQueue()


def _answer() -> None:
    while True:
        ASKED.get().put("answered")


_thread.start_new_thread(_answer, ())  # one that `threading` does not know, as those of libraries in C


@task(name="ask_the_thread", owner_email="t@example.org", workspace=WorkspaceSpec())
def ask_the_thread(workspace: Path, params: Params) -> Result:
    return Result(value=_ask())


@task(name="ask_the_thread_without_a_workspace", owner_email="t@example.org")
def ask_the_thread_without_a_workspace(params: Params) -> Result:
    return Result(value=_ask())


def _ask() -> str:
    answer: queue.SimpleQueue[str] = queue.SimpleQueue()
    ASKED.put(answer)
    return answer.get(timeout=5)

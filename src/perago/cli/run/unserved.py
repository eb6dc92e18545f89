"""Tasks that wait on the Conductor server because no worker asks for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from perago.engines.conductor import ConductorWorkflow
from perago.values.record import CAME_TO_NOTHING, TryStatus

SECONDS = 3.0
"""A task that no worker asks for in this time has no worker. A worker asks several times a second for each of its
tasks, unless all its slots are busy."""

LOOK_SECONDS = 0.25
"""Between two looks before a retry."""

_SUB_WORKFLOW = "SUB_WORKFLOW"
"""The kind of a task that the server runs itself."""

Queue = tuple[str, str | None]
"""A task's name, and the domain of the workers that may take it."""


class Unserved:
    """Finds the queues that no worker asks for.

    Args:
        last_poll: when a worker last asked for tasks of a queue, by the server's clock; None for never.
    """

    def __init__(self, last_poll: Callable[[Queue], int | None]) -> None:
        self._last_poll = last_poll
        self._seen: dict[Queue, tuple[float, int | None]] = {}
        self._told: set[Queue] = set()

    def look(self, waiting: Iterable[Queue], now: float) -> list[Queue]:
        """The queues that have waited for `SECONDS` without a poll; each is given once.

        Two polls are compared, because the server's clock may differ from this one.

        Args:
            waiting: queues with a task that no worker has.
            now: monotonic seconds.
        """
        queues = set(waiting)
        self._seen = {queue: seen for queue, seen in self._seen.items() if queue in queues}
        found = []
        for queue in sorted(queues - self._told, key=str):
            since, before = self._seen.get(queue, (now, None))
            if queue in self._seen and now - since < SECONDS:
                continue
            polled = self._last_poll(queue)
            if queue in self._seen and polled == before:
                found.append(queue)
            self._seen[queue] = (now, polled)
        self._told.update(found)
        return found


def waiting_in(workflow: ConductorWorkflow) -> set[Queue]:
    """The queues in which tasks of a workflow wait for a worker."""
    return {
        (task.task_name, task.domain)
        for task in workflow.tasks
        if task.status == TryStatus.SCHEDULED and task.kind != _SUB_WORKFLOW
    }


def to_retry_in(workflow: ConductorWorkflow) -> set[Queue]:
    """The queues that a retry of a workflow puts tasks into."""
    last = {task.reference_task_name: task for task in workflow.tasks}
    return {
        (task.task_name, task.domain)
        for task in last.values()
        if task.status in CAME_TO_NOTHING and task.kind != _SUB_WORKFLOW
    }


def warning_for(queue: Queue, command: str) -> str:
    """A warning that names the command which would serve a queue."""
    name, domain = queue
    where = "" if domain is None else f" of domain {domain!r}"
    option = "" if domain is None else f" --domain {domain}"
    return (
        f"warning: no worker{where} asks for task {name!r}. Start a worker with `{command}{option}`. If one "
        f"is running, its slots are all busy, and the task waits for a free one"
    )


def unserved_now(last_poll: Callable[[Queue], int | None], queues: Iterable[Queue]) -> list[Queue]:
    """The queues that no worker asks for. Takes `SECONDS` only if there are some."""
    before, deadline = {queue: last_poll(queue) for queue in queues}, time.monotonic() + SECONDS
    while before and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
        before = {queue: polled for queue, polled in before.items() if last_poll(queue) == polled}
    return sorted(before, key=str)

"""The process that has loaded the modules of tasks and starts their bodies.

Entry for `perago run`: `python -m perago.worker.body.zygote <channel> <control> <orders>`.
"""

from __future__ import annotations

import gc
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

from perago.worker.process.reaper import own_socket, run_under_reaper

if TYPE_CHECKING:
    from perago.tasks.declare import TaskDefinition

FRESH = "perago.worker.body.fresh"


def run_zygote(
    channel: socket.socket,
    orders: socket.socket,
    start_companion: Callable[[Mapping[str, TaskDefinition] | None], int] | None = None,
) -> None:
    """Load the modules that the channel names, and start bodies on order.

    Forked bodies return from here, and end as Python does.

    Args:
        start_companion: starts a child that sends the orders, and returns its id. It gets the tasks by name, or None if
            they are not loaded here.
    """
    from perago.tasks.caching import read_code
    from perago.worker.body.confinement import common_access, handed_over, system_access
    from perago.worker.body.main import Randomness, adopt_path, load, run_body
    from perago.worker.process.messages import Load, read_message
    from perago.worker.process.outbox import Outbox, failure_of
    from perago.worker.process.shared_flag import SharedFlag
    from perago.worker.process.zygote import serve

    order = Load.model_validate(read_message(channel))
    randomness = Randomness()
    tasks, confines = None, True  # which is not known before the modules are loaded
    if order.start == "fork":
        outbox = Outbox(channel)
        try:
            with randomness.noting_seeds():
                adopt_path(order)
                tasks = load(order, outbox)
        except BaseException as exc:  # noqa: BLE001 - a module may raise anything; the caller reports it
            outbox.send(failure_of(exc, "the process received SIGTERM while it was loading modules"))
            return
        confines = order.confines or not all(task.sandbox.is_off("off") for task in tasks.values())
        if confines:
            common_access(frozenset(order.targets), None)  # as its forks will ask
        read_code(tasks.values())
        if any(task.is_async for task in tasks.values()):
            import asyncio  # noqa: F401 - otherwise each fork would import it
        gc.collect()
        gc.freeze()  # a collection in a fork would only copy these objects
    companion = None if start_companion is None else start_companion(tasks)
    cancelled = SharedFlag()
    channel.close()
    with ExitStack() as stack:
        handed = [stack.enter_context(handed_over(system_access()))] if confines else []
        may_fork = tasks is not None
        body_channel = serve(orders, cancelled, FRESH, may_fork=may_fork, handed=handed, companion=companion)
    randomness.begin_fork()
    try:
        run_body(body_channel, cancelled, tasks)
    finally:
        gc.unfreeze()  # the last collection must see these objects, too


def _run(channel: socket.socket) -> None:
    run_zygote(channel, own_socket(int(sys.argv[3])))


if __name__ == "__main__":
    run_under_reaper(int(sys.argv[1]), int(sys.argv[2]), _run)

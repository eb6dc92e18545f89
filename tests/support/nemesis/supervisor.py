"""Has a supervisor heed orders of a nemesis: at its polls and reports, and where a task comes along with a report."""

from __future__ import annotations

import time

from nemesis import hook
from perago.engines.conductor import ConductorEngine
from perago.ports import ignore
from perago.worker.supervisor.delivery import Delivery

POLL_PAUSE_SECONDS = 0.05
"""Besides the worker's own: hosts that only poll would take a core from those that work."""


def heed_orders():
    poll, take, begin = ConductorEngine.poll, ConductorEngine.report_and_take, Delivery.__init__

    def polling(self, *arguments, **options):
        time.sleep(POLL_PAUSE_SECONDS)
        hook.boundary("poll", "started")
        found = poll(self, *arguments, **options)
        hook.polled()
        if found:
            hook.boundary("poll", "completed", task=found[0].task_id)
        return found

    def taking(self, attempt, result):
        hook.boundary("take", "started", task=attempt.task_id)
        taken = take(self, attempt, result)
        if taken is not None:
            hook.boundary("take", "completed", task=taken.task_id)
        return taken

    def beginning(self, *arguments, observer=ignore, **options):
        def telling(event):
            hook.boundary(event.phase.value, event.kind, task=event.task_id, execution=event.execution_id)
            observer(event)

        begin(self, *arguments, observer=telling, **options)

    ConductorEngine.poll = polling
    ConductorEngine.report_and_take = taking
    Delivery.__init__ = beginning

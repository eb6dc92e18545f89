"""`perago start`, whose supervisor heeds orders of a nemesis at its polls and reports.

usage: program_host.py ARGUMENTS…
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import nemesis_hook

from perago.cli.app import invoke
from perago.engines.conductor import ConductorEngine
from perago.worker.supervisor import Supervisor


def heed_orders() -> None:
    poll, tell_report = ConductorEngine.poll, Supervisor._tell_report

    def polling(self, *arguments, **options):
        nemesis_hook.boundary("poll", "started")
        found = poll(self, *arguments, **options)
        if found:
            nemesis_hook.boundary("poll", "completed", task=found[0].task_id)
        return found

    def telling(self, event):
        nemesis_hook.boundary(event.phase.value, event.kind, task=event.task_id, execution=event.execution_id)
        tell_report(self, event)

    ConductorEngine.poll = polling
    Supervisor._tell_report = telling


os.environ[nemesis_hook.SUPERVISOR_VARIABLE] = str(os.getpid())
heed_orders()
sys.exit(invoke(sys.argv[1:]))

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
from perago.ports import ignore
from perago.worker.delivery import Delivery


def heed_orders() -> None:
    poll, begin = ConductorEngine.poll, Delivery.__init__

    def polling(self, *arguments, **options):
        nemesis_hook.boundary("poll", "started")
        found = poll(self, *arguments, **options)
        if found:
            nemesis_hook.boundary("poll", "completed", task=found[0].task_id)
        return found

    def beginning(self, *arguments, observer=ignore, **options):
        def telling(event):
            nemesis_hook.boundary(event.phase.value, event.kind, task=event.task_id, execution=event.execution_id)
            observer(event)

        begin(self, *arguments, observer=telling, **options)

    ConductorEngine.poll = polling
    Delivery.__init__ = beginning


os.environ[nemesis_hook.SUPERVISOR_VARIABLE] = str(os.getpid())
heed_orders()
sys.exit(invoke(sys.argv[1:]))

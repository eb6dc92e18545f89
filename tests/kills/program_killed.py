"""`perago`, killed at a boundary of its phases.

usage: program_killed.py BOUNDARY ARGUMENTS…
BOUNDARY is `<phase>.<started, completed or failed>`, or a number: the n-th that it comes to. Before it goes it says on
stderr where: `killed at <boundary>`. If it comes to no such boundary it ends as `perago` does.
"""

import itertools
import os
import signal
import sys

from perago.cli.app import invoke
from perago.ports import Event
from perago.running import watch


def main() -> None:
    wanted, arguments = sys.argv[1], sys.argv[2:]
    boundaries = itertools.count(1)
    original = watch.RunObserver.__call__

    def killing(self: watch.RunObserver, event: Event, /) -> None:
        boundary = f"{event.phase}.{event.kind}"
        if event.kind != "progress" and wanted in (boundary, str(next(boundaries))):
            os.write(2, f"killed at {boundary}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)
        original(self, event)

    watch.RunObserver.__call__ = killing
    sys.exit(invoke(arguments))


main()

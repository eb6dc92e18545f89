"""`perago`, killed at a boundary of its phases.

usage: program_killed.py BOUNDARY ARGUMENTS…
BOUNDARY is `<phase>.<started, completed or failed>`, or a number: the n-th that it comes to. `warm.<number>` is the
n-th call that changes a file while a workspace is claimed, left for later attempts, or removed. Before it goes it says
on stderr where: `killed at <boundary>`. If it comes to no such boundary it ends as `perago` does.
"""

import itertools
import os
import signal
import sys

from perago.cli.app import invoke
from perago.ports import Event
from perago.running import watch
from warm_kills import kill_in_warm

WARM = "warm."


def tell(boundary: str) -> None:
    os.write(2, f"killed at {boundary}\n".encode())


def main() -> None:
    wanted, arguments = sys.argv[1], sys.argv[2:]
    if wanted.startswith(WARM):
        calls = itertools.count(1)

        def is_due(what: str) -> bool:
            due = next(calls) == int(wanted.removeprefix(WARM))
            if due:
                tell(WARM + what)
            return due

        kill_in_warm(is_due)
        sys.exit(invoke(arguments))
    boundaries = itertools.count(1)
    original = watch.RunObserver.__call__

    def killing(self: watch.RunObserver, event: Event, /) -> None:
        boundary = f"{event.phase}.{event.kind}"
        if event.kind != "progress" and wanted in (boundary, str(next(boundaries))):
            tell(boundary)
            os.kill(os.getpid(), signal.SIGKILL)
        original(self, event)

    watch.RunObserver.__call__ = killing
    sys.exit(invoke(arguments))


main()

"""`perago` that stops at a boundary of its phases, for good or for a while.

usage: program_halted.py kill|wait BOUNDARY ARGUMENTS…
BOUNDARY is `<phase>.<started, progress, completed or failed>`; of progress it is the one after the last file, because a
slow machine tells of others before. There it says `halted` on stderr; then it kills itself, or waits for a line on
stdin.
"""

import os
import signal
import sys

from perago.cli.app import invoke
from perago.ports import Event
from perago.running import watch


def main() -> None:
    how, wanted, arguments = sys.argv[1], sys.argv[2], sys.argv[3:]
    original = watch.RunObserver.__call__
    halted = []

    def halting(self: watch.RunObserver, event: Event, /) -> None:
        is_whole = event.kind != "progress" or event.attributes["files"] == event.attributes["total_files"]
        if f"{event.phase}.{event.kind}" == wanted and is_whole and not halted:
            halted.append(event)
            os.write(2, b"halted\n")
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            os.read(0, 1)
        original(self, event)

    watch.RunObserver.__call__ = halting
    sys.exit(invoke(arguments))


main()

"""Attempts on one commit at once, each in a process, as in the slots of a worker, whose workspaces stay or do not.

usage: python -m benchmarks.warm.program_slots STORE DIRECTORY on|off SLOTS ROUNDS
STORE is that of `program_attempts`. It prints for each round the seconds from the begin of the first attempt to the end
of the last one, as a list in JSON. On lakeFS an attempt before fills the host's cache.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path

from benchmarks.warm.program_attempts import attempt, opened
from benchmarks.warm.steps import look
from perago.attempt.context import RunContext
from perago.engines.local import LocalEngine
from perago.ports import ignore
from perago.workspace.warm.place import WarmPlace

END_SECONDS = 300.0
FORK = multiprocessing.get_context("fork")


def main() -> None:
    """Run them and print the results."""
    place, directory, stays, slots, rounds = sys.argv[1:]
    here = Path(directory)
    _at_once(place, here / "before", "off", 1, 1)
    print(json.dumps(_at_once(place, here / "root", stays, int(slots), int(rounds))))


def _at_once(place: str, root: Path, stays: str, slots: int, rounds: int) -> list[float]:
    """Seconds of each round."""
    together, begun = FORK.Barrier(slots), []
    for number in range(slots):
        receiver, sender = FORK.Pipe(duplex=False)
        process = FORK.Process(target=_slot, args=(place, root, number, stays, rounds, together, sender))
        process.start()
        sender.close()  # so that the end of the process ends the wait for it
        begun.append((process, receiver))
    times = [receiver.recv() for _, receiver in begun]
    for process, _ in begun:
        process.join(END_SECONDS)
    return [max(end for _, end in each) - min(begin for begin, _ in each) for each in zip(*times, strict=True)]


def _slot(place: str, root: Path, number: int, stays: str, rounds: int, together: Barrier, sender: Connection) -> None:
    """Run attempts, and send when each began and ended."""
    times = []
    with opened(place, root.parent, ignore) as store, WarmPlace() as warm:
        engine = LocalEngine(root.parent / f"runs-{number}")
        for _ in range(rounds):
            together.wait(END_SECONDS)
            began = time.perf_counter()
            attempt(look, store, engine, root, RunContext(observer=ignore, warm=warm if stays == "on" else None), {})
            times.append((began, time.perf_counter()))
    sender.send(times)


if __name__ == "__main__":
    main()

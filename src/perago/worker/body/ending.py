"""The end of a body's process, as Python ends: what a body left open is written, what it registered is called.

A full end of the interpreter takes time (0.1 s with pandas loaded) for what nobody would notice: so it is cut short
where the body has left nothing open.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
import threading
from contextlib import suppress

from perago.attempt.open_files import open_descriptors

STDOUT_NOT_WRITTEN = 120
"""Exit code of a Python that could not write the rest of its stdout: whoever was to read that has gone."""


def waiting_threads() -> list[str]:
    """The names of the threads that Python waits for at its end, those of pools that end by themselves left out."""
    return [
        thread.name
        for thread in threading.enumerate()
        if not thread.daemon and thread is not threading.main_thread() and "ExecutorManagerThread" not in thread.name
    ]


def end_process(opened_before: frozenset[tuple[int, str]] | None) -> None:
    """Do what Python does when a program ends; returns where the interpreter has to end in full for that.

    Args:
        opened_before: what the process had open before the body began; None: not known.
    """
    threading._shutdown()  # type: ignore[attr-defined] # noqa: SLF001 - as the interpreter itself calls it
    atexit._run_exitfuncs()  # noqa: SLF001 - the same
    gc.collect()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # closed, or set to None by the body; or nobody reads
            stream.flush()
    opened = open_descriptors()
    if opened is not None and opened_before is not None and opened <= opened_before:
        os._exit(0)
    gc.unfreeze()  # so that the last collection sees what was there when the process was forked

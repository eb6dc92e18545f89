"""Runs a program and measures its time, and the CPU and memory of it and its children by the kernel."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_BYTES = 1 if sys.platform == "darwin" else 1024
"""Unit of `ru_maxrss` in bytes."""


@dataclass(frozen=True)
class Usage:
    """Resources used by a program, including the children that it waited for.

    Attributes:
        seconds: wall clock time.
        cpu_seconds: in user and kernel mode.
        peak_bytes: peak memory of its largest process. On Linux at least that of this process, because the kernel
            counts from the fork.
        output: its output.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    output: str = ""

    def __add__(self, other: Usage) -> Usage:
        """One program after the other."""
        return Usage(
            self.seconds + other.seconds,
            self.cpu_seconds + other.cpu_seconds,
            max(self.peak_bytes, other.peak_bytes),
            self.output + other.output,
        )


def run(command: Sequence[str | Path], *, environment: Mapping[str, str], directory: Path) -> Usage:
    """Run a program to its end.

    Raises:
        RuntimeError: it failed; with its output.
    """
    # Into files, because a program that waits for a full pipe would be measured waiting.
    out_path, err_path = directory / "stdout", directory / "stderr"
    with out_path.open("wb") as out, err_path.open("wb") as err:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, env=environment, cwd=directory, stdin=subprocess.DEVNULL, stdout=out, stderr=err
        )
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))} failed: {err_path.read_text()}")
    return Usage(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * _BYTES, out_path.read_text())


def settle() -> None:
    """Let the kernel write out what earlier programs left to it, so that nobody pays for another."""
    os.sync()

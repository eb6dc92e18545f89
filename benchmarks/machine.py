"""On what was measured: versions and the kind of machine, and nothing that names one."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path


def describe(directory: Path) -> dict[str, str]:
    """What matters for the figures; `directory` is where was measured."""
    return {
        "Perago": version("perago"),
        "Python": platform.python_version(),
        "kernel": f"{platform.system()} {platform.release()}",
        "file system": _file_system(directory),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "load when it ended": ", ".join(f"{load:.1f}" for load in os.getloadavg()) + " (1, 5, 15 minutes)",
    }


def version_of(*command: str) -> str:
    """The version that a program says of itself; "not installed" where there is none."""
    if shutil.which(command[0]) is None:
        return "not installed"
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"\d+(\.\d+)+", said)
    return found[0] if found else said.strip()


def _file_system(directory: Path) -> str:
    """Kind of the file system that a directory is on, where `/proc/mounts` tells."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    real = str(directory.resolve())
    holding = [(at, kind) for _, at, kind, *_ in mounts if real == at or real.startswith(at.rstrip("/") + "/")]
    return max(holding, key=lambda mount: len(mount[0]))[1] if holding else "unknown"


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()

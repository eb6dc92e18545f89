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
        "load at the end": ", ".join(f"{load:.1f}" for load in os.getloadavg()) + " (1, 5, 15 minutes)",
    }


def version_of(*command: str) -> str:
    """The version that a program says of itself; "not installed" where there is none."""
    if shutil.which(command[0]) is None:
        return "not installed"
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"\d+(\.\d+)+", said)
    return found[0] if found else said.strip()


def _file_system(directory: Path) -> str:
    """Kind of the file system that a directory is on, where `/proc/mounts` tells.

    Of an ext4 it matters whether it has a journal. Without one, the kernel takes no inode that was freed within the
    last minutes and looks at each of them whenever a file is made: 0.5 ms instead of 0.02 where many were deleted.
    """
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    real = str(directory.resolve())
    holding = [mount for mount in mounts if real == mount[1] or real.startswith(mount[1].rstrip("/") + "/")]
    if not holding:
        return "unknown"
    device, _, kind, *_ = max(holding, key=lambda mount: len(mount[1]))
    name = device.rpartition("/")[2]
    journal = ""
    if kind == "ext4":
        journal = " with a journal" if any(Path("/proc/fs/jbd2").glob(f"{name}-*")) else " without a journal"
    return f"{kind}{journal}{', on a loop device' if name.startswith('loop') else ''}"


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()

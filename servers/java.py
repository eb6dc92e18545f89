"""Finds a Java that is new enough."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

OLDEST = 21
"""Minimum Java version of the Conductor server."""
MISSING = f"needs Java {OLDEST} or newer (JAVA_HOME, /usr/lib/jvm, or the PATH), or a Conductor named by "
_JVM_DIRECTORIES = (Path("/usr/lib/jvm"), Path("/Library/Java/JavaVirtualMachines"))
_MACOS_FINDER = Path("/usr/libexec/java_home")
_VERSION = re.compile(r'version "(\d+)')
_LOOK_SECONDS = 60.0


@functools.cache
def find_java() -> Path | None:
    """The first `java` that is new enough: JAVA_HOME's, the newest installed one, or the PATH's; None without one."""
    for program in dict.fromkeys(_candidates()):
        if (version_of(program) or 0) >= OLDEST:
            return program
    return None


def version_of(java: Path) -> int | None:
    """The feature release of a `java`; None if it cannot be determined."""
    if not os.access(java, os.X_OK):
        return None
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=_LOOK_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.search(said.stderr + said.stdout)
    return int(found[1]) if found else None


def _candidates() -> Iterator[Path]:
    home = os.environ.get("JAVA_HOME")
    if home:
        yield Path(home) / "bin" / "java"
    for directory in _JVM_DIRECTORIES:
        installed = [
            path for path in sorted(directory.glob("*"), key=_number_in, reverse=True) if not path.is_symlink()
        ]
        for path in installed:
            yield path / "bin" / "java"
            yield path / "Contents" / "Home" / "bin" / "java"
    if _MACOS_FINDER.exists():
        yield from _macos_java()
    on_path = shutil.which("java")
    if on_path:
        yield Path(on_path)


def _number_in(path: Path) -> int:
    numbers = re.findall(r"\d+", path.name)
    return int(numbers[0]) if numbers else 0


def _macos_java() -> Iterator[Path]:
    command = [str(_MACOS_FINDER), "-v", f"{OLDEST}+"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=_LOOK_SECONDS, check=False)
    if said.returncode == 0 and said.stdout.strip():
        yield Path(said.stdout.strip()) / "bin" / "java"

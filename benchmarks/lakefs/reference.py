"""The reference, perago 0.6.1 from PyPI, in an environment of its own that is made once and kept."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from servers.once import one_at_a_time

VERSION = "0.6.1"
BESIDE = ("lakefs", "lakefs-sdk")
"""What it moves data with; pip takes their newest releases."""

INSTALL_SECONDS = 600.0


class NoReferenceError(RuntimeError):
    """It could not be installed; says why."""


def kept_in() -> Path:
    """Where the environment is kept, whether it is there or not."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Path(cache) / "perago" / "benchmarks" / f"perago-{VERSION}-python{python}"


def python() -> Path:
    """The environment's Python, whether it is there or not."""
    return kept_in() / "bin" / "python"


def is_made() -> bool:
    return python().exists()


def make() -> None:
    """Install it with pip, unless it is kept already; some 20 s.

    Raises:
        NoReferenceError
    """
    directory = kept_in()
    directory.parent.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(directory.parent / f"{directory.name}.lock"):
        if is_made():
            return
        print(f"Installing perago {VERSION} into {directory}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix=f".{directory.name}-", dir=directory.parent) as temporary:
            made = Path(temporary) / "made"
            _run(sys.executable, "-m", "venv", made)
            pip = ("-m", "pip", "--disable-pip-version-check", "--quiet", "install")
            _run(made / "bin" / "python", *pip, f"perago=={VERSION}")
            shutil.rmtree(directory, ignore_errors=True)  # what is there lacks its Python
            made.rename(directory)  # its Python finds its packages from where it lies


def versions() -> Mapping[str, str]:
    """Versions of the reference and of what it moves data with, by name."""
    code = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {BESIDE}}}))"
    found: dict[str, str] = json.loads(_run(python(), "-c", code))
    return {f"perago {VERSION}": ", ".join(f"{name} {version}" for name, version in found.items())}


def _run(*command: str | Path) -> str:
    known = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    try:
        done = subprocess.run(command, env=known, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise NoReferenceError(f"{command[0]} did not end well: {exc}") from exc
    if done.returncode:
        raise NoReferenceError(f"{' '.join(map(str, command[1:]))} failed: {done.stderr[-1000:].strip()}")
    return done.stdout

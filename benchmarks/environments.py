"""Other measured packages, each in its own virtual environment, which is created once and kept."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from servers.once import one_at_a_time

INSTALL_SECONDS = 600.0


class NotInstalledError(RuntimeError):
    """It could not be installed, with the reason."""


@dataclass(frozen=True)
class PackageEnvironment:
    """A release of a package from PyPI with its dependencies.

    Attributes:
        beside: dependencies whose versions matter, too; pip takes their newest releases.
    """

    package: str
    version: str
    beside: tuple[str, ...] = ()

    @property
    def directory(self) -> Path:
        """Directory of the environment. It need not exist."""
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        return Path(cache) / "perago" / "benchmarks" / f"{self.package}-{self.version}-python{python}"

    @property
    def python(self) -> Path:
        """The environment's Python. It need not exist."""
        return self.directory / "bin" / "python"

    def is_made(self) -> bool:
        return self.python.exists()

    def make(self) -> None:
        """Install it with pip unless it is cached; takes about 20 s.

        Raises:
            NotInstalledError
        """
        directory = self.directory
        directory.parent.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(directory.parent / f"{directory.name}.lock"):
            if self.is_made():
                return
            print(f"Installing {self.package} {self.version} into {directory}", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory(prefix=f".{directory.name}-", dir=directory.parent) as temporary:
                made = Path(temporary) / "made"
                _run(sys.executable, "-m", "venv", made)
                pip = ("-m", "pip", "--disable-pip-version-check", "--quiet", "install")
                _run(made / "bin" / "python", *pip, f"{self.package}=={self.version}")
                shutil.rmtree(directory, ignore_errors=True)  # an existing directory lacks its Python
                made.rename(directory)  # a Python finds its packages relative to itself

    def versions(self) -> Mapping[str, str]:
        """The package with its version -> versions of `beside`."""
        code = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {self.beside}}}))"
        found: dict[str, str] = json.loads(_run(self.python, "-c", code))
        beside = ", ".join(f"{name} {version}" for name, version in found.items())
        return {f"{self.package} {self.version}": beside or "in an environment of its own"}


def _run(*command: str | Path) -> str:
    known = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    try:
        done = subprocess.run(command, env=known, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise NotInstalledError(f"{command[0]} did not end well: {exc}") from exc
    if done.returncode:
        raise NotInstalledError(f"{' '.join(map(str, command[1:]))} failed: {done.stderr[-1000:].strip()}")
    return done.stdout

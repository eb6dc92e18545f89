"""Building the package, and environments that hold nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from email import message_from_string
from email.message import Message
from pathlib import Path

PROJECT = Path(__file__).parents[2]
SECONDS = 240.0


def run(command: Sequence[str], *, cwd: Path | None = None) -> str:
    """Its output; whatever the tests' own environment says to Python stays out."""
    known = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE_"))}
    return subprocess.run(
        command, cwd=cwd, env=known, capture_output=True, text=True, timeout=SECONDS, check=True
    ).stdout


@dataclass(frozen=True)
class Distributions:
    """A wheel and an sdist."""

    wheel: Path
    sdist: Path

    @classmethod
    def build(cls, project: Path, directory: Path) -> Distributions:
        """Build both of them, without a network: the environment of the tests has the build backend."""
        run(
            [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-t", "wheel", "-d", str(directory)],
            cwd=project,
        )
        (wheel,) = directory.glob("*.whl")
        (sdist,) = directory.glob("*.tar.gz")
        return cls(wheel, sdist)

    def in_wheel(self) -> dict[str, bytes]:
        """The wheel's files, and what is in them."""
        with zipfile.ZipFile(self.wheel) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    def in_sdist(self) -> set[str]:
        """The sdist's files, without the directory around them."""
        with tarfile.open(self.sdist) as archive:
            return {name.partition("/")[2] for name in archive.getnames()}

    def unpack_sdist(self, directory: Path) -> Path:
        """The project, as it comes with the sdist."""
        with tarfile.open(self.sdist) as archive:
            if hasattr(tarfile, "data_filter"):
                archive.extractall(directory, filter="data")
            else:  # Python 3.11.0 to 3.11.3 know no filters; the archive is our own
                archive.extractall(directory)
        return directory / self.sdist.name.removesuffix(".tar.gz")

    def metadata(self) -> Message:
        """The wheel's metadata."""
        (found,) = [held for name, held in self.in_wheel().items() if name.endswith(".dist-info/METADATA")]
        return message_from_string(found.decode())


@dataclass(frozen=True)
class Environment:
    """A virtual environment that has its Python, and what was installed."""

    directory: Path
    wheels: Path

    @classmethod
    def make(cls, python: str, directory: Path, wheels: Path) -> Environment:
        run([python, "-m", "venv", "--without-pip", str(directory)])
        return cls(directory, wheels)

    @property
    def python(self) -> Path:
        return self.directory / "bin" / "python"

    def install(self, *requirements: str) -> None:
        """Install with the pip of the tests' own environment, offline."""
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--python", str(self.python)]
        run([*pip, "install", "--no-index", "--no-compile", "--find-links", str(self.wheels), *requirements])

    def packages(self) -> set[str]:
        """The names of what is installed, in lower case."""
        told = run(
            [str(self.python), "-c", "import importlib.metadata as m; print(*(d.name for d in m.distributions()))"]
        )
        return set(told.lower().split())

    def run(
        self, *command: str, cwd: Path, environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, which sees nothing of the environment of the tests but the PATH."""
        return subprocess.run(
            [str(self.directory / "bin" / command[0]), *command[1:]],
            cwd=cwd,
            env={"PATH": os.environ["PATH"], "HOME": str(cwd), "TMPDIR": str(cwd), **(environment or {})},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

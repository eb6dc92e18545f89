"""Wheel and sdist as they are released, and empty environments to install them into."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from package_support import PROJECT, Distributions, Environment, run
from servers.once import one_at_a_time

LOCKED = PROJECT / "requirements" / "image.txt"
REFERENCE = "perago==0.6.1"


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """What `make package` builds."""
    return Distributions.build(PROJECT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session")
def python() -> str:
    """The Python that installs are tried with; PERAGO_TEST_PYTHON names another one."""
    return os.environ.get("PERAGO_TEST_PYTHON", sys.executable)


@pytest.fixture(scope="session")
def wheels(python: str) -> Path:
    """Wheels of all that the extras bring, as they are locked; kept in the cache, so that installs are offline."""
    version = run([python, "-c", "import sys; print(*sys.version_info[:2], sep='.')"]).strip()
    name = hashlib.sha256(LOCKED.read_bytes()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "perago" / "wheels"
    directory = cache / f"{name}-python{version}"
    directory.mkdir(parents=True, exist_ok=True)
    done = directory / "complete"
    with one_at_a_time(cache / f"{directory.name}.lock"):
        if not done.exists():
            _download(python, directory, "--require-hashes", "-r", str(LOCKED))
            _download(python, directory, "--no-deps", REFERENCE)
            done.touch()
    return directory


def _download(python: str, directory: Path, *what: str) -> None:
    command = [python, "-m", "pip", "--quiet", "download", "--only-binary", ":all:", "--dest", str(directory), *what]
    try:
        run(command)
    except subprocess.CalledProcessError as exc:
        pytest.skip(f"needs a package index that pip can use: {exc.stderr.strip().splitlines()[-1:]}")


@pytest.fixture
def make_environment(tmp_path: Path, python: str, wheels: Path) -> Callable[..., Environment]:
    """Make an empty virtual environment and install something into it, from the kept wheels alone."""

    def make(*requirements: str) -> Environment:
        environment = Environment.make(python, tmp_path / "environment", wheels)
        environment.install(*requirements)
        return environment

    return make

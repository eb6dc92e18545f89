"""The project of a user, run by Perago on either store or by DVC: what is run, and that it did what is measured."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.changed.readings import change_readings, write_readings
from benchmarks.environments import PackageEnvironment
from benchmarks.inputs import environment
from benchmarks.measure import Usage, run

PIPELINE = Path(__file__).parent / "pipeline"
STAGES = ("clean", "measure", "daily", "summary", "outliers", "report")
CHANGED = 10
"""Files that change."""

DVC = PackageEnvironment("dvc", "3.67.1", beside=("dvc-data", "dvc-objects"))


class WrongWorkError(RuntimeError):
    """A side did other work than what is measured."""


@dataclass(frozen=True)
class PeragoProject:
    """A directory with the pipeline and its readings, whose branch `main` has the readings.

    Attributes:
        repository: as on the command line.
        settings: of the store, for the environment.
    """

    directory: Path
    files: int
    repository: str
    settings: Mapping[str, str] = field(default_factory=dict)

    def make(self, *options: str) -> None:
        """Write the files, and import the readings.

        Args:
            options: of the import that creates the repository.
        """
        _write(self.directory, self.files)
        self.load(*options)

    def load(self, *options: str) -> Usage:
        """Import the readings."""
        return self._run("import", "raw", "--prefix", "raw", *options)

    def change(self, word: str) -> Usage:
        """Change some readings, and import them. Returns what the import took."""
        change_readings(self.directory, self.files, CHANGED, word)
        return self.load()

    def run(self, *, cached: int, target: str = "pipeline") -> Usage:
        """Run the pipeline, or one of its tasks.

        Args:
            cached: the number of tasks that must take an earlier result.
        """
        used = self._run("run", f"pipeline.tasks:{target}", "--json")
        told = (self.directory / "stderr").read_text()
        if told.count(", cached from ") + told.count(" is taken\n") != cached:
            raise WrongWorkError(f"expected {cached} cached tasks: {told}")
        return used

    def content(self, path: str) -> bytes:
        """A file of the branch."""
        target = self.directory / "exported"
        self._run("export", str(target), "--prefix", str(Path(path).parent))
        try:
            return (target / Path(path).name).read_bytes()
        finally:
            shutil.rmtree(target)

    @property
    def known(self) -> dict[str, str]:
        """The environment of its programs."""
        return {
            **environment(),
            **self.settings,
            "XDG_STATE_HOME": str(self.directory / "state"),
            "PERAGO_WORKSPACE_ROOT": str(self.directory / "workspaces"),
            "PERAGO_LOG_ROOT": str(self.directory / "logs"),
            "PERAGO_REPO": self.repository,
            "PERAGO_BRANCH": "main",
        }

    def program(self, module: str, *arguments: str) -> Usage:
        """Run a program of the benchmark in the project."""
        return run([sys.executable, "-m", module, *arguments], environment=self.known, directory=self.directory)

    def _run(self, *arguments: str) -> Usage:
        return self.program("perago", *arguments)


@dataclass(frozen=True)
class DvcProject:
    """The same for DVC: a git repository with `dvc.yaml`, in which nothing was committed yet.

    DVC sends no statistics and looks for no updates. Everything else is as `dvc init` leaves it.
    """

    directory: Path
    files: int

    def make(self) -> None:
        _write(self.directory, self.files)
        shutil.move(self.directory / "pipeline" / "dvc.yaml", self.directory)
        run(["git", "init", "--quiet"], environment=self.known, directory=self.directory)
        self._run("init", "--quiet")
        for name in ("analytics", "check_update"):
            self._run("config", f"core.{name}", "false")

    def change(self, word: str) -> None:
        """Change some readings."""
        change_readings(self.directory, self.files, CHANGED, word)

    def run(self, *, unchanged: int) -> Usage:
        """Reproduce the pipeline.

        Args:
            unchanged: the number of stages that must be found unchanged.
        """
        used = self._run("repro")
        found = used.output.count("didn't change, skipping")
        if found != unchanged or used.output.count("Running stage") != len(STAGES) - unchanged:
            raise WrongWorkError(f"expected {unchanged} unchanged stages: {used.output}")
        return used

    def content(self, path: str) -> bytes:
        return (self.directory / path).read_bytes()

    @property
    def known(self) -> dict[str, str]:
        """The environment of its programs; `python` in its commands is the benchmark's own."""
        own = {
            name: str(self.directory / ".own" / name.lower())
            for name in ("DVC_SITE_CACHE_DIR", "DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR")
        }
        given = environment()
        given.pop("PYTHONPATH")
        path = f"{Path(sys.executable).parent}{os.pathsep}{given.get('PATH', os.defpath)}"
        return {**given, **own, "PATH": path, "DVC_NO_ANALYTICS": "1"}

    def _run(self, *arguments: str) -> Usage:
        return run([DVC.python, "-m", "dvc", *arguments], environment=self.known, directory=self.directory)


def _write(directory: Path, files: int) -> None:
    directory.mkdir()
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PIPELINE, directory / "pipeline", ignore=ignored)
    write_readings(directory, files)


def hits(told: str) -> list[dict[str, float]]:
    """What `program_hit` printed."""
    found: list[dict[str, float]] = json.loads(told)
    return found

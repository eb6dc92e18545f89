from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cli_project import BODIES, SETTINGS, Project, Said
from lakefs_project import LakeFSProject
from perago.cli.app import invoke
from servers.machine import slowness


@pytest.fixture
def project(tmp_path: Path) -> Project:
    path = tmp_path / "project"
    path.mkdir()
    return Project(path)


@pytest.fixture
def repository(project: Project, perago) -> Project:
    """A project whose repository has one commit on main."""
    project.write({"in/a.txt": "alpha", "in/b.txt": "beta", "other.txt": "other"})
    assert perago("import", "source", "--repo", "data.git").code == 0
    return project


@pytest.fixture
def perago(project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Run a command in this process, in the project's directory."""
    monkeypatch.chdir(project.path)
    for name in [name for name in os.environ if name.startswith(SETTINGS)]:
        monkeypatch.delenv(name)
    for name in ("PERAGO_WORKSPACE_ROOT", "PERAGO_CACHE_DIR", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, project.environment[name])
    monkeypatch.setattr(sys, "path", [str(BODIES), *sys.path])

    def run(*arguments: str) -> Said:
        capsys.readouterr()
        code = invoke(arguments)
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    yield run
    for name in [name for name, module in sys.modules.items() if _is_of_a_project(module)]:
        del sys.modules[name]


def _is_of_a_project(module: object) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and "/project/" in file


@pytest.fixture
def songs(tmp_path: Path, lakefs_server, lakefs_repository, perago, monkeypatch: pytest.MonkeyPatch):
    """A project with a repository on lakeFS that has one commit on main; commands in this process find it too."""
    made = LakeFSProject(tmp_path / "project", lakefs_server, lakefs_repository)
    for name, value in made.settings.items():
        monkeypatch.setenv(name, value)
    made.write({"in/a.txt": "alpha", "in/b.txt": "beta", "other.txt": "other"})
    assert perago("import", "source", *made.on_main).code == 0
    return made


@pytest.fixture
def worker_of(project: Project):
    """Runs a worker on the tasks of a module while the context is open."""

    @contextmanager
    def work(*arguments: str, **settings: str) -> Iterator[None]:
        environment = {"CONDUCTOR_SERVER_URL": os.environ["CONDUCTOR_SERVER_URL"], **settings}
        nowhere = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with project.start("start", *arguments, env=environment, **nowhere) as process:
            try:
                yield
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(60 * slowness())

    return work

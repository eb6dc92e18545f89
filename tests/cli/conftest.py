from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from perago.cli.app import invoke

BODIES = Path(__file__).parent / "modules"
SETTINGS = ("PERAGO_", "CONDUCTOR_", "LAKECTL_", "OTEL_", "NO_COLOR", "COLUMNS")


@dataclass(frozen=True)
class Said:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Project:
    """A directory in which commands run, with a workspace root of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.repo = path / "data.git"
        self.workspace_root = path.parent / "workspaces"

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
        return {
            **kept,
            "PATH": path,
            "PYTHONPATH": str(BODIES),
            "PERAGO_WORKSPACE_ROOT": str(self.workspace_root),
            "XDG_STATE_HOME": str(self.path.parent / "state"),
        }

    def write(self, files: dict[str, str], directory: str = "source") -> Path:
        for name, text in files.items():
            path = self.path / directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return self.path / directory

    def git(self, *arguments: str) -> str:
        return subprocess.run(
            ["git", "-c", "safe.directory=*", "-C", str(self.repo), *arguments],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    def head(self, branch: str = "main") -> str:
        return self.git("rev-parse", f"refs/heads/{branch}")

    def show(self, path: str, ref: str = "main") -> str:
        return self.git("show", f"{ref}:{path}")

    @staticmethod
    def wait_for(path: Path, seconds: float = 30) -> str:
        """Wait until a file is there; its text."""
        deadline = time.monotonic() + seconds
        while not path.exists():
            assert time.monotonic() < deadline, f"{path} did not appear in {seconds} s"
            time.sleep(0.01)
        return path.read_text()

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start the installed program."""
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL} | options
        environment = self.environment | options.pop("env", {})
        return subprocess.Popen(["perago", *arguments], cwd=self.path, env=environment, text=True, **options)

    def run(self, *arguments: str, stdin_text: str | None = None, **options: Any) -> Said:
        """Run the installed program to its end."""
        if stdin_text is not None:
            options["stdin"] = subprocess.PIPE
        with self.start(*arguments, **options) as process:
            out, err = process.communicate(stdin_text, timeout=60)
        return Said(process.returncode, out, err)


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
    for name in ("PERAGO_WORKSPACE_ROOT", "XDG_STATE_HOME"):
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

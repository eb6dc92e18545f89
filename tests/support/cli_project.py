"""A directory in which commands run, and what they said."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servers.machine import slowness
from waiting import wait_for

BODIES = Path(__file__).parents[1] / "cli" / "modules"
SETTINGS = ("PERAGO_", "CONDUCTOR_", "LAKECTL_", "OTEL_", "NO_COLOR", "COLUMNS")


@dataclass(frozen=True)
class Said:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def next_command(self) -> list[str]:
        """The arguments of the command that it recommends on its last line."""
        program, *arguments = shlex.split(self.err.splitlines()[-1])
        assert program == "perago", self.err
        return arguments


def recommended(text: str) -> list[tuple[str, ...]]:
    """The commands in backticks of a message, without the program's name."""
    return [tuple(shlex.split(command)) for command in re.findall(r"`perago ([^`]*)`", text)]


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
            "PERAGO_CACHE_DIR": str(self.path.parent / "cache"),
            "XDG_STATE_HOME": str(self.path.parent / "state"),
            "LAKECTL_CONFIG_FILE": os.devnull,
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
        wait_for(path.exists, f"{path}", seconds)
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
            out, err = process.communicate(stdin_text, timeout=60 * slowness())
        return Said(process.returncode, out, err)

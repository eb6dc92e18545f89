"""A repository, `perago` and git in real processes on it, and what `perago doctor` says of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perago.stores.git import GitStore
from perago.stores.git.provider import runs_in

HERE = Path(__file__).parents[1] / "doctor"
SECONDS = 60
AGED = 2 * 86_400
"""Two days: older than what `perago doctor` takes for old."""

OF_ANY_AGE = ("--older-than", "0.001s")
KILLED = -signal.SIGKILL
_SETTINGS = ("PERAGO_", "CONDUCTOR_", "LAKECTL_", "OTEL_", "GIT_", "COV")


@dataclass(frozen=True)
class Said:
    """Result of a command."""

    code: int
    out: str
    err: str

    @property
    def findings(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.out)["findings"]
        return found

    @property
    def kinds(self) -> list[str]:
        return sorted(finding["kind"] for finding in self.findings)

    def only(self, kind: str) -> dict[str, Any]:
        [found] = [finding for finding in self.findings if finding["kind"] == kind]
        return found


class Project:
    """A repository with a small and a large file on `main`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.repository = directory / "data.git"
        self.root = directory / "workspaces"
        self.cache = directory / "cache"
        self.root.mkdir()
        self._started: list[subprocess.Popen[str]] = []
        self.commit({"small.txt": b"small", "first.bin": b"first".ljust(2 << 20, b".")})

    # ---- what is in it

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        """Make the branch hold these files; returns its head."""
        source = self.directory / f"source-{time.monotonic_ns()}"
        for name, content in files.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(content)
        store = GitStore.create(self.repository)
        store.import_directory(source, branch, "files", mirror=True)
        return store.resolve(branch)

    @property
    def runs(self) -> Path:
        return runs_in(self.repository)

    def large_files(self) -> set[Path]:
        return {path for path in (self.repository / "lfs/objects").rglob("*") if path.is_file()}

    def everything(self) -> dict[str, tuple[int, int]]:
        """Size and time of every file and directory but the locks that a look takes."""
        found = {}
        for top in (self.repository, self.root):
            for path in top.rglob("*"):
                if path.suffix != ".lock" or path.parent.name == "heads":
                    state = path.stat()
                    found[str(path)] = (state.st_size, 0 if path.is_dir() else state.st_mtime_ns)
        return found

    def git(self, *arguments: str) -> str:
        done = subprocess.run(self._git(*arguments), capture_output=True, text=True, timeout=SECONDS, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    # ---- processes

    def doctor(self, *arguments: str) -> Said:
        """What `perago doctor --json` says."""
        repository, root = str(self.repository), str(self.root)
        return self.perago("doctor", "--repo", repository, "--workspace-root", root, "--json", *arguments)

    def perago(self, *arguments: str) -> Said:
        process = self._start(sys.executable, "-m", "perago", *arguments)
        out, err = process.communicate(timeout=SECONDS)
        return Said(process.returncode, out, err)

    def run_arguments(self, text: str) -> list[str]:
        repository = ["--repo", str(self.repository), "--branch", "main"]
        return ["run", "doctor_bodies:write", *repository, "--param", f"text={text}", "--json"]

    def halted_run(self, how: str, boundary: str, text: str) -> subprocess.Popen[str]:
        """A run that was killed at a boundary, or waits there."""
        return self._halted(how, HERE / "program_halted.py", how, boundary, *self.run_arguments(text))

    def busy(self, how: str, what: str, path: Path) -> subprocess.Popen[str]:
        """A process that was killed in the middle of something, or waits there; see program_busy.py."""
        return self._halted(how, HERE / "program_busy.py", how, what, str(path))

    def git_with_lock(self) -> subprocess.Popen[str]:
        """git in the middle of a transaction: it holds the lock on `main` until its stdin ends."""
        head = self.git("rev-parse", "main")
        process = self._start(*self._git("update-ref", "--stdin"))
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"start\nupdate refs/heads/main {head} {head}\nprepare\n")
        process.stdin.flush()
        assert [process.stdout.readline() for _ in range(2)] == ["start: ok\n", "prepare: ok\n"]
        return process

    def end_processes(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate(timeout=SECONDS)

    def _halted(self, how: str, program: Path, *arguments: str) -> subprocess.Popen[str]:
        process = self._start(sys.executable, str(program), *arguments)
        assert process.stderr is not None
        for line in process.stderr:
            if line == "halted\n":
                break
        else:
            raise AssertionError(f"{program.name} ended before it came there")
        if how == "kill":
            assert process.wait(SECONDS) == KILLED
        return process

    def _git(self, *arguments: str) -> list[str]:
        return ["git", "-c", "safe.directory=*", "-C", str(self.repository), *arguments]

    def _start(self, *command: str) -> subprocess.Popen[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)}
        settings = {
            "PYTHONPATH": str(HERE / "modules"),
            "PERAGO_WORKSPACE_ROOT": str(self.root),
            "PERAGO_CACHE_DIR": str(self.cache),
            "XDG_STATE_HOME": str(self.directory / "state"),
            "GIT_AUTHOR_NAME": "A",
            "GIT_AUTHOR_EMAIL": "a@example.org",
            "GIT_COMMITTER_NAME": "A",
            "GIT_COMMITTER_EMAIL": "a@example.org",
        }
        process = subprocess.Popen(
            command,
            cwd=self.directory,
            env=kept | settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return process


def go_on(process: subprocess.Popen[str]) -> Said:
    """Let a process that waits go on to its end."""
    out, err = process.communicate("\n", timeout=SECONDS)
    return Said(process.returncode, out, err)


def make_old(path: Path, seconds: float = AGED) -> None:
    past = time.time() - seconds
    os.utime(path, (past, past))

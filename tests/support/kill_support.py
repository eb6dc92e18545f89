"""A repository, `perago` in real processes on it, and what has to hold after any of them was killed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from leaks import secrets_in_files, secrets_on_command_lines
from perago.engines.local import LocalEngine, RunSummary
from perago.stores.git import GitStore
from perago.stores.git.provider import runs_in
from perago.workspace import janitor

HERE = Path(__file__).parents[1] / "kills"
SECONDS = 120
"""Longer than any one command takes, on a machine that is busy too."""

TASK, WORKFLOW = "kill_bodies:append", "kill_bodies:append_twice"
PASSWORD = "planted-5f0c1d8e2b7a4936"
"""A value that must be seen nowhere."""

KILLED = -signal.SIGKILL
_NOT_FOR_KILLED = ("PERAGO_", "CONDUCTOR_", "LAKECTL_", "OTEL_", "GIT_", "COV")
"""Prefixes of settings, and of coverage: a process that is killed while it writes that leaves an unreadable file."""


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: negative for a signal.
        said: seconds after its start at which each line came on stderr; of a command that nobody killed.
    """

    code: int
    out: str
    err: str
    said: tuple[float, ...] = ()

    @property
    def killed_at(self) -> str | None:
        found = re.search(r"^killed at (\S+)$", self.err, re.MULTILINE)
        return found[1] if found else None

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Project:
    """A repository with one branch, and the workspaces of its runs. `lines` are those of the runs that are done.

    Runs of odd lines are given a secret, in a file.

    Attributes:
        more: names of the files that no run changes.
        most: lines that one run writes.
    """

    more: tuple[str, ...] = ("kept.txt",)
    most = 1

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.line = 0
        self.repository = directory / "data.git"
        self.root = directory / "workspaces"
        self.lines: list[str] = []
        self.heads: list[str] = []

    @classmethod
    def create(cls, directory: Path, more: tuple[str, ...] = ("kept.txt",), most: int = 1) -> Project:
        project = cls(directory)
        project.more, project.most = more, most
        source = directory / "source"
        source.mkdir(parents=True)
        (source / "log.txt").write_text("")
        for name in more:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text(name)
        GitStore.create(project.repository).import_directory(source, "main", "the beginning")
        project.look()
        return project

    def copy(self, directory: Path) -> Project:
        """The same, elsewhere, as it is now."""
        shutil.copytree(self.directory, directory)
        copied = Project(directory)
        copied.line, copied.lines, copied.heads = self.line, list(self.lines), list(self.heads)
        copied.more, copied.most = self.more, self.most
        return copied

    # ---- commands

    def start(self, *command: str) -> subprocess.Popen[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_FOR_KILLED)}
        environment = kept | {
            "PYTHONPATH": f"{HERE / 'modules'}:{HERE.parent / 'support'}",
            "PERAGO_WORKSPACE_ROOT": str(self.root),
        }
        return subprocess.Popen(
            command,
            cwd=self.directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def perago(self, *arguments: str, kill_at: int | str | None = None) -> Ended:
        """Run `perago` to its end, or to its death at a boundary of its phases."""
        program = [sys.executable, "-m", "perago"]
        if kill_at is not None:
            program = [sys.executable, str(HERE / "program_killed.py"), str(kill_at)]
        began = time.monotonic()
        with self.start(*program, *arguments) as process:
            assert process.stderr is not None
            lines = [(line, time.monotonic() - began) for line in process.stderr]
            out, _ = process.communicate(timeout=SECONDS)
        self.look()
        self.check_told(out, *(line for line, _ in lines))
        return Ended(process.returncode, out, "".join(line for line, _ in lines), tuple(at for _, at in lines))

    def kill_perago(self, *arguments: str, after: float, after_first_word: bool) -> Ended:
        """Run `perago` and kill it some seconds after its start or its first word, unless it has ended by then."""
        first = ""
        with self.start(sys.executable, "-m", "perago", *arguments) as process:
            assert process.stderr is not None
            if after_first_word:
                first = process.stderr.readline()
            with suppress(subprocess.TimeoutExpired):
                process.wait(after)
            self.check_processes(process)
            process.kill()
            out, err = process.communicate(timeout=SECONDS)
        self.look()
        self.check_told(out, first, err)
        return Ended(process.returncode, out, first + err)

    def run_arguments(self, line: int) -> list[str]:
        self.line = line
        params = self._secret_params() or ["--param", f"line={line}"]
        return ["run", TASK, "--repo", str(self.repository), "--branch", "main", *params, "--json"]

    def workflow_arguments(self, first: int, second: int) -> list[str]:
        """Of a run of two tasks, the second one on what the first has published."""
        params = ["--param", f"first={first}", "--param", f"second={second}"]
        return ["run", WORKFLOW, "--repo", str(self.repository), "--branch", "main", *params, "--json"]

    def resume_arguments(self, run_id: str) -> list[str]:
        """Where there is a secret among the params they are given again: it was not kept."""
        return ["run", "--resume", run_id, "--repo", str(self.repository), *self._secret_params(), "--json"]

    def _secret_params(self) -> list[str]:
        if self.line % 2 == 0:
            return []
        self.given.write_text(json.dumps({"line": self.line, "password": PASSWORD}))
        return ["--params", f"@{self.given}"]

    @property
    def given(self) -> Path:
        """The file that a secret is given in, which is the person's own."""
        return self.directory / "given.json"

    def newest_run(self) -> RunSummary | None:
        return next(LocalEngine(runs_in(self.repository)).runs(), None)

    # ---- what holds

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", "-c", "safe.directory=*", "-C", str(self.repository), *arguments],
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def look(self) -> None:
        """Write down the head, for `check_history`."""
        head = self.git("rev-parse", "refs/heads/main")
        if head not in self.heads:
            self.heads.append(head)

    def check_history(self) -> None:
        """Nothing is lost, nothing was done twice, and every commit holds whole what it should."""
        store = GitStore(self.repository)
        entries = list(store.log(store.resolve("main"), 10_000))
        ids = [entry.id for entry in entries]
        assert set(self.heads) <= set(ids), "a head was lost"
        stamps = [entry.stamp for entry in entries[:-1]]
        assert None not in stamps, "somebody else wrote"
        published = [stamp for stamp in stamps if stamp is not None and stamp.completes is None]
        assert len({stamp.execution_id for stamp in published}) == len(published), "published twice"
        tasks = {(stamp.workflow_instance_id, stamp.reference_task_name) for stamp in published}
        assert len(tasks) == len(published), "published twice"
        written = self.git("show", "main:log.txt").split()
        assert written[: len(self.lines)] == self.lines, "a line was lost, or written twice"
        assert len(written) - len(self.lines) in range(self.most + 1)
        names = self.git("ls-tree", "-r", "--name-only", "main").split()
        assert sorted(names) == sorted([*self.more, "log.txt", *(f"new/{line}" for line in written)])
        self.check_no_secret()

    def check_told(self, *texts: str) -> None:
        """No secret in what a command says."""
        assert not any(PASSWORD in text for text in texts)

    def check_processes(self, process: subprocess.Popen[str]) -> None:
        """Nor on the command line of any process."""
        with suppress(psutil.NoSuchProcess):
            of_run = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            assert list(secrets_on_command_lines(of_run, [PASSWORD])) == []

    def check_no_secret(self) -> None:
        """Nor in a file, nor in any of git's objects, those that nothing names included."""
        assert list(secrets_in_files(self.directory, [PASSWORD], {self.given})) == []
        command = [
            "git",
            "-c",
            "safe.directory=*",
            "-C",
            str(self.repository),
            "cat-file",
            "--batch-all-objects",
            "--batch",
        ]
        done = subprocess.run(command, capture_output=True, timeout=SECONDS)
        assert done.returncode == 0, done.stderr
        assert PASSWORD.encode() not in done.stdout

    def check_done(self, *lines: int) -> None:
        """The newest run is completed, and its lines are the last ones."""
        self.lines += map(str, lines)
        summary = self.newest_run()
        assert summary is not None
        assert summary.status == "COMPLETED"
        assert self.git("show", f"{summary.output_ref}:log.txt").split() == self.lines
        self.check_history()

    def check_clean(self) -> None:
        """After the janitors nothing is left that should not be, and git finds nothing wrong."""
        janitor.sweep(self.root, 0, time.time() + 60)
        GitStore(self.repository).sweep(-60)
        for finding in LocalEngine(runs_in(self.repository)).examine():
            if finding.mend is not None:
                finding.mend()
        assert [path for path in self.root.rglob("*") if path != self.root / "warm"] == []
        assert self.git("for-each-ref", "refs/perago") == ""
        assert self.git("fsck", "--full", "--strict", "--no-dangling") == ""
        assert _leftovers(self.repository) == []


def _leftovers(repository: Path) -> list[str]:
    """git's locks, an unfinished publication's record, and what runs leave half made.

    A killed writer's `tmp_obj_…` is no matter: `git prune` and `git gc` remove them.
    """
    publishing = repository / "perago" / "publish.lock"
    locks = [path for path in repository.rglob("?*.lock") if path != publishing]
    half_made = [path for path in runs_in(repository).rglob(".*") if path.name != ".lock"]
    records = [publishing] if publishing.stat().st_size else []
    return [str(path.relative_to(repository)) for path in locks + half_made + records]

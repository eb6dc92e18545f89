"""What the tests of the git store share: a repository, attempts on it, and git itself to look at the outcome."""

from __future__ import annotations

import itertools
import os
import stat
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from perago.stores.git import GitStore
from perago.testing.contract.bench import EVERYTHING, Work, engine_task, executables, make_stamp, read_files
from perago.values.history import Plan
from perago.values.models import (
    AttemptIdentity,
    Changes,
    StagedWorkspace,
    TaskExecution,
    WorkspaceInput,
    run_branch_name,
)
from perago.values.spec import WorkspaceSpec

Files = Mapping[str, bytes]
GIT_ENVIRONMENT = {
    **os.environ,
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "LC_ALL": "C",
}
GIT_TESTS = Path(__file__).parents[1] / "git"
_numbers = itertools.count(1)


def git(repository: Path, *arguments: str, text: str | None = None, check: bool = True) -> str:
    """Run git in a repository; returns what it prints, without the last line end."""
    done = subprocess.run(
        ["git", "-C", str(repository), *arguments],
        env=GIT_ENVIRONMENT,
        input=text,
        capture_output=True,
        text=True,
        timeout=120,
    )
    if check and done.returncode:
        raise AssertionError(f"git {' '.join(arguments)}: {done.stderr}")
    return done.stdout.rstrip("\n")


def fsck(repository: Path) -> str:
    """What `git fsck` finds wrong; "" if nothing is. Unreachable objects are no fault, nor are missing branches."""
    done = subprocess.run(
        ["git", "-C", str(repository), "fsck", "--full", "--strict", "--no-dangling"],
        env=GIT_ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    found = (done.stdout + done.stderr).splitlines()
    return "\n".join(line for line in found if not line.startswith("notice: "))


def make_execution(
    base: str, *, changes: Changes | None = None, plan: Plan | None = None, number: int | None = None, **stamp: object
) -> TaskExecution:
    """A fresh execution of a task whose input is `base`, as the core would hand it over."""
    number = next(_numbers) if number is None else number
    attempt = engine_task(task_id=f"task-{number}", workflow_instance_id=f"wf-{number}")
    made = replace(make_stamp(base, number), execution_id=f"execution-{os.getpid()}-{number}", worker="tests")
    return TaskExecution(
        attempt=attempt,
        identity=AttemptIdentity.of(attempt),
        execution_id=made.execution_id,
        stamp=replace(made, **stamp),
        changes=changes,
        plan=plan,
    )


def run_branch(workflow: str, begun: datetime | None = None) -> str:
    """The branch of a workflow's run that has begun then; by default, now."""
    scheduled = round((begun or datetime.now(UTC)).timestamp() * 1000)
    identity = AttemptIdentity(workflow_instance_id=workflow, task_id="t", retry_count=0, scheduled_time=scheduled)
    return run_branch_name(identity)


def write_files(root: Path, files: Files) -> None:
    for path, content in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def make_executable(path: Path) -> None:
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


class Bench:
    """A store in a directory of its own, and the steps of attempts on it."""

    def __init__(self, root: Path, store: GitStore | None = None) -> None:
        self.root = root
        self.store = store or GitStore.create(root / "data.git")

    @property
    def path(self) -> Path:
        return self.store.path

    def git(self, *arguments: str, text: str | None = None, check: bool = True) -> str:
        return git(self.path, *arguments, text=text, check=check)

    def head(self, branch: str = "main") -> str:
        head = self.store.branch_head(branch)
        assert head is not None
        return head

    def import_files(self, files: Files, branch: str = "main", message: str = "some files") -> str:
        """Make the branch hold exactly these files; returns its head."""
        source = self.root / f"source-{next(_numbers)}"
        source.mkdir()
        write_files(source, files)
        self.store.import_directory(source, branch, message, mirror=True)
        return self.head(branch)

    def person_commits(self, files: Mapping[str, bytes | None], branch: str = "main", message: str = "by hand") -> str:
        """A commit made by git itself: these paths get this content, None: they go."""
        index = {**GIT_ENVIRONMENT, "GIT_INDEX_FILE": str(self.root / f"index-{next(_numbers)}")}

        def run(*arguments: str, data: bytes = b"") -> str:
            command = ["git", "-C", str(self.path), *arguments]
            return (
                subprocess.run(command, env=index, input=data, capture_output=True, check=True).stdout.decode().strip()
            )

        head = self.head(branch)
        run("read-tree", head)
        lines = []
        for path, content in files.items():
            blob = run("hash-object", "-w", "--stdin", data=content) if content is not None else "0" * 40
            lines.append(f"{'100644' if content is not None else '0'} {blob}\t{path}\n")
        run("update-index", "--index-info", data="".join(lines).encode())
        commit = run("commit-tree", run("write-tree"), "-p", head, "-m", message)
        run("update-ref", f"refs/heads/{branch}", commit, head)
        return commit

    def input(self, ref: str, branch: str = "main") -> WorkspaceInput:
        return WorkspaceInput(repository="data", branch=branch, refType="commit", ref=ref)

    def download(self, ref: str, spec: WorkspaceSpec = EVERYTHING, branch: str = "main") -> Work:
        directory = self.root / f"workspace-{next(_numbers)}"
        directory.mkdir()
        workspace_input = self.input(ref, branch)
        self.store.download_workspace(workspace_input, spec, directory)
        return Work(directory, workspace_input, spec, None, read_files(directory), frozenset(executables(directory)))

    def content(self, ref: str) -> dict[str, bytes]:
        """What a commit holds, as a task would see it."""
        return self.download(ref).before

    def stage(
        self, work: Work, plan: Plan | None = None, *, changes: Changes | None = None, **stamp: object
    ) -> tuple[StagedWorkspace, TaskExecution]:
        changes = work.changes() if changes is None else changes
        execution = make_execution(work.workspace_input.ref, changes=changes, plan=plan, **stamp)
        staged = self.store.stage_workspace(work.directory, work.workspace_input, work.spec, execution)
        return staged, execution

    def finish(self, work: Work, plan: Plan | None = None, **stamp: object) -> str:
        """Stage, publish and clean; returns the published commit."""
        staged, execution = self.stage(work, plan, **stamp)
        try:
            return self.store.publish_workspace(staged, work.workspace_input, work.spec, execution)
        finally:
            self.store.cleanup_staging(staged)

    def publish_files(
        self,
        ref: str,
        files: Mapping[str, bytes | None],
        *,
        spec: WorkspaceSpec = EVERYTHING,
        plan: Plan | None = None,
        branch: str = "main",
        **stamp: object,
    ) -> str:
        """A whole attempt from `ref`: these paths of the workspace get this content, None: they go."""
        work = self.download(ref, spec, branch)
        work.edit(files)
        return self.finish(work, plan, **stamp)


@dataclass(frozen=True)
class Ended:
    """How a program ended: its return code (negative: a signal), what it printed, and what it synced and renamed."""

    code: int
    output: str
    calls: list[str]


def publish_in_a_process(bench: Bench, files: Files, *, syscalls: Path, **setting: str | int) -> Ended:
    """Publish these files from a process of its own, see program_publish.py.

    `kill_before`, `kill_after`, `kill_at`: when it is killed, see syscalls.c. `open_files`: how many it may have open.
    """
    number = next(_numbers)
    workspace, trace = bench.root / f"own-{number}", bench.root / f"trace-{number}"
    workspace.mkdir()
    write_files(workspace, files)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "LD_PRELOAD": str(syscalls),
        "TRACE_FILE": str(trace),
    }
    environment |= {name.upper(): str(value) for name, value in setting.items()}
    done = subprocess.run(
        [sys.executable, GIT_TESTS / "program_publish.py", bench.path, "main", workspace],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    calls = trace.read_text().splitlines() if trace.exists() else []
    return Ended(done.returncode, done.stdout.strip() + done.stderr, calls)

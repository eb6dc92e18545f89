"""Steps of attempts on a store, only through its ports. Hooks do what people do, and inspect the store."""

from __future__ import annotations

import itertools
import stat
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from perago.ports import WorkspaceStore
from perago.testing.contract.framework import pytest
from perago.values.history import CommitFacts, Complete, History, Plan, Publish, Seal, Stamp
from perago.values.models import AttemptIdentity, Changes, EngineTask, StagedWorkspace, TaskExecution, WorkspaceInput
from perago.values.spec import WorkspaceSpec
from perago.values.stamps import json_digest

Edits = Mapping[str, bytes | None]
"""Path -> content; None deletes the file."""

EVERYTHING = WorkspaceSpec()
MAIN = "main"


class StoreHooks(ABC):
    """Hooks of the suite for one store.

    Attributes:
        unknown_commit: a full commit id that no repository has.
        rounds: number of rounds of each race.
        holds_signs_of_directories: whether the store can hold objects whose names end with a slash.
    """

    unknown_commit = "0123456789abcdef0123456789abcdef01234567"
    rounds = 20
    holds_signs_of_directories = False

    @abstractmethod
    def make_store(self, directory: Path) -> WorkspaceStore:
        """Create a store with an empty repository. `directory` is an empty directory for it."""

    @abstractmethod
    def person_commits(self, store: Any, branch: str, files: Edits) -> str:
        """Commit on the head without Perago; returns the id. Creates the branch if there is none."""

    @abstractmethod
    def copy_commit(self, store: Any, commit: str, branch: str) -> str:
        """Cherry-pick a commit, with its changes and all its metadata; returns the new id."""

    @abstractmethod
    def forge_seal(self, store: Any, branch: str, files: Edits, stamp: Stamp) -> str:
        """Commit on the head without Perago, with all metadata of a seal that has this stamp; returns the id."""

    @abstractmethod
    def head(self, store: Any, branch: str) -> str:
        """Full id of the commit that the branch points at."""

    @abstractmethod
    def first_parent_line(self, store: Any, branch: str) -> list[str]:
        """Full ids of the first-parent commits from the head to the root."""

    @abstractmethod
    def files(self, store: Any, ref: str) -> dict[str, bytes]:
        """The content of a commit, by object name."""

    @abstractmethod
    def staged(self, store: Any) -> list[str]:
        """Names of staged work that is not cleaned up."""

    @abstractmethod
    def without_repository(self, store: Any, directory: Path) -> tuple[WorkspaceStore, str]:
        """A store, which may be another one, and the name of a repository that it does not have."""

    def repository(self, _store: Any, /) -> str:
        """The repository's name in a task's input."""
        return "contract"

    @pytest.fixture
    def bench(self, tmp_path: Path) -> Bench:
        directory = tmp_path / "store"
        directory.mkdir()
        return Bench(self, self.make_store(directory), tmp_path)


def engine_task(task_id: str, **given: Any) -> EngineTask:
    """An engine's task object."""
    values: dict[str, Any] = {
        "workflow_instance_id": "wf",
        "status": "IN_PROGRESS",
        "retry_count": 0,
        "reference_task_name": "build_ref",
        "task_def_name": "build",
        "scheduled_time": 1,
        "poll_count": 1,
    }
    return EngineTask(task_id=task_id, **values | given)


def edit(workspace: Path, files: Edits) -> None:
    """Change files as a body does. Directories are created and removed with them."""
    for path in [path for path, content in files.items() if content is None]:
        (workspace / path).unlink()
        for directory in (workspace / path).parents:
            if directory == workspace or any(directory.iterdir()):
                break
            directory.rmdir()
    for path, content in files.items():
        if content is not None:
            target = workspace / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


@dataclass(frozen=True)
class Work:
    """A workspace, and its initial content."""

    directory: Path
    workspace_input: WorkspaceInput
    spec: WorkspaceSpec
    digests: object
    before: dict[str, bytes]
    executables: frozenset[str]

    def edit(self, files: Edits) -> None:
        """Change files as a body does."""
        edit(self.directory, files)

    def make_executable(self, path: str) -> None:
        target = self.directory / path
        target.chmod(target.stat().st_mode | stat.S_IXUSR)

    def changes(self) -> Changes:
        """The changes since then, found by reading all files."""
        after, executable = read_files(self.directory), executables(self.directory)
        kept = self.before.keys() & after.keys()
        modified = {path for path in kept if self.before[path] != after[path]}
        modified |= {path for path in kept if (path in self.executables) != (path in executable)}
        return Changes(
            added=tuple(sorted(after.keys() - self.before.keys())),
            modified=tuple(sorted(modified)),
            deleted=tuple(sorted(self.before.keys() - after.keys())),
        )


@dataclass(frozen=True)
class Staged:
    """Staged work of an attempt."""

    store: WorkspaceStore
    workspace: StagedWorkspace
    work: Work
    execution: TaskExecution

    def publish(self) -> str:
        return self.store.publish_workspace(self.workspace, self.work.workspace_input, self.work.spec, self.execution)

    def clean(self) -> None:
        self.store.cleanup_staging(self.workspace)

    def finish(self) -> str:
        """Publish and clean up; returns the id of the published commit."""
        try:
            return self.publish()
        finally:
            self.clean()


class Bench:
    """One store, and attempts on it.

    Args:
        root: a directory for workspaces.
    """

    def __init__(self, hooks: StoreHooks, store: WorkspaceStore, root: Path) -> None:
        self.hooks = hooks
        self.store = store
        self.root = root
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    # ---- commits of people, and the store's content

    def commit(self, files: Edits, branch: str = MAIN) -> str:
        """Commit without Perago."""
        return self.hooks.person_commits(self.store, branch, files)

    def copy(self, commit: str, branch: str = MAIN) -> str:
        return self.hooks.copy_commit(self.store, commit, branch)

    def forge_seal(self, files: Edits, head: str) -> CommitFacts:
        """Make up a seal on the head of the main branch, for a task of an unknown workflow instance."""
        stamp = replace(make_stamp(head, self._number()), branch=MAIN, completes=head).on(head)
        forged = self.hooks.forge_seal(self.store, MAIN, files, stamp)
        commit = self.newest(head)
        assert (commit.id, commit.counting_stamp) == (forged, stamp), "the hook has not forged all of it"
        return commit

    def head(self, branch: str = MAIN) -> str:
        return self.hooks.head(self.store, branch)

    def line(self, branch: str = MAIN) -> list[str]:
        return self.hooks.first_parent_line(self.store, branch)

    def files(self, ref: str) -> dict[str, bytes]:
        return self.hooks.files(self.store, ref)

    def staged(self) -> list[str]:
        return self.hooks.staged(self.store)

    def history(self, base: str, branch: str = MAIN) -> History:
        return self.store.read_history(self.input(base, branch))

    def newest(self, base: str) -> CommitFacts:
        """The newest commit since an input."""
        return self.history(base).commits[0]

    # ---- attempts

    def input(self, ref: str, branch: str = MAIN) -> WorkspaceInput:
        return WorkspaceInput(repository=self.hooks.repository(self.store), branch=branch, refType="commit", ref=ref)

    def directory(self) -> Path:
        """A new empty directory."""
        path = self.root / f"workspace-{self._number()}"
        path.mkdir()
        return path

    def lay_out(self, ref: str, spec: WorkspaceSpec = EVERYTHING, branch: str = MAIN) -> Work:
        directory, workspace_input = self.directory(), self.input(ref, branch)
        digests = self.store.download_workspace(workspace_input, spec, directory)
        before = read_files(directory)
        return Work(directory, workspace_input, spec, digests, before, frozenset(executables(directory)))

    def execution(
        self, base: str, *, changes: Changes | None = None, plan: Plan | None = None, **stamp: Any
    ) -> TaskExecution:
        """A new execution of a new task, as the core passes it. `stamp` sets fields of its stamp."""
        number = self._number()
        attempt = engine_task(task_id=f"task-{number}", workflow_instance_id=f"wf-{number}")
        made = replace(make_stamp(base, number), **stamp)
        return TaskExecution(
            attempt=attempt,
            identity=AttemptIdentity.of(attempt),
            execution_id=made.execution_id,
            stamp=made,
            changes=changes,
            plan=plan,
        )

    def stage(self, work: Work, plan: Plan | None = None, **stamp: Any) -> Staged:
        stamp = {"branch": work.workspace_input.branch, **stamp}
        execution = self.execution(work.workspace_input.ref, changes=work.changes(), plan=plan, **stamp)
        return self.stage_as(work, execution)

    def stage_as(self, work: Work, execution: TaskExecution) -> Staged:
        staged = self.store.stage_workspace(work.directory, work.workspace_input, work.spec, execution)
        return Staged(self.store, staged, work, execution)

    def publish(
        self,
        base: str,
        files: Edits,
        plan: Plan | None = None,
        *,
        spec: WorkspaceSpec = EVERYTHING,
        branch: str = MAIN,
        **stamp: Any,
    ) -> str:
        """A complete attempt from `base`; returns the id of the published commit."""
        work = self.lay_out(base, spec, branch)
        work.edit(files)
        return self.stage(work, plan, **stamp).finish()

    def publish_on(self, head: str, base: str, files: Edits, abandoned: tuple[str, ...] = ()) -> str:
        """A complete attempt from `base`, published on top of `head`."""
        return self.publish(base, files, Publish(head, abandoned))

    def seal(self, base: str, head: str, completes: str, source: Stamp | None = None, **stamp: Any) -> str:
        """A complete attempt from `base` that seals; returns the id of the seal."""
        execution = self.execution(base, plan=Seal(head, completes, source), **stamp)
        work = Work(self.directory(), self.input(base), EVERYTHING, None, {}, frozenset())
        return self.stage_as(work, execution).finish()

    def _number(self) -> int:
        with self._lock:
            return next(self._numbers)


def make_stamp(base: str, number: int) -> Stamp:
    """A stamp as an attempt makes it."""
    result = {"rows": number}
    return Stamp(
        task="build",
        workflow_instance_id=f"wf-{number}",
        reference_task_name="build_ref",
        task_id=f"task-{number}",
        retry_count=0,
        scheduled_time=1,
        poll_count=1,
        execution_id=f"execution-{number}",
        input_ref=base,
        params_digest=json_digest({}),
        code_digest=json_digest("code"),
        result_digest=json_digest(result),
        params={},
        result=result,
        result_exact=True,
        started_at="2026-01-01T00:00:00.000+00:00",
        duration_ms=5,
        worker="contract",
    )


def read_files(root: Path) -> dict[str, bytes]:
    """All files below a directory, by relative path."""
    return {str(path.relative_to(root)): path.read_bytes() for path in _regular_files(root)}


def executables(root: Path) -> set[str]:
    """Relative paths of the files with the owner's executable bit."""
    return {str(path.relative_to(root)) for path in _regular_files(root) if path.stat().st_mode & stat.S_IXUSR}


def _regular_files(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())


def lacking_something(whole: TaskExecution, base: str, unknown_commit: str) -> dict[str, TaskExecution]:
    """Executions that cannot be staged, by what they lack.

    Args:
        base: the commit that `whole` would be published on.
    """
    return {
        "no stamp": replace(whole, stamp=None),
        "no changes": replace(whole, changes=None),
        "nothing to write": replace(whole, plan=Complete(base)),
        "no such head": replace(whole, plan=Publish(unknown_commit)),
    }

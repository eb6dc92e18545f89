"""The embedded store: the store's ports, and the methods for the commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from perago.ports import (
    NOTHING_KEPT,
    AttemptLiveness,
    Clock,
    CommitEntry,
    FileDigests,
    KeepFiles,
    Kept,
    ListedFile,
    LogEntry,
    Observer,
    Phase,
    RunAgeLimit,
    StoredFile,
    SystemClock,
    default_run_age_limit,
    ignore,
)
from perago.stores.git.clean import Swept, cleanup_staging, sweep
from perago.stores.git.examine import Examination
from perago.stores.git.history import read_history
from perago.stores.git.import_export import Import, check_branch_name, create_repository, export
from perago.stores.git.locks import Patience
from perago.stores.git.log import changes, changes_of, commits_since, log
from perago.stores.git.materialize import (
    Layout,
    check_layout,
    find_file,
    find_files,
    has_same_files,
    lay_out,
    list_files,
    list_layout,
    plan_layout,
    sources,
)
from perago.stores.git.publish import complete_noop, publish
from perago.stores.git.refs import References
from perago.stores.git.repository import BareRepository, translated
from perago.stores.git.resolve import resolve
from perago.stores.git.runs import create_run_branch
from perago.stores.git.stage import Staging, validate_reads
from perago.values.findings import Finding
from perago.values.history import Conflict, History, Merge
from perago.values.models import (
    RUN_BRANCH_TTL_SECONDS,
    Changes,
    StagedWorkspace,
    TaskExecution,
    WorkspaceInput,
    run_branch_time,
)
from perago.values.spec import WHOLE_REPOSITORY, WorkspaceSpec
from perago.workspace.collector import collector_paused
from perago.workspace.progress import TransferProgress


class GitStore:
    """A versioned store in a bare git repository on a local disk. Any number of processes may use it.

    Files of 1 MiB and more are stored in git-lfs layout. It writes only refs/heads and refs/perago. References below
    refs/perago/staging protect staged commits from `git gc`. Only `git gc --prune=now` at the moment of staging could
    still remove one, and then the attempt fails.

    Args:
        path: the repository. It is opened on first use.
        observer: gets the progress events of materializing and staging.
        clock: source of time.
        patience: waiting times for locks.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        observer: Observer = ignore,
        clock: Clock | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.path = Path(path).absolute()
        self._observer = observer
        self._clock = clock or SystemClock()
        self._repository = BareRepository(self.path)
        self._references = References(self._repository, self._clock, patience or Patience())

    @classmethod
    def create(
        cls, path: str | Path, *, branch: str = "main", observer: Observer = ignore, clock: Clock | None = None
    ) -> GitStore:
        """Create a bare repository, unless it exists; `branch` is what a clone will check out.

        Raises:
            StoreError: something else is at the path, or the repository cannot be created.
        """
        store = cls(path, observer=observer, clock=clock)
        create_repository(store.path, branch)
        return store

    # ---- the ports; see `perago.ports` for their contract

    def download_workspace(
        self, workspace_input: WorkspaceInput, workspace_spec: WorkspaceSpec, workspace_dir: Path
    ) -> FileDigests:
        """Lay out the input's files below the prefix.

        For a writable task, a missing prefix is an empty workspace, and its output creates the prefix.

        Raises:
            RefNotFoundError, BranchNotFoundError, RepositoryNotFoundError: something that the input names is missing.
            PrefixNotFoundError: the prefix of a read-only task is missing.
            ObjectNameError: an entry of the commit cannot be laid out; nothing was written.
            StoreError: content is missing or damaged.
            WorkspaceStorageError: the disk refused.
        """
        return self._lay_out(workspace_input, workspace_spec, workspace_dir, lambda _: NOTHING_KEPT)

    def complete_workspace(
        self,
        workspace_input: WorkspaceInput,
        workspace_spec: WorkspaceSpec,
        workspace_dir: Path,
        keep: KeepFiles,
    ) -> FileDigests:
        """As `download_workspace`, without the files that are kept."""
        return self._lay_out(workspace_input, workspace_spec, workspace_dir, lambda layout: keep(sources(layout)))

    def _lay_out(
        self,
        workspace_input: WorkspaceInput,
        workspace_spec: WorkspaceSpec,
        workspace_dir: Path,
        keep: Callable[[Layout], Kept],
    ) -> FileDigests:
        with collector_paused():
            layout = self._layout(workspace_input, workspace_spec)
            check_layout(layout, workspace_dir)
            kept = keep(layout)
        progress = self._progress(Phase.MATERIALIZE, len(layout.files) - len(kept.digests))
        return lay_out(self._repository, layout, workspace_dir, progress, kept=kept)

    def list_workspace(
        self, workspace_input: WorkspaceInput, workspace_spec: WorkspaceSpec
    ) -> Mapping[str, ListedFile]:
        """The input's files below the prefix. Raises as `download_workspace`, but for the disk."""
        return list_layout(self._repository, self._layout(workspace_input, workspace_spec))

    def _layout(self, workspace_input: WorkspaceInput, spec: WorkspaceSpec) -> Layout:
        commit = self._repository.input_commit(workspace_input.ref)
        self._repository.branch_head(workspace_input.branch)
        return plan_layout(self._repository, str(commit.id), spec, may_be_missing=not spec.read_only)

    def read_history(self, workspace_input: WorkspaceInput) -> History:
        """Read the head, then the first-parent line from it down to the input."""
        return read_history(self._repository, workspace_input)

    def validate_reads(
        self, workspace_input: WorkspaceInput, workspace_spec: WorkspaceSpec, merge: Merge
    ) -> Conflict | None:
        """What the task could see and the merge's foreign commits have changed. Reads no file's content."""
        return validate_reads(self._repository, workspace_input, workspace_spec, merge)

    def stage_workspace(
        self,
        workspace_dir: Path,
        workspace_input: WorkspaceInput,
        workspace_spec: WorkspaceSpec,
        execution: TaskExecution,
    ) -> StagedWorkspace:
        """Store the changed files, and commit them on top of the plan's head. No branch contains the commit yet."""
        total = len(execution.changes.written) if execution.changes is not None else 0
        progress = self._progress(Phase.STAGE, total, execution)
        return self._staging.stage(workspace_dir, workspace_input, workspace_spec, execution, progress)

    def publish_workspace(
        self,
        staged: StagedWorkspace,
        workspace_input: WorkspaceInput,
        workspace_spec: WorkspaceSpec,  # noqa: ARG002 - named by the contract
        execution: TaskExecution,  # noqa: ARG002 - named by the contract
    ) -> str:
        """Move the branch to the staged commit by compare-and-swap. Returns that commit's id."""
        return publish(self._references, staged, workspace_input)

    def complete_noop_workspace(
        self,
        workspace_input: WorkspaceInput,
        workspace_spec: WorkspaceSpec,  # noqa: ARG002 - named by the contract
        execution: TaskExecution,
    ) -> str:
        """Return the commit that an attempt without changes completes with."""
        return complete_noop(self._repository, workspace_input, execution)

    def cleanup_staging(self, staged: StagedWorkspace) -> None:
        """Remove the staging reference. A missing one is fine."""
        cleanup_staging(self._references, staged)

    # ---- of transactional runs; see `perago.ports.TransactionalStore`

    def create_run_branch(self, repository: str, branch: str, source: str) -> str:  # noqa: ARG002 - named by the contract
        """Create the branch of a run, unless it exists. Returns the commit at which it was created."""
        return create_run_branch(self._references, branch, source)

    def changes_of_run(self, workspace_input: WorkspaceInput, run_ref: str) -> Changes:
        """The paths that differ from the input to a commit of the run's branch."""
        return self.changes(workspace_input.ref, run_ref)

    def stage_run(self, workspace_input: WorkspaceInput, run_ref: str, execution: TaskExecution) -> StagedWorkspace:
        """Commit what leads from the input to the run's commit on top of the plan's head. Reads no file's content."""
        return self._staging.stage_run(workspace_input, run_ref, execution)

    # ---- of an index of history and a cache of runs; see `perago.ports.ReusableStore`

    def changes_of(self, repository: str, commits: Sequence[CommitEntry], prefix: str = "") -> list[Changes]:  # noqa: ARG002 - named by the contract
        """The names that each commit changed since its first parent; only those that begin with `prefix`."""
        return changes_of(self._repository, commits, prefix)

    def commits_since(self, repository: str, known: Callable[[str], bool]) -> Iterator[CommitEntry]:  # noqa: ARG002 - named by the contract
        """All commits of all branches, without known ones and what comes before those. Reads no trees."""
        return commits_since(self._repository, self._references.heads(), known)

    def has_same_files(self, workspace_input: WorkspaceInput, ref: str, workspace_spec: WorkspaceSpec) -> bool:
        """Whether the files that a spec selects are the same in two commits. Reads only the trees that differ."""
        return has_same_files(self._repository, (workspace_input.ref, ref), workspace_spec)

    def stage_copy(
        self,
        source_ref: str,
        workspace_input: WorkspaceInput,
        workspace_spec: WorkspaceSpec,
        execution: TaskExecution,
    ) -> StagedWorkspace:
        """Commit files of another commit, and the deletions, on top of the plan's head. Reads no file's content."""
        return self._staging.stage_copy(source_ref, workspace_input, workspace_spec, execution)

    # ---- for the commands

    def branch_head(self, branch: str) -> str | None:
        """Full id of the commit that a branch points at; None if there is no such branch."""
        return self._repository.find_branch_head(branch)

    def create_branch(self, branch: str, commit: str) -> None:
        """Create a branch at a commit, by its full id."""
        check_branch_name(branch)
        self._references.create_branch(branch, str(self._repository.input_commit(commit).id))

    def resolve(self, ref: str) -> str:
        """Full id of the commit named by a branch, a tag or the beginning of an id. See `resolve.resolve`."""
        return resolve(self._repository, ref)

    def branches(self) -> list[str]:
        """Names of all branches but those of transactional runs, sorted."""
        with translated("listing the branches", self.path):
            return sorted(name for name in self._repository.handle.branches.local if run_branch_time(name) is None)

    def import_directory(
        self, source: Path, branch: str, message: str, *, spec: WorkspaceSpec | None = None, mirror: bool = False
    ) -> str | None:
        """Commit a directory's files to a branch below `spec.prefix`, in one commit without a stamp.

        Args:
            spec: selects files by prefix, include and exclude; others stay unchanged. Default: everything.
            mirror: delete selected files that the directory does not have.

        Returns:
            the commit's id, or None if nothing differs. See `import_export.Import.run` for the errors.
        """
        return self._import(source, spec, mirror=mirror).run(branch, message, self._clock, self._progress(Phase.STAGE))

    def compare_directory(
        self, source: Path, branch: str, *, spec: WorkspaceSpec | None = None, mirror: bool = False
    ) -> Changes:
        """The changes that `import_directory` would make. Writes nothing. See `import_export.Import.compare`."""
        return self._import(source, spec, mirror=mirror).compare(branch, self._progress(Phase.STAGE))

    def _import(self, source: Path, spec: WorkspaceSpec | None, *, mirror: bool) -> Import:
        return Import(self._repository, self._references, source, spec or WorkspaceSpec(), mirror)

    def export(self, ref: str, prefix: str, target: Path) -> int:
        """Lay out a commit's files below a new or empty directory. Returns the number. See `import_export.export`."""
        spec = WorkspaceSpec(prefix=prefix or WHOLE_REPOSITORY)
        progress = self._progress(Phase.MATERIALIZE)
        return export(self._repository, ref, spec, target, progress)

    def files(self, ref: str, prefix: str) -> list[str]:
        """The names of a commit's regular files below a prefix ("/": all), sorted."""
        return list_files(self._repository, ref, WorkspaceSpec(prefix=prefix or WHOLE_REPOSITORY))

    def find_file(self, ref: str, path: str) -> StoredFile | None:
        """A regular file of a commit; None if it has no such file."""
        return find_file(self._repository, ref, path)

    def find_files(self, ref: str, paths: Sequence[str]) -> Iterator[StoredFile | None]:
        """Regular files of a commit, in the order of their names; None for each that it does not have."""
        return find_files(self._repository, ref, paths)

    def log(self, ref: str, limit: int) -> Iterator[LogEntry]:
        """The commit `ref` and its first parents, newest first, at most `limit` of them."""
        return log(self._repository, ref, limit)

    def changes(self, before: str, after: str) -> Changes:
        """The names that differ from one commit to another."""
        return changes(self._repository, before, after)

    def sweep(self, older_than_seconds: float, *, runs_older_than_seconds: float = RUN_BRANCH_TTL_SECONDS) -> Swept:
        """Remove leftovers of killed attempts, and branches of old runs. See `clean.sweep`."""
        return sweep(self._references, older_than_seconds, runs_older_than_seconds)

    def examine(
        self,
        *,
        older_than_seconds: float,
        run_age_limit: RunAgeLimit = default_run_age_limit,
        liveness_of: AttemptLiveness = lambda _: "unknown",
        living_since: float | None = None,
        deep: bool = False,
    ) -> Iterator[Finding]:
        """Find leftovers of killed attempts and missing or damaged data. Changes nothing.

        Arguments and errors as in `Examination`.
        """
        self._repository.handle  # noqa: B018 - raises if it cannot be opened
        return Examination(
            references=self._references,
            older_than_seconds=older_than_seconds,
            run_age_limit=run_age_limit,
            liveness_of=liveness_of,
            living_since=living_since,
            deep=deep,
        ).run()

    @property
    def _staging(self) -> Staging:
        return Staging(self._repository, self._references, self._clock)

    def _progress(self, phase: Phase, total_files: int = 0, execution: TaskExecution | None = None) -> TransferProgress:
        return TransferProgress(self._observer, self._clock, phase, total_files=total_files, execution=execution)

"""A versioned store in memory, for tests: the ports of a real one, and methods to inspect it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import assert_never

from perago.errors import PrefixNotFoundError, RefNotFoundError, RepositoryNotFoundError, SourceGoneError
from perago.ports import CommitEntry, FileDigests, ListedFile
from perago.testing.commits import Blob, Commit, Commits, Overlay, Tree, changed, put
from perago.testing.files import check_places, lay_out, read_file
from perago.values.history import CommitFacts, Conflict, History, Merge, Publish, Seal, Stamp, WritePlan
from perago.values.models import Changes, StagedWorkspace, TaskExecution, WorkspaceInput, staging_branch_name
from perago.values.names import check_object_names, stands_for_directory
from perago.values.plans import (
    MAX_HISTORY,
    changes_for,
    compared,
    conflict,
    foreign_changes,
    input_not_on_branch,
    noop_commit,
    plan_without_engine,
    stamp_for,
    writing,
)
from perago.values.spec import WorkspaceSpec
from perago.values.stamps import from_pairs, to_pairs
from perago.workspace.digest import SHA256, digest_bytes
from perago.workspace.folding import probe_folding
from perago.workspace.merge import changed_reads, conflict_at, merge_paths
from perago.workspace.patterns import Selection, visible_to
from perago.workspace.reading import open_workspace

_FULL_ID = re.compile(r"[0-9a-f]{40}")


class MemoryStore:
    """A versioned store in memory that behaves like a real one. Thread-safe.

    It passes the same contract suite (`perago.testing.contract`) as the real stores.

    Args:
        repository: name of its only repository, for inputs.
    """

    def __init__(self, repository: str = "memory") -> None:
        self.repository = repository
        self._commits = Commits(repository)

    # ---- the ports, as documented in `perago.ports`

    def download_workspace(
        self, workspace_input: WorkspaceInput, workspace_spec: WorkspaceSpec, workspace_dir: Path
    ) -> FileDigests:
        """Write the input's files below the prefix to the workspace.

        Raises:
            RefNotFoundError, BranchNotFoundError, RepositoryNotFoundError: the input names something that does not
                exist.
            PrefixNotFoundError: the prefix of a read-only task does not exist.
            ObjectNameError: a name cannot be a file; nothing was written.
            WorkspaceStorageError: the files cannot be written.
        """
        files = self._selected(workspace_input, workspace_spec)
        check_object_names(files, probe_folding(workspace_dir))
        lay_out(files, workspace_dir)
        return {path: digest_bytes(blob.content, SHA256) for path, blob in files.items()}

    def list_workspace(
        self, workspace_input: WorkspaceInput, workspace_spec: WorkspaceSpec
    ) -> Mapping[str, ListedFile]:
        """The input's files below the prefix."""
        return {
            path: ListedFile(len(blob.content), blob.executable, digest_bytes(blob.content, SHA256))
            for path, blob in self._selected(workspace_input, workspace_spec).items()
        }

    def _selected(self, workspace_input: WorkspaceInput, workspace_spec: WorkspaceSpec) -> Mapping[str, Blob]:
        commit = self._input_commit(workspace_input)
        self._commits.head(workspace_input.branch)
        selection = Selection(workspace_spec.include, workspace_spec.exclude)
        below = self._below_prefix(commit, workspace_spec)
        return {path: blob for path, blob in _files(below, workspace_spec.root).items() if selection.selects(path)}

    def read_history(self, workspace_input: WorkspaceInput) -> History:
        """Read the head, then the first-parent line from it down to the input."""
        base = self._input_commit(workspace_input).id
        head = self._commits.head(workspace_input.branch)
        between: list[CommitFacts] = []
        for commit in self._commits.first_parents(head):
            if commit.id == base:
                return History(head, base, tuple(between))
            if len(between) == MAX_HISTORY:
                break
            between.append(self._facts(commit))
        raise input_not_on_branch(workspace_input.branch, base, head)

    def validate_reads(
        self, workspace_input: WorkspaceInput, workspace_spec: WorkspaceSpec, merge: Merge
    ) -> Conflict | None:
        """What the task could see and the merge's foreign commits have changed."""
        base = self._input_commit(workspace_input).tree
        foreign = dict(zip(merge.foreign, self._foreign_changes(merge), strict=True))
        return changed_reads(foreign, base.get, visible_to(workspace_spec))

    def stage_workspace(
        self,
        workspace_dir: Path,
        workspace_input: WorkspaceInput,
        workspace_spec: WorkspaceSpec,
        execution: TaskExecution,
    ) -> StagedWorkspace:
        """Commit the changed files on top of the plan's head, on no branch."""
        with open_workspace(workspace_dir) as files:
            return self._stage_changes(workspace_input, workspace_spec, execution, lambda path: read_file(files, path))

    def publish_workspace(
        self,
        staged: StagedWorkspace,
        workspace_input: WorkspaceInput,
        workspace_spec: WorkspaceSpec,  # noqa: ARG002 - named by the contract
        execution: TaskExecution,  # noqa: ARG002 - named by the contract
    ) -> str:
        """Move the branch to the staged commit by compare-and-swap; returns the commit's id."""
        self._check_repository(workspace_input.repository)
        self._commits.swap(workspace_input.branch, self._commits.get(staged.commit))
        return staged.commit

    def complete_noop_workspace(
        self,
        workspace_input: WorkspaceInput,
        workspace_spec: WorkspaceSpec,  # noqa: ARG002 - named by the contract
        execution: TaskExecution,
    ) -> str:
        """The commit that an attempt without changes completes with."""
        plan = execution.plan or plan_without_engine(self.read_history(workspace_input))
        return noop_commit(plan, workspace_input, decided_by_store=execution.plan is None)

    def cleanup_staging(self, staged: StagedWorkspace) -> None:
        """Remove the staging reference, if it exists."""
        self._commits.drop_staged(staged.branch)

    # ---- of transactional runs

    def create_run_branch(self, repository: str, branch: str, source: str) -> str:
        """Create the branch of a run, unless it exists; returns the commit at which it was created."""
        ref = source if _FULL_ID.fullmatch(source) else self._commits.head(source)
        given = self._input_commit(WorkspaceInput(repository=repository, branch=branch, refType="commit", ref=ref))
        for commit in self._commits.first_parents(self._commits.create(branch, given.id)):
            if commit.stamp is None or commit.stamp.branch != branch:
                return commit.id
        raise AssertionError("the first commit is no run's")

    def changes_of_run(self, workspace_input: WorkspaceInput, run_ref: str) -> Changes:
        """The paths that differ from the input to a commit of the run's branch."""
        return _changes(self._input_commit(workspace_input).tree, self._commits.get(run_ref).tree)

    def stage_run(self, workspace_input: WorkspaceInput, run_ref: str, execution: TaskExecution) -> StagedWorkspace:
        """Commit what leads from the input to a commit of the run's branch on top of the plan's head, on no branch."""
        own = changed(self._input_commit(workspace_input).tree, self._commits.get(run_ref).tree)
        return self._stage(workspace_input, execution, own)

    # ---- of an index of history and a cache of runs

    def commits_since(self, repository: str, known: Callable[[str], bool]) -> Iterator[CommitEntry]:
        """All commits of all branches, without known ones and what comes before those."""
        self._check_repository(repository)
        return map(self._entry, self._commits.unknown(known))

    def changes_of(self, repository: str, commits: Sequence[CommitEntry], prefix: str = "") -> list[Changes]:
        """The names that each commit changed since its first parent; only those that begin with `prefix`."""
        self._check_repository(repository)
        found = [self._commits.get(entry.id) for entry in commits]
        return [_changes(self._commits.parent_tree(commit), commit.tree).beginning_with(prefix) for commit in found]

    def has_same_files(self, workspace_input: WorkspaceInput, ref: str, workspace_spec: WorkspaceSpec) -> bool:
        """Whether the files that a spec selects are the same in two commits."""
        other = workspace_input.model_copy(update={"ref": ref})
        return self._selected(workspace_input, workspace_spec) == self._selected(other, workspace_spec)

    def stage_copy(
        self,
        source_ref: str,
        workspace_input: WorkspaceInput,
        workspace_spec: WorkspaceSpec,
        execution: TaskExecution,
    ) -> StagedWorkspace:
        """Commit files of another commit, and the deletions, on top of the plan's head, on no branch."""
        root, source = workspace_spec.root, self._commits.find(source_ref)

        def blob_at(path: str) -> Blob:
            if source is None or root + path not in source.tree:
                raise SourceGoneError(f"commit {source_ref[:12]} of {self.repository!r} has no file {root + path!r}")
            return source.tree[root + path]

        return self._stage_changes(workspace_input, workspace_spec, execution, blob_at)

    # ---- for tests: actions of people, and the repository's content

    def commit(
        self,
        branch: str,
        files: Mapping[str, bytes | str | None],
        author: str = "someone",
        *,
        subject: str = "by hand",
        executable: Collection[str] = (),
        stamp: Stamp | None = None,
    ) -> str:
        """Commit on the head without Perago.

        Args:
            branch: created if there is none.
            files: content by object name; None deletes. Any name is accepted, even a hostile one.
            executable: names with the executable bit.
            stamp: a forged one.

        Returns:
            The commit's id.
        """
        overlay = {path: _blob(content, path in executable) for path, content in files.items()}
        return self._commits.commit_on(branch, overlay, stamp=stamp, author=author, subject=subject).id

    def cherry_pick(self, commit_id: str, branch: str, author: str = "someone") -> str:
        """Apply a commit's changes to a branch with its metadata, including a stamp, as a person may do."""
        source = self._commits.get(commit_id)
        overlay = changed(self._commits.parent_tree(source), source.tree)
        made = self._commits.commit_on(branch, overlay, stamp=source.stamp, author=author, subject=source.subject)
        return made.id

    def merge(self, source: str, branch: str, author: str = "someone") -> str:
        """Merge a branch into another, as a person does. At a path that both have, the content is that of `source`."""
        merged, subject = self._commits.get(self._commits.head(source)), f"Merge branch {source!r}"
        made = self._commits.commit_on(
            branch, merged.tree, stamp=None, author=author, subject=subject, merged=merged.id
        )
        return made.id

    def reset(self, branch: str, commit_id: str) -> None:
        """Set a branch to a commit, wherever it stands, as a person's `git reset` and forced push do."""
        self._commits.reset(branch, commit_id)

    def delete_branch(self, branch: str) -> None:
        """Delete a branch, as people and janitors do. Its commits stay.

        Raises:
            BranchNotFoundError
        """
        self._commits.delete(branch)

    def input(self, branch: str = "main", ref: str | None = None) -> WorkspaceInput:
        """A task's workspace input. Default: the branch's head."""
        ref = self.head(branch) if ref is None else ref
        return WorkspaceInput(repository=self.repository, branch=branch, refType="commit", ref=ref)

    def files(self, ref_or_branch: str) -> dict[str, bytes]:
        """Content by object name."""
        return {path: blob.content for path, blob in self._at(ref_or_branch).tree.items()}

    def executables(self, ref_or_branch: str) -> set[str]:
        """Object names with the executable bit."""
        return {path for path, blob in self._at(ref_or_branch).tree.items() if blob.executable}

    def branches(self) -> list[str]:
        """Names of all branches, sorted."""
        return self._commits.branches()

    def head(self, branch: str) -> str:
        """Id of the commit that a branch points at.

        Raises:
            BranchNotFoundError
        """
        return self._commits.head(branch)

    def history(self, ref_or_branch: str) -> list[str]:
        """Commit ids on the first-parent line, from this commit or head to the root."""
        is_commit = self._commits.find(ref_or_branch) is not None
        begin = ref_or_branch if is_commit else self.head(ref_or_branch)
        return [commit.id for commit in self._commits.first_parents(begin)]

    def stamp_of(self, commit_id: str) -> Stamp | None:
        """The stamp in a commit, whether it counts or not."""
        return self._commits.get(commit_id).stamp

    def staged(self) -> list[str]:
        """Names of staged work that is not cleaned up, sorted."""
        return self._commits.staged()

    # ---- internal

    def _check_repository(self, repository: str) -> None:
        if repository != self.repository:
            raise RepositoryNotFoundError(
                f"there is no repository {repository!r}; this one is {self.repository!r}. Create it with "
                f"MemoryStore({repository!r})"
            )

    def _input_commit(self, workspace_input: WorkspaceInput) -> Commit:
        self._check_repository(workspace_input.repository)
        ref = workspace_input.ref
        if not _FULL_ID.fullmatch(ref):
            raise RefNotFoundError(
                f"input ref {ref!r} is not a full commit id (40 lower-case hex digits); give the result of "
                f"MemoryStore.commit or MemoryStore.head(branch)"
            )
        found = self._commits.find(ref)
        if found is None:
            raise RefNotFoundError(
                f"repository {self.repository!r} has no commit {ref}; give the result of MemoryStore.commit"
            )
        return found

    def _at(self, ref_or_branch: str) -> Commit:
        head = self._commits.find_head(ref_or_branch)
        return self._commits.get(ref_or_branch if head is None else head)

    def _below_prefix(self, commit: Commit, spec: WorkspaceSpec) -> Tree:
        root = spec.root
        below = {path.removeprefix(root): blob for path, blob in commit.tree.items() if path.startswith(root)}
        is_file = spec.prefix in commit.tree
        if root and not below and (spec.read_only or is_file):
            raise PrefixNotFoundError(
                f"commit {commit.id[:12]} of {self.repository!r} has no directory {spec.prefix!r}"
                + ("; it is a file" if is_file else "")
                + ". Give an existing prefix"
            )
        return below

    def _facts(self, commit: Commit) -> CommitFacts:
        empty = commit.parent is not None and commit.tree == self._commits.parent_tree(commit)
        return CommitFacts(commit.id, commit.parent or "", commit.stamp, empty, commit.author, commit.subject)

    def _entry(self, commit: Commit) -> CommitEntry:
        counts = commit.stamp is not None and commit.stamp.expected_head == commit.parent
        return CommitEntry(
            id=commit.id,
            parents=commit.parents,
            author=commit.author,
            time=self._commits.time_of(commit),
            subject=commit.subject,
            stamp=commit.stamp if counts else None,
        )

    def _write_plan(self, workspace_input: WorkspaceInput, execution: TaskExecution) -> WritePlan:
        plan = execution.plan or plan_without_engine(self.read_history(workspace_input))
        return writing(plan, workspace_input)

    def _stage_changes(
        self,
        workspace_input: WorkspaceInput,
        spec: WorkspaceSpec,
        execution: TaskExecution,
        blob_at: Callable[[str], Blob],
    ) -> StagedWorkspace:
        """Stage the plan's changes. `blob_at` has the content of each written path."""
        changes = changes_for(execution, self._write_plan(workspace_input, execution))
        check_object_names((spec.root + path for path in changes.written), prefix=spec.root)
        own: dict[str, Blob | None] = {spec.root + path: None for path in changes.deleted}
        own.update((spec.root + path, blob_at(path)) for path in changes.written)
        return self._stage(workspace_input, execution, own)

    def _stage(self, workspace_input: WorkspaceInput, execution: TaskExecution, own: Overlay) -> StagedWorkspace:
        plan = self._write_plan(workspace_input, execution)
        stamp = stamp_for(execution, plan)
        base = self._input_commit(workspace_input)
        parent = self._commits.get(plan.head)
        changes = changes_for(execution, plan)
        tree = self._staged_tree(plan, parent, base, own)
        staged = self._commits.add(
            parent.id,
            tree,
            stamp=_as_stored(stamp),
            author="perago",
            subject=_subject(stamp, plan, changes),
        )
        name = staging_branch_name(execution)
        self._commits.keep_staged(name, staged.id)
        return StagedWorkspace(repository=workspace_input.repository, branch=name, commit=staged.id)

    def _staged_tree(self, plan: WritePlan, parent: Commit, base: Commit, own: Overlay) -> Tree:
        match plan:
            case Seal():
                return parent.tree
            case Publish():
                tree = put(base.tree, own)
                check_places(own, _files(tree))
                return tree
            case Merge():
                return put(base.tree, self._merged(plan, own, base.tree))
        assert_never(plan)

    def _foreign_changes(self, plan: Merge) -> list[dict[str, Blob | None]]:
        commits = [self._commits.get(commit_id) for commit_id in compared(plan)]
        changes = {commit.id: changed(self._commits.parent_tree(commit), commit.tree) for commit in commits}
        return foreign_changes(plan, changes)

    def _merged(self, plan: Merge, own: Overlay, base: Tree) -> Overlay:
        def below(path: str) -> list[str]:
            return [name for name in base if name.startswith(path + "/")]

        foreign = self._foreign_changes(plan)
        merged = merge_paths(foreign, own, base.get, below)
        found = conflict_at(merged.conflicts, dict(zip(plan.foreign, foreign, strict=True)))
        if found is not None:
            raise conflict(found, plan)
        return merged.overlay


def _changes(before: Tree, after: Tree) -> Changes:
    paths = sorted(changed(before, after))
    return Changes(
        added=tuple(path for path in paths if path not in before),
        modified=tuple(path for path in paths if path in before and path in after),
        deleted=tuple(path for path in paths if path not in after),
    )


def _files(tree: Tree, root: str = "") -> Tree:
    """The tree without directory markers. `root` is the prefix removed from the paths."""
    return {path: blob for path, blob in tree.items() if not stands_for_directory(root + path, len(blob.content))}


def _blob(content: bytes | str | None, executable: bool) -> Blob | None:
    if content is None:
        return None
    return Blob(content.encode() if isinstance(content, str) else bytes(content), executable)


def _as_stored(stamp: Stamp) -> Stamp | None:
    """The stamp as read back from a store with text metadata."""
    return from_pairs(to_pairs(stamp))


def _subject(stamp: Stamp, plan: WritePlan, changes: Changes) -> str:
    if isinstance(plan, Seal):
        return f"{stamp.task}: completed with {plan.completes[:12]}"
    return f"{stamp.task}: +{len(changes.added)} ~{len(changes.modified)} -{len(changes.deleted)} files"

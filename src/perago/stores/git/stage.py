"""Staging: store the changed files, and commit them on top of the head. No branch contains the commit yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from perago.ports import Clock
from perago.stores.git.commits import Identity, write_commit
from perago.stores.git.copying import leaves_to_copy
from perago.stores.git.history import compose, parent_of, publication_subject, read_history, seal_subject
from perago.stores.git.objects import Leaf, ObjectReader, ObjectWriter
from perago.stores.git.packs import open_writer
from perago.stores.git.refs import References
from perago.stores.git.repository import BareRepository
from perago.stores.git.trees import Overlay, Snapshot, compare, edit
from perago.stores.git.upload import Uploader
from perago.values.history import Conflict, Merge, Plan, Publish, Seal, WritePlan
from perago.values.models import Changes, StagedWorkspace, TaskExecution, WorkspaceInput, staging_branch_name
from perago.values.names import check_git_name
from perago.values.plans import (
    changes_for,
    compared,
    conflict,
    foreign_changes,
    plan_without_engine,
    stamp_for,
    suspects,
    writing,
)
from perago.values.spec import WorkspaceSpec
from perago.workspace.merge import changed_reads, conflict_at, merge_paths
from perago.workspace.patterns import visible_to
from perago.workspace.progress import TransferProgress
from perago.workspace.reading import open_workspace


def validate_reads(
    repository: BareRepository, workspace_input: WorkspaceInput, spec: WorkspaceSpec, merge: Merge
) -> Conflict | None:
    """See `ports.ValidateReads`. Reads only trees that differ, below the prefix."""
    reader, sees = ObjectReader(repository), visible_to(spec)
    before = str(repository.input_commit(workspace_input.ref).tree_id)

    def changed_by(commit_ids: Iterable[str]) -> dict[str, Overlay]:
        return {commit_id: _changed_by(repository, reader, commit_id, spec.root) for commit_id in commit_ids}

    if merge.abandoned:
        foreign = foreign_changes(merge, changed_by(compared(merge)))
        return changed_reads(dict(zip(merge.foreign, foreign, strict=True)), Snapshot(reader, before).leaf, sees)
    now = str(repository.commit(merge.head).tree_id)
    seen = [path for path in compare(reader, before, now, spec.root) if sees(path)]
    return conflict_at(seen, changed_by(suspects(merge))) if seen else None


def _changed_by(repository: BareRepository, reader: ObjectReader, commit_id: str, root: str = "") -> Overlay:
    """A commit's changes to its first parent below `root`."""
    commit = repository.commit(commit_id)
    parent = parent_of(commit)
    before = str(repository.commit(parent).tree_id) if parent is not None else None
    return {path: change.after for path, change in compare(reader, before, str(commit.tree_id), root).items()}


@dataclass(frozen=True)
class Staging:
    """The means to stage: the repository, its references, and the clock for the commit."""

    repository: BareRepository
    references: References
    clock: Clock

    def stage(
        self,
        workspace_dir: Path,
        workspace_input: WorkspaceInput,
        spec: WorkspaceSpec,
        execution: TaskExecution,
        progress: TransferProgress,
    ) -> StagedWorkspace:
        """See `ports.StageWorkspace`."""
        plan = self._plan(workspace_input, execution)
        changes = changes_for(execution, plan)
        base = str(self.repository.input_commit(workspace_input.ref).id)

        def write(writer: ObjectWriter) -> str:
            _check_names(spec, changes)
            with open_workspace(workspace_dir) as files:
                uploader = Uploader(self.repository, writer, files, progress)
                own = _overlay(spec, changes, uploader.upload)
            return self._tree(writer, plan, base, own)

        return self._stage(workspace_input, execution, plan, len(changes.written), write)

    def stage_copy(
        self, source_ref: str, workspace_input: WorkspaceInput, spec: WorkspaceSpec, execution: TaskExecution
    ) -> StagedWorkspace:
        """See `ports.ReusableStore.stage_copy`. The written files get the entries that they have in the source."""
        plan = self._plan(workspace_input, execution)
        changes = changes_for(execution, plan)
        base = str(self.repository.input_commit(workspace_input.ref).id)
        _check_names(spec, changes)
        leaves = leaves_to_copy(self.repository, source_ref, [spec.root + path for path in changes.written])
        own = _overlay(spec, changes, lambda path: leaves[spec.root + path])

        def write(writer: ObjectWriter) -> str:
            return self._tree(writer, plan, base, own)

        return self._stage(workspace_input, execution, plan, len(changes.written), write)

    def stage_run(self, workspace_input: WorkspaceInput, run_ref: str, execution: TaskExecution) -> StagedWorkspace:
        """See `ports.TransactionalStore.stage_run`. Reads only trees that differ.

        The commit's second parent is the run's. It keeps the run's commits after the run's branch is removed.
        """
        plan = self._plan(workspace_input, execution)
        changes = changes_for(execution, plan)
        base, run = (self.repository.input_commit(ref) for ref in (workspace_input.ref, run_ref))
        before, after = str(base.tree_id), str(run.tree_id)

        def write(writer: ObjectWriter) -> str:
            if isinstance(plan, Publish):
                return after
            differs = compare(ObjectReader(self.repository), before, after)
            return self._tree(writer, plan, str(base.id), {path: change.after for path, change in differs.items()})

        files = len(changes.written) if isinstance(plan, Merge) else 0
        parents = () if isinstance(plan, Seal) else (run_ref,)
        return self._stage(workspace_input, execution, plan, files, write, parents)

    def _stage(
        self,
        workspace_input: WorkspaceInput,
        execution: TaskExecution,
        plan: WritePlan,
        files: int,
        write: Callable[[ObjectWriter], str],
        other_parents: tuple[str, ...] = (),
    ) -> StagedWorkspace:
        """Commit the tree that `write` writes on top of the plan's head, and keep the commit with a reference.

        Args:
            files: the number of files that are new in the tree.
        """
        self.repository.commit(plan.head)  # libgit2 would accept a missing parent
        stamp = stamp_for(execution, plan)
        changes = changes_for(execution, plan)
        subject = seal_subject(stamp) if isinstance(plan, Seal) else publication_subject(stamp, changes)
        with open_writer(self.repository, files) as writer:
            tree = write(writer)
            commit_id = write_commit(
                writer,
                tree=tree,
                parents=(plan.head, *other_parents),
                identity=Identity.of(self.repository),
                message=compose(stamp, subject, tree),
                clock=self.clock,
            )
        name = self.references.keep_staged(staging_branch_name(execution), commit_id)
        return StagedWorkspace(repository=workspace_input.repository, branch=name, commit=commit_id)

    def _plan(self, workspace_input: WorkspaceInput, execution: TaskExecution) -> WritePlan:
        plan: Plan = execution.plan or plan_without_engine(read_history(self.repository, workspace_input))
        return writing(plan, workspace_input)

    def _tree(self, writer: ObjectWriter, plan: WritePlan, base: str, own: Overlay) -> str:
        reader = ObjectReader(self.repository)
        match plan:
            case Seal(head=head):
                return str(self.repository.commit(head).tree_id)
            case Publish():
                overlay = own
            case Merge():
                overlay = self._merged(reader, plan, own, base)
            case _:
                assert_never(plan)
        base_tree = str(self.repository.commit(base).tree_id)
        return edit(reader, writer, base_tree, overlay) if overlay else base_tree

    def _merged(self, reader: ObjectReader, plan: Merge, own: Overlay, base: str) -> Overlay:
        """The foreign commits' changes and this attempt's, combined.

        Raises:
            PublishFenceError: both changed a path.
        """
        changes = {commit_id: _changed_by(self.repository, reader, commit_id) for commit_id in compared(plan)}
        before = Snapshot(reader, str(self.repository.commit(base).tree_id))
        foreign = foreign_changes(plan, changes)
        merged = merge_paths(foreign, own, before.leaf, before.below)
        found = conflict_at(merged.conflicts, dict(zip(plan.foreign, foreign, strict=True)))
        if found is not None:
            raise conflict(found, plan)
        return merged.overlay


def _check_names(spec: WorkspaceSpec, changes: Changes) -> None:
    for path in changes.written:
        check_git_name(spec.root + path, prefix=spec.root)


def _overlay(spec: WorkspaceSpec, changes: Changes, leaf_of: Callable[[str], Leaf]) -> Overlay:
    """The new entry of each changed path of the repository. `leaf_of` has that of a written path."""
    own: dict[str, Leaf | None] = {spec.root + path: None for path in changes.deleted}
    own.update((spec.root + path, leaf_of(path)) for path in changes.written)
    return own

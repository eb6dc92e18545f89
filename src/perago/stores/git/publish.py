"""Publishing: move the branch to the staged commit, or complete without moving it."""

from __future__ import annotations

from perago.errors import StoreError
from perago.stores.git.history import parent_of, read_history, subject_of
from perago.stores.git.refs import References
from perago.stores.git.repository import BareRepository
from perago.values.models import StagedWorkspace, TaskExecution, WorkspaceInput
from perago.values.plans import noop_commit, plan_without_engine


def publish(references: References, staged: StagedWorkspace, workspace_input: WorkspaceInput) -> str:
    """Move the branch from the staged commit's parent to the staged commit. See `ports.PublishWorkspace`.

    The staged commit becomes the published one. A second call finds it on the branch and returns it.
    """
    commit = references.repository.commit(staged.commit)
    expected = parent_of(commit)
    if expected is None:
        raise StoreError(f"{staged.commit} was not staged by an attempt: it has no parent")
    references.swap_branch(workspace_input.branch, expected, staged.commit, f"perago: {subject_of(commit)}")
    return staged.commit


def complete_noop(repository: BareRepository, workspace_input: WorkspaceInput, execution: TaskExecution) -> str:
    """Return the commit that an attempt without changes completes with. See `ports.CompleteNoopWorkspace`."""
    plan = execution.plan or plan_without_engine(read_history(repository, workspace_input))
    return noop_commit(plan, workspace_input, decided_by_store=execution.plan is None)

"""Publishing: the branch moves to the staged content, or the attempt completes without moving it."""

from __future__ import annotations

from dataclasses import replace

from perago.errors import StoreError
from perago.history import Complete, Merge, Publish, Refuse, Seal, Stamp
from perago.models import StagedWorkspace, TaskExecution, WorkspaceInput
from perago.plans import plan_without_engine, refusal, stamp_for
from perago.stores.lakefs.client import LakeFSClient
from perago.stores.lakefs.commits import Commits
from perago.stores.lakefs.history import read_history
from perago.stores.lakefs.message import publication_metadata
from perago.stores.lakefs.swap import Mover
from perago.stores.lakefs.values import Commit


async def publish(
    mover: Mover, staged: StagedWorkspace, workspace_input: WorkspaceInput, execution: TaskExecution
) -> Commit:
    """Move the branch from the head that was staged upon to the staged commit. See `ports.PublishWorkspace`."""
    commit = await mover.commits.get(workspace_input.repository, staged.commit)
    if len(commit.parents) != 1:
        raise StoreError(f"{staged.commit} was not staged by an attempt: it does not stand on one head")
    stamp = _stamp_on(execution, commit.parents[0])
    return await mover.move(workspace_input, commit, publication_metadata(stamp, commit))


async def complete_noop(
    client: LakeFSClient, commits: Commits, workspace_input: WorkspaceInput, execution: TaskExecution
) -> str:
    """Say which commit an attempt without changes completes with. See `ports.CompleteNoopWorkspace`."""
    plan = execution.plan or plan_without_engine(await read_history(client, commits, workspace_input))
    match plan:
        case Complete(ref):
            return ref
        case Refuse():
            raise refusal(plan, workspace_input.branch, workspace_input.ref)
        case Publish() if execution.plan is None:
            return workspace_input.ref
    raise StoreError(f"an attempt without changes cannot be completed by a plan to {type(plan).__name__}")


def _stamp_on(execution: TaskExecution, head: str) -> Stamp:
    """The stamp of what was staged on this head."""
    plan = execution.plan
    stamp = stamp_for(execution, plan if isinstance(plan, Publish | Merge | Seal) else Publish(head))
    return replace(stamp, expected_head=head)

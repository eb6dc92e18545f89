"""Who belongs to a transactional run: only its own tasks publish to its branch."""

from __future__ import annotations

from perago.errors import PublishFenceError
from perago.values.history import CommitFacts
from perago.values.models import is_run_branch_of, run_branch_time
from perago.values.record import InstanceRecord


def may_publish(branch: str, workflow_instance_id: str, record: InstanceRecord | None) -> bool:
    """Whether a task may publish to a branch: always, unless it is the branch of a run that the task is not part of.

    A sub-workflow with an instance of its own is part of the run around it. The record names only the instance next
    around it, so each sub-workflow is believed.

    Args:
        workflow_instance_id: the task's.
        record: of that instance; None if it is unknown.
    """
    if run_branch_time(branch) is None or is_run_branch_of(branch, workflow_instance_id):
        return True
    return record is not None and record.parent is not None


def is_of_run(commit: CommitFacts, record: InstanceRecord) -> bool:
    """Whether a commit on a run's branch is the run's, by the record of the instance that began the run.

    Commits of its sub-workflows are. The record names only the outermost of their instances, so the stamps of a run
    with sub-workflows are believed.
    """
    stamp = commit.counting_stamp
    if stamp is None:
        return False
    return stamp.workflow_instance_id == record.workflow_instance_id or record.has_sub_workflows


def assert_may_publish(branch: str, workflow_instance_id: str, record: InstanceRecord | None) -> None:
    """Refuse a task that is not part of the run whose branch it is to publish to.

    Raises:
        PublishFenceError
    """
    if not may_publish(branch, workflow_instance_id, record):
        raise PublishFenceError(
            f"Not published: branch {branch!r} belongs to a transactional run, and only that run's tasks publish to "
            f"it. This task is of workflow {workflow_instance_id}. Give the task the branch that the run publishes to"
        )

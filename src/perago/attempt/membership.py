"""Who belongs to a transactional run: only its own tasks publish to its branch."""

from __future__ import annotations

from perago.errors import PublishFenceError
from perago.values.history import CommitFacts
from perago.values.models import is_run_branch_of, run_branch_time
from perago.values.record import InstanceRecord


def may_publish(branch: str, workflow_instance_id: str, record: InstanceRecord) -> bool:
    """Whether a task may publish to a branch: always, unless it is the branch of a run that the task is not part of.

    A sub-workflow with an instance of its own is part of the run around it.

    Args:
        workflow_instance_id: the task's.
        record: of its workflow.
    """
    if run_branch_time(branch) is None or is_run_branch_of(branch, workflow_instance_id):
        return True
    return any(is_run_branch_of(branch, instance) for instance in record.around(workflow_instance_id))


def is_of_run(commit: CommitFacts, workflow_instance_id: str, record: InstanceRecord) -> bool:
    """Whether a commit on a run's branch is the run's. Commits of its sub-workflows count, even of replaced ones.

    Args:
        workflow_instance_id: of the instance that began the run.
        record: of its workflow.
    """
    stamp = commit.counting_stamp
    if stamp is None or stamp.workflow_instance_id == workflow_instance_id:
        return stamp is not None
    root, path = stamp.logical_task
    return root == record.workflow_instance_id and path.startswith(record.path_of(workflow_instance_id, ""))


def assert_may_publish(branch: str, workflow_instance_id: str, record: InstanceRecord) -> None:
    """Refuse a task that is not part of the run whose branch it is to publish to.

    Raises:
        PublishFenceError
    """
    if not may_publish(branch, workflow_instance_id, record):
        raise PublishFenceError(
            f"Not published: branch {branch!r} belongs to a transactional run, and only that run's tasks publish to "
            f"it. This task is of workflow {workflow_instance_id}. Give the task the branch that the run publishes to"
        )

"""The record of a workflow and its sub-workflows, for engines that run each of them as an instance of its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from perago.errors import TaskNotFoundError
from perago.values.json_text import JsonObject
from perago.values.record import WITHIN, InstanceRecord, TryRecord, paths_around


@dataclass(frozen=True)
class WorkflowInstance:
    """A workflow instance as the engine shows it.

    Attributes:
        tries: in the order in which they were added, with the names that they have in this instance.
        parent_id, parent_task_id: for a sub-workflow, the instance that has started it, and the task there.
        params: its params, secrets masked; None if it has none, or it is unknown which of them are secrets.
        name: of its workflow; None if the engine does not tell it.
    """

    workflow_id: str
    tries: tuple[TryRecord, ...]
    parent_id: str | None = None
    parent_task_id: str | None = None
    params: JsonObject | None = None
    name: str | None = None

    def attached(self, child: WorkflowInstance) -> WorkflowInstance:
        """This instance with the id of a child that it does not show yet: the child may run before its id is there."""

        def attach(entry: TryRecord) -> TryRecord:
            waits = entry.task_id == child.parent_task_id and entry.status.is_live and entry.sub_workflow == ""
            return replace(entry, sub_workflow=child.workflow_id) if waits else entry

        return replace(self, tries=tuple(map(attach, self.tries)))


def read_tree(read: Callable[[str], WorkflowInstance], workflow_id: str, paths: Collection[str] = ()) -> InstanceRecord:
    """The record of the tree that an instance belongs to. A workflow without parent and without `paths` is read once.

    The instances around this one are read, and those of the sub-workflows that the tasks with these paths are in. One
    that the engine no longer has stays unread.

    Raises:
        TaskNotFoundError: the instance, or one around it, no longer exists.
    """
    instance = read(workflow_id)
    instances = {instance.workflow_id: instance.tries}
    while instance.parent_id is not None and instance.parent_id not in instances:
        instance = read(instance.parent_id).attached(instance)
        instances[instance.workflow_id] = instance.tries
    needed = {around for path in paths for around in paths_around(path)}
    tried: set[str] = set()
    while True:
        record = record_of_tree(instance.workflow_id, instances)
        missing = {child for path, child in record.unread.items() if path in needed and child} - tried
        if not missing:
            return replace(record, params=instance.params, workflow=instance.name)
        for child in sorted(missing):
            tried.add(child)
            try:
                instances[child] = read(child).tries
            except TaskNotFoundError:
                continue


def record_of_tree(root: str, instances: Mapping[str, Sequence[TryRecord]]) -> InstanceRecord:
    """The record of a root instance and its sub-workflows.

    Of several instances of one sub-workflow, that of its last try counts: the workflow continues with its result. The
    others never count again, whatever completed in them.

    Args:
        instances: the tries of each instance that has been read, in the order in which they were added, with the names
            that they have in it. A rerun can give a try a later time than that of a later one.
    """
    tries: list[TryRecord] = []
    parts: dict[str, str] = {}
    unread: dict[str, str] = {}

    def add(instance: str, around: str) -> None:
        last = {entry.reference_task_name: entry for entry in instances[instance]}
        for entry in instances[instance]:
            path = around + entry.reference_task_name
            tries.append(replace(entry, reference_task_name=path))
            child = entry.sub_workflow
            if child is None or last[entry.reference_task_name] is not entry:
                continue
            if child in instances and child not in parts:
                parts[child] = path
                add(child, path + WITHIN)
            elif child or entry.status.is_live:
                unread[path] = child

    add(root, "")
    return InstanceRecord(root, tuple(sorted(tries, key=lambda entry: entry.scheduled_time)), parts, unread)

"""Judges what a nemesis left of workflows and branches: each fault as a line of text. Nothing is asked of a server."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

WRITERS = {"prepare": "prepared.txt", "finish": "finished.txt"}
"""The tasks that publish, and the file to which each adds its workflow's id."""

_REFUSAL = re.compile(r"branch '(?P<branch>[^']+)' has moved from input [0-9a-f]{12} to [0-9a-f]{12} by commits that ")
_NAMED = re.compile(r"(?:replace: |; )(?:and )?([0-9a-f]{12})\b")


@dataclass
class Branch:
    """What became of one branch.

    Attributes:
        name: of the branch.
        log: the first-parent line, newest first, as the server tells it.
        files: its content at the head.
        seen: heads that were seen.
        by_hand: commits of the person, and the file that each of them added.
        workflows: the ended ones, with their tasks.
    """

    name: str
    log: list[Any] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    by_hand: dict[str, str] = field(default_factory=dict)
    workflows: list[Any] = field(default_factory=list)

    def faults(self) -> list[str]:
        """All that is wrong; the branch is named in each."""
        found = [*self._lost(), *self._twice(), *self._over_a_person(), *self._content(), *self._failures()]
        return [f"{self.name}: {fault}" for fault in found]

    def _lost(self) -> Iterator[str]:
        line = {commit["id"] for commit in self.log}
        for head in (self.seen | self.by_hand.keys()) - line:
            yield f"lost: {head}"
        for workflow in self.workflows:
            for task in workflow["tasks"]:
                ref = _output_ref(task)
                if ref is not None and ref not in line:
                    yield f"lost: {ref}, with which {_of(workflow, task)} completed"

    def _twice(self) -> Iterator[str]:
        """One publication of each logical task that completed, and none of another; completed with that one."""
        published = Counter(map(_logical_task, self._publications()))
        made = {(_logical_task(commit), commit["id"]) for commit in self._publications()}
        for workflow in self.workflows:
            for name in WRITERS:
                logical_task = (workflow["workflowId"], name)
                tries = [task for task in workflow["tasks"] if task["referenceTaskName"] == name]
                refs = {ref for task in tries if (ref := _output_ref(task)) is not None}
                count = published.pop(logical_task, 0)
                if len(refs) > 1 or count != len(refs):
                    yield f"{logical_task} has {count} publications, and completed with {sorted(refs)}"
                for ref in refs:
                    if (logical_task, ref) not in made:
                        yield f"{logical_task} completed with {ref}, which is another's"
        for stranger in published:
            yield f"a publication of {stranger}, which is no task of this branch"

    def _over_a_person(self) -> Iterator[str]:
        """Isolation is serializable: nothing but seals lies between a publication and what it was computed from."""
        ids = [commit["id"] for commit in self.log]
        for commit in self._publications():
            base = commit["metadata"]["perago.input-ref"]
            between = self.log[ids.index(commit["id"]) + 1 : ids.index(base)] if base in ids else None
            if between is None:
                yield f"{commit['id']} was computed from {base}, which is not on the branch"
            elif any(not _is_seal(other) for other in between):
                yield f"{commit['id']} was computed from {base}, and published over what came since"

    def _content(self) -> Iterator[str]:
        for name, path in WRITERS.items():
            done = [
                workflow["workflowId"]
                for workflow in self.workflows
                if any(_output_ref(task) for task in workflow["tasks"] if task["referenceTaskName"] == name)
            ]
            if sorted(self.files.get(path, b"").decode().split()) != sorted(done):
                yield f"{path} holds {self.files.get(path)!r}; completed were {done}"
        for path in set(self.by_hand.values()) - self.files.keys():
            yield f"the person's {path} is gone"

    def _failures(self) -> Iterator[str]:
        for workflow in self.workflows:
            if workflow["status"] != "COMPLETED" and not self.is_due(workflow):
                last = workflow["tasks"][-1]
                yield f"{_of(workflow, last)} ended {workflow['status']}: {last.get('reasonForIncompletion')}"

    def is_due(self, workflow: Any) -> bool:
        """Whether a workflow failed as it should: its last task was refused, for commits of the person and no other."""
        last = workflow["tasks"][-1]
        reason = last.get("reasonForIncompletion") or ""
        refused = _REFUSAL.search(reason)
        if workflow["status"] != "FAILED" or refused is None or refused["branch"] != self.name:
            return False
        named = _NAMED.findall(reason)
        ids = [commit["id"] for commit in self.log]
        since = ids[: ids.index(last["inputData"]["workspace"]["ref"])]
        persons = {commit[:12] for commit in since if commit in self.by_hand}
        return bool(named) and persons.issuperset(named)

    def _publications(self) -> list[Any]:
        return [commit for commit in self.log if "perago.task" in commit["metadata"] and not _is_seal(commit)]


def _is_seal(commit: Any) -> bool:
    return "perago.completes" in commit["metadata"]


def _logical_task(commit: Any) -> tuple[str, str]:
    metadata = commit["metadata"]
    return metadata["perago.workflow-instance-id"], metadata["perago.reference-task-name"]


def _output_ref(task: Any) -> str | None:
    """The commit that a task completed with; None: it did not."""
    return task["outputData"]["workspace"]["ref"] if task["status"] == "COMPLETED" else None


def _of(workflow: Any, task: Any) -> str:
    return f"{task['referenceTaskName']} of {workflow['workflowId']}"

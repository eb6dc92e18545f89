"""Judges what a nemesis left of workflows and branches: each fault as a line of text. Nothing is asked of a server."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

WRITERS = {"prepare": "prepared.txt", "finish": "finished.txt"}
"""The tasks that publish, and the file to which each adds its workflow's id."""

_REFUSAL = re.compile(r"branch '(?P<branch>[^']+)' has moved from input [0-9a-f]{12} to [0-9a-f]{12} by commits that ")
_NAMED = re.compile(r"(?:replace: |; )(?:and )?([0-9a-f]{12})\b")

Contents = Mapping[str, Mapping[str, bytes]]


@dataclass
class Branch:
    """What became of one branch.

    Attributes:
        name: of the branch.
        log: the first-parent line, newest first, as the server tells it.
        contents: of the writers' files, by commit and path; what is not there is empty.
        files: paths at the head.
        seen: heads that were seen.
        by_hand: commits of the person, and the file that each of them added.
        workflows: the ended ones, with their tasks.
        meddled: workflows that somebody terminated, restarted or reran: what they published before may be replaced.
        terminated: of these, the ones that somebody ended and nobody began anew.
        calm: workflows that ran when all faults were over.
    """

    name: str
    log: list[Any] = field(default_factory=list)
    contents: Contents = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)
    by_hand: dict[str, str] = field(default_factory=dict)
    workflows: list[Any] = field(default_factory=list)
    meddled: set[str] = field(default_factory=set)
    terminated: set[str] = field(default_factory=set)
    calm: set[str] = field(default_factory=set)

    def faults(self) -> list[str]:
        """All that is wrong; the branch is named in each."""
        looks = (self._lost, self._twice, self._reads, self._over_others, self._content, self._lines, self._failures)
        return [f"{self.name}: {fault}" for look in looks for fault in look()]

    def _lost(self) -> Iterator[str]:
        """Invariant 1: every head ever seen, and every commit that a task completed with, is on the line."""
        line = {commit["id"] for commit in self.log}
        for head in (self.seen | self.by_hand.keys()) - line:
            yield f"lost: {head}"
        for workflow in self.workflows:
            for task in workflow["tasks"]:
                ref = output_ref(task)
                if ref is not None and ref not in line:
                    yield f"lost: {ref}, with which {_of(workflow, task)} completed"

    def _twice(self) -> Iterator[str]:
        """Invariant 2: one publication of each logical task that completed, with that one, and none of another.

        A workflow that somebody meddled with may have further ones, which count no more.
        """
        published = Counter(map(_logical_task, self._publications()))
        made = {(_logical_task(commit), commit["id"]) for commit in self._publications()}
        for workflow in self.workflows:
            for name in WRITERS:
                logical_task = (workflow["workflowId"], name)
                refs = _refs_of(workflow, name)
                count = published.pop(logical_task, 0)
                is_wrong = count < len(refs) if workflow["workflowId"] in self.meddled else count != len(refs)
                if len(refs) > 1 or is_wrong:
                    yield f"{logical_task} has {count} publications, and completed with {sorted(refs)}"
                for ref in refs:
                    if (logical_task, ref) not in made:
                        yield f"{logical_task} completed with {ref}, which is another's"
        for stranger in published:
            yield f"a publication of {stranger}, which is no task of this branch"

    def _reads(self) -> Iterator[str]:
        """Invariant 2: a task that only reads completes with its input."""
        for workflow in self.workflows:
            for task in workflow["tasks"]:
                ref = None if task["referenceTaskName"] in WRITERS else output_ref(task)
                if ref not in (None, task["inputData"]["workspace"]["ref"]):
                    yield f"{_of(workflow, task)} completed with {ref}, which is not its input"

    def _over_others(self) -> Iterator[str]:
        """Invariant 4: between a publication and its input lie seals, and what its own workflow gave up."""
        ids = [commit["id"] for commit in self.log]
        effective = {ref for workflow in self.workflows for name in WRITERS for ref in _refs_of(workflow, name)}
        for commit in self._publications():
            base = commit["metadata"]["perago.input-ref"]
            if base not in ids:
                yield f"{commit['id']} was computed from {base}, which is not on the branch"
                continue
            own = _logical_task(commit)[0]
            for other in self.log[ids.index(commit["id"]) + 1 : ids.index(base)]:
                given_up = own in self.meddled and _is_of(other, own) and other["id"] not in effective
                if not _is_seal(other) and not given_up:
                    yield f"{commit['id']} was computed from {base}, and published over {other['id']}"

    def _content(self) -> Iterator[str]:
        """Every publication is its input and its own line; every other commit has the content of the one before."""
        parents = dict(zip([commit["id"] for commit in self.log], [*self.log[1:], None], strict=True))
        for commit in self.log:
            below = parents[commit["id"]]
            if below is None:
                continue
            is_ours = "perago.task" in commit["metadata"] and not _is_seal(commit)
            base = commit["metadata"]["perago.input-ref"] if is_ours else below["id"]
            expected = {path: self.contents.get(base, {}).get(path, b"") for path in WRITERS.values()}
            if is_ours:
                workflow, name = _logical_task(commit)
                expected[WRITERS[name]] += f"{workflow}\n".encode()
            found = {path: self.contents.get(commit["id"], {}).get(path, b"") for path in expected}
            if found != expected:
                yield f"{commit['id']} holds {found}; its input was {base}, so that {expected} is due"

    def _lines(self) -> Iterator[str]:
        """At the head, a task that completed has one line; one that did not has none, or one if it was given up."""
        head = self.contents.get(self.log[0]["id"], {})
        for name, path in WRITERS.items():
            lines = Counter(head.get(path, b"").decode().split())
            for workflow in self.workflows:
                count, due = lines.pop(workflow["workflowId"], 0), len(_refs_of(workflow, name))
                if count != due and not (workflow["workflowId"] in self.meddled and due == 0 and count == 1):
                    yield f"{path} has {count} lines of {workflow['workflowId']}; due are {due}"
            if lines:
                yield f"{path} has lines of strangers: {sorted(lines)}"
        for path in set(self.by_hand.values()) - self.files:
            yield f"the person's {path} is gone"

    def _failures(self) -> Iterator[str]:
        """Invariant 5: what did not complete was refused for another's commit or terminated, not in the calm."""
        for workflow in self.workflows:
            terminated = workflow["status"] == "TERMINATED" and workflow["workflowId"] in self.terminated
            due = (terminated or self.is_due(workflow)) and workflow["workflowId"] not in self.calm
            if workflow["status"] != "COMPLETED" and not due:
                last = workflow["tasks"][-1] if workflow["tasks"] else {"referenceTaskName": "none"}
                yield f"{_of(workflow, last)} ended {workflow['status']}: {last.get('reasonForIncompletion')}"

    def is_due(self, workflow: Any) -> bool:
        """Whether a workflow failed as it should: for commits of the person and of meddled workflows.

        Conductor says TIMED_OUT of one whose last try was refused, where it still knows of an older one that timed out.
        """
        if workflow["status"] not in ("FAILED", "TIMED_OUT") or not workflow["tasks"]:
            return False
        last = workflow["tasks"][-1]
        reason = last.get("reasonForIncompletion") or ""
        refused = _REFUSAL.search(reason)
        if refused is None or refused["branch"] != self.name:
            return False
        named = _NAMED.findall(reason)
        ids = [commit["id"] for commit in self.log]
        since = self.log[: ids.index(last["inputData"]["workspace"]["ref"])]
        others = {
            commit["id"][:12]
            for commit in since
            if commit["id"] in self.by_hand or any(_is_of(commit, meddled) for meddled in self.meddled)
        }
        return bool(named) and others.issuperset(named)

    def _publications(self) -> list[Any]:
        return [commit for commit in self.log if "perago.task" in commit["metadata"] and not _is_seal(commit)]


def journal_faults(entries: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Invariant 3: after a fence that saw another execution, nothing more of this one is staged or published."""
    stale: set[str] = set()
    for entry in entries:
        execution, event = entry.get("execution"), entry.get("event")
        if is_stale(entry):
            stale.add(str(execution))
        elif event in ("stage.started", "publish.started") and execution in stale:
            yield f"execution {execution} of task {entry.get('task')} came to {event} after its fence had failed"


def is_stale(entry: Mapping[str, Any]) -> bool:
    """Whether a line of the journal tells of a fence that saw another execution."""
    return entry.get("event") == "fence.failed" and entry.get("error") == "StaleAttemptError"


def output_ref(task: Any) -> str | None:
    """The commit that a task completed with; None: it did not."""
    return task["outputData"]["workspace"]["ref"] if task["status"] == "COMPLETED" else None


def _refs_of(workflow: Any, name: str) -> set[str]:
    tries = [task for task in workflow["tasks"] if task["referenceTaskName"] == name]
    return {ref for task in tries if (ref := output_ref(task)) is not None}


def _is_seal(commit: Any) -> bool:
    return "perago.completes" in commit["metadata"]


def _is_of(commit: Any, workflow: str) -> bool:
    return bool(commit["metadata"].get("perago.workflow-instance-id") == workflow)


def _logical_task(commit: Any) -> tuple[str, str]:
    metadata = commit["metadata"]
    return metadata["perago.workflow-instance-id"], metadata["perago.reference-task-name"]


def _of(workflow: Any, task: Any) -> str:
    return f"{task['referenceTaskName']} of {workflow['workflowId']}"

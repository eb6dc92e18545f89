"""Judges what a nemesis left of workflows and branches: each fault as a line of text. Nothing is asked of a server."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from nemesis.cached import CACHED, CACHED_SEES, made, number_of
from nemesis.runs import END, PARTS, SCOPE, halves
from nemesis.trees import LEAVES
from perago.values.joins import input_refs

NOTES = {f"note_{number}": f"note-{number}.txt" for number in range(1, 6)}
"""Tasks in snapshot isolation, several of one workflow at once."""

WRITERS: Mapping[str, Collection[str]] = {
    "prepare": ["prepared.txt"],
    "finish": ["finished.txt"],
    END: PARTS.values(),
    **{name: [path] for name, path in {**NOTES, **LEAVES}.items()},
}
"""The tasks that publish to the branch, and the files to which each adds its workflow's id; without those in `CACHED`,
which make a file anew."""

PUBLISHERS = (*WRITERS, *CACHED)
"""All tasks that publish to the branch."""

SEES: Mapping[str, Callable[[str], bool]] = {
    "finish": lambda path: not fnmatchcase(path, "by-hand-*.txt"),
    END: lambda path: fnmatchcase(path, SCOPE),
    **CACHED_SEES,
}
"""Tasks that are serializable and cannot see everything, with what they can see."""

_REFUSAL = re.compile(
    r"branch '(?P<branch>[^']+)' (?:has commits that this attempt has not seen"
    r"|others have changed what this (?:task|run) could see, .*?): (?=[0-9a-f]{12}\b)"
)
_CONFLICT = re.compile(r"others have changed \d+ of the paths that this attempt changed: (?P<paths>.+?)\. Noth")
_NAMED = re.compile(r"(?:: |; )(?:and )?([0-9a-f]{12})\b")

Contents = Mapping[str, Mapping[str, bytes]]


@dataclass
class Branch:
    """What became of one branch.

    Attributes:
        name: of the branch.
        log: the first-parent line, newest first, as the server tells it.
        contents: of all files, by commit and path.
        seen: heads that were seen.
        by_hand: commits of the person, and the file that each of them added.
        workflows: the ended ones, with their tasks; a tree as `nemesis.trees.whole` has it.
        meddled: workflows that somebody terminated, restarted or reran: what they published before may be replaced.
        terminated: of these, the ones that somebody ended.
        calm: workflows that ran when all faults were over.
    """

    name: str
    log: list[Any] = field(default_factory=list)
    contents: Contents = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    by_hand: dict[str, str] = field(default_factory=dict)
    workflows: list[Any] = field(default_factory=list)
    meddled: set[str] = field(default_factory=set)
    terminated: set[str] = field(default_factory=set)
    calm: set[str] = field(default_factory=set)

    def faults(self) -> list[str]:
        """All that is wrong; the branch is named in each."""
        looks = (self._lost, self._twice, self._reads, self._over_others, self._content, self._lines, self._failures)
        looks += (self._joined, self._calm_tries, self._halves, self._runs, self._made)
        return [f"{self.name}: {fault}" for look in looks for fault in look()]

    def _lost(self) -> Iterator[str]:
        """Invariant 1: every head ever seen, and every commit that a task completed with, is on the line."""
        line = {commit["id"] for commit in self.log}
        for head in (self.seen | self.by_hand.keys()) - line:
            yield f"lost: {head}"
        for workflow in self.workflows:
            for task in tasks_of(workflow):
                ref = output_ref(task)
                if ref is not None and ref not in line and not self._is_elsewhere(task):
                    yield f"lost: {ref}, with which {_of(workflow, task)} completed"

    def _twice(self) -> Iterator[str]:
        """Invariant 2: one publication of each logical task that completed, with that one, and none of another.

        A workflow that somebody meddled with may have further ones, which count no more; and a task that ended because
        another one beside it was refused may have published before it heard of that.
        """
        published = Counter(map(_logical_task, self._publications()))
        made = {(_logical_task(commit), commit["id"]) for commit in self._publications()}
        for workflow in self.workflows:
            for name in PUBLISHERS:
                logical_task = (workflow["workflowId"], name)
                refs = _refs_of(workflow, name)
                count = published.pop(logical_task, 0)
                is_wrong = count < len(refs) if workflow["workflowId"] in self.meddled else count != len(refs)
                if is_wrong and count == 1 and not refs and _is_cut_short(workflow, name):
                    is_wrong = False
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
            for task in tasks_of(workflow):
                ref = None if task["referenceTaskName"] in PUBLISHERS else output_ref(task)
                if ref is not None and not self._is_elsewhere(task) and ref != self._input_of(task):
                    yield f"{_of(workflow, task)} completed with {ref}, which is not its input"

    def _is_elsewhere(self, task: Any) -> bool:
        """Whether it has completed on the branch of its run."""
        return bool(task["outputData"]["workspace"].get("branch", self.name) != self.name)

    def _input_of(self, task: Any) -> str | None:
        """The commit that a task starts from: the newest of those that its input names."""
        refs = input_refs(task["inputData"])
        return next((commit["id"] for commit in self.log if commit["id"] in refs), None)

    def _joined(self) -> Iterator[str]:
        """Invariant 2: a task behind a fork starts from what all of its branches have made."""
        bases = {commit["id"]: commit["metadata"]["perago.input-ref"] for commit in self._publications()}
        for workflow in self.workflows:
            for task in tasks_of(workflow):
                base = bases.get(output_ref(task) or "")
                if len(input_refs(task["inputData"])) > 1 and base not in (None, self._input_of(task)):
                    yield f"{_of(workflow, task)} was computed from {base}, which is not the newest that it joins"

    def _over_others(self) -> Iterator[str]:
        """Invariant 4: between a publication and its input lie seals, and what its own workflow gave up.

        In snapshot isolation, others' commits too, that leave its file as it was; and those whose files it cannot see.
        """
        ids = [commit["id"] for commit in self.log]
        for commit in self._publications():
            base = commit["metadata"]["perago.input-ref"]
            if base not in ids:
                yield f"{commit['id']} was computed from {base}, which is not on the branch"
                continue
            workflow, name = _logical_task(commit)
            for other in self.log[ids.index(commit["id"]) + 1 : ids.index(base)]:
                is_beside = name in NOTES and self._leaves(NOTES[name], other, base)
                is_beside = is_beside or self._is_hidden(other, name)
                if not (_is_seal(other) or is_beside or self._is_given_up(other, workflow)):
                    yield f"{commit['id']} was computed from {base}, and published over {other['id']}"

    def _is_hidden(self, commit: Any, name: str) -> bool:
        """Whether a task can see nothing of what a commit changed."""
        sees = SEES.get(name)
        return sees is not None and not any(map(sees, self._changed_by(commit)))

    def _leaves(self, path: str, commit: Any, base: str) -> bool:
        """Whether a commit does not write a file, or puts it back to what it was in the input."""
        after, before = self._files(commit["id"]), self._files(base)
        return path not in self._written_by(commit) or after.get(path) == before.get(path)

    def _is_given_up(self, commit: Any, by: str) -> bool:
        """Whether it is a workflow's that somebody meddled with, and counts for none of its tasks."""
        return by in self.meddled and _is_of(commit, by) and commit["id"] not in self._effective

    @cached_property
    def _effective(self) -> set[str]:
        return {ref for workflow in self.workflows for name in PUBLISHERS for ref in _refs_of(workflow, name)}

    @cached_property
    def _parents(self) -> dict[str, str | None]:
        ids = [commit["id"] for commit in self.log]
        return dict(zip(ids, [*ids[1:], None], strict=True))

    def _changed_by(self, commit: Any) -> set[str]:
        """Paths that differ from its first parent's."""
        return _differences(self._files(commit["id"]), self._files(self._parents[commit["id"]]))

    def _written_by(self, commit: Any) -> set[str]:
        """What it changed, and the files of its task: they may have been there as another try had left them."""
        is_publication = "perago.task" in commit["metadata"] and not _is_seal(commit)
        return self._changed_by(commit).union(_files_of(_logical_task(commit)[1]) if is_publication else ())

    def _files(self, commit: str | None) -> Mapping[str, bytes]:
        return {} if commit is None else self.contents.get(commit, {})

    def _content(self) -> Iterator[str]:
        """Every publication is what it was put on and its own line; other commits change nothing.

        But for the person's, each of which changes a file.
        """
        for commit in self.log:
            parent = self._parents[commit["id"]]
            if parent is None:
                continue
            found, due = self._files(commit["id"]), [self._files(parent)]
            if "perago.task" in commit["metadata"] and not _is_seal(commit):
                due = self._due_in(commit, parent)
            for path in set.intersection(*(_differences(found, files) for files in due)):
                if path != self.by_hand.get(commit["id"]):
                    yield f"{commit['id']} has in {path} {found.get(path)!r}; due is {due[0].get(path)!r}"

    def _due_in(self, commit: Any, parent: str) -> list[Mapping[str, bytes]]:
        """What a publication may hold.

        If it merges, that is the input, and what others' commits since have changed. What its own workflow gave
        up is left out; where it may be taken up again, as a retry would, it is not. Which is due is not judged.
        """
        base = self._files(commit["metadata"]["perago.input-ref"])
        workflow, name = _logical_task(commit)
        own = {path: base.get(path, b"") + f"{workflow}\n".encode() for path in WRITERS.get(name, ())}
        if name in CACHED:
            own = {CACHED[name]: made(name, base, number_of(commit))}
        put_on = [self._merged(commit), self._files(parent)] if name in NOTES or name in SEES else [base]
        return [{**files, **own} for files in put_on]

    def _merged(self, commit: Any) -> Mapping[str, bytes]:
        """A publication's input with the changes that others made since, and none that its workflow gave up."""
        ids = [entry["id"] for entry in self.log]
        base = commit["metadata"]["perago.input-ref"]
        merged = dict(self._files(base))
        between = self.log[ids.index(commit["id"]) + 1 : ids.index(base)] if base in ids else []
        for other in reversed(between):
            if not self._is_given_up(other, _logical_task(commit)[0]):
                after = self._files(other["id"])
                for path in self._written_by(other):
                    merged.pop(path, None)
                    merged |= {path: after[path]} if path in after else {}
        return merged

    def _lines(self) -> Iterator[str]:
        """At the head, a task that completed has one line; one that did not has none, or one if it was given up.

        Where the person has written a file anew, those since then.
        """
        head = self._files(self.log[0]["id"])
        for name, path in ((name, path) for name, paths in WRITERS.items() for path in paths):
            since = self._since_person(path)
            lines = Counter(
                line for line in head.get(path, b"").decode().splitlines() if not line.startswith("by hand")
            )
            for workflow in self.workflows:
                count, due = lines.pop(workflow["workflowId"], 0), len(_refs_of(workflow, name) & since)
                may_be_more = workflow["workflowId"] in self.meddled or _is_cut_short(workflow, name)
                if count != due and not (may_be_more and due == 0 and count == 1):
                    yield f"{path} has {count} lines of {workflow['workflowId']}; due are {due}"
            if lines:
                yield f"{path} has lines of strangers: {sorted(lines)}"
        for path in set(self.by_hand.values()) - head.keys():
            yield f"the person's {path} is gone"

    def _halves(self) -> Iterator[str]:
        """Invariant 10: each commit shows all parts of a run, or none."""
        for commit in self.log:
            for workflow in halves(self._files(commit["id"])):
                yield f"{commit['id']} shows some parts of {workflow}, and others not"

    def _runs(self) -> Iterator[str]:
        """A run that was published names the commits that its tasks have completed with."""
        for workflow in self.workflows:
            for end in (task for task in tasks_of(workflow) if task["referenceTaskName"] == END and output_ref(task)):
                named = {task["ref"] for task in end["outputData"]["result"]["tasks"]}
                for name in PARTS:
                    if not _refs_of(workflow, name) or not _refs_of(workflow, name) <= named:
                        yield f"{_of(workflow, end)} has published {named}, which is without {name}"

    def _made(self) -> Iterator[str]:
        """A task with a cache completes with what its body would have made, whether the body ran or not."""
        for workflow in self.workflows:
            for task in tasks_of(workflow):
                name, ref = task["referenceTaskName"], output_ref(task)
                if name not in CACHED or ref is None:
                    continue
                due = made(name, self._files(self._input_of(task)), task["inputData"]["params"]["number"])
                found = self._files(ref).get(CACHED[name])
                if found != due:
                    yield f"{_of(workflow, task)} completed with {ref}, which has {found!r}; due is {due!r}"
                if task["outputData"]["result"] != {"text": due.decode()}:
                    yield f"{_of(workflow, task)} has the result {task['outputData']['result']}; due is {due!r}"

    def _since_person(self, path: str) -> set[str]:
        """Commits after the last one in which the person wrote a file."""
        newer = itertools.takewhile(lambda commit: self.by_hand.get(commit["id"]) != path, self.log)
        return {commit["id"] for commit in newer}

    def _failures(self) -> Iterator[str]:
        """Invariant 5: what did not complete was refused for another's commit or terminated, not in the calm."""
        for workflow in self.workflows:
            terminated = workflow["status"] == "TERMINATED" and workflow["workflowId"] in self.terminated
            due = (terminated or self.is_due(workflow)) and workflow["workflowId"] not in self.calm
            if workflow["status"] != "COMPLETED" and not due:
                last = _unfinished(workflow) or [{"referenceTaskName": "nothing"}]
                told = [f"{task.get('status')} {task.get('reasonForIncompletion')}" for task in last]
                reason = workflow.get("reasonForIncompletion")
                yield f"{_of(workflow, last[0])} ended {workflow['status']} ({reason}): {'; '.join(told)}"

    def _calm_tries(self) -> Iterator[str]:
        """In the calm there is no reason for a try to come to nothing, also where the next one completes."""
        for workflow in self.workflows:
            for task in tasks_of(workflow) if workflow["workflowId"] in self.calm else ():
                if task["status"] != "COMPLETED":
                    yield f"{_of(workflow, task)}, in the calm, {task['status']}: {task.get('reasonForIncompletion')}"

    def is_due(self, workflow: Any) -> bool:
        """Whether a workflow failed as it should: for commits of the person, and for what counts for no task.

        Conductor says TIMED_OUT of one whose last try was refused, where it still knows of an older one that timed out.
        What runs beside a task that is refused ends with it, whatever it had come to.
        """
        if workflow["status"] not in ("FAILED", "TIMED_OUT"):
            return False
        unfinished = _unfinished(workflow)
        refused = [task for task in unfinished if is_refused(task)]
        beside = [task for task in unfinished if task not in refused]
        may_end = {"CANCELED", "FAILED", "TIMED_OUT"} if _is_fork(workflow) else set()
        return (
            bool(refused)
            and all(self._is_refused_rightly(task, workflow) for task in refused)
            and may_end.issuperset(task["status"] for task in beside)
        )

    def _is_refused_rightly(self, task: Any, workflow: Any) -> bool:
        """Whether all that the refusal names counts for no task; a tree is never refused for what it gave up itself."""
        reason = task["reasonForIncompletion"]
        ids = [commit["id"] for commit in self.log]
        base = self._input_of(task)
        since = self.log[: ids.index(base)] if base in ids else []
        own = workflow["workflowId"]
        others = [commit for commit in since if self._counts_for_no_task(commit)]
        if any(entry["referenceTaskName"] in LEAVES for entry in tasks_of(workflow)):
            others = [commit for commit in others if not _is_of(commit, own)]
        conflict = _CONFLICT.search(reason)
        if conflict is not None:
            beside = [commit for commit in others if not _is_of(commit, own)]  # whose notes have each their file
            changed = {path for commit in beside for path in self._changed_by(commit)}
            return task["referenceTaskName"] in NOTES and changed.issuperset(
                re.findall(r"'([^']+)'", conflict["paths"])
            )
        refused = _REFUSAL.search(reason)
        named = _NAMED.findall(reason)
        others = [commit for commit in others if not self._is_hidden(commit, task["referenceTaskName"])]
        is_here = refused is not None and refused["branch"] == self.name
        return is_here and bool(named) and {commit["id"][:12] for commit in others}.issuperset(named)

    def _counts_for_no_task(self, commit: Any) -> bool:
        """The person's, of a workflow that somebody meddled with, or of one that ended beside a task that failed."""
        cut_short = {workflow["workflowId"] for workflow in self.workflows if _has_cut_short(workflow)}
        return commit["id"] in self.by_hand or any(_is_of(commit, each) for each in self.meddled | cut_short)

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


def tasks_of(workflow: Any) -> list[Any]:
    """Those of workers: no forks, no joins."""
    return [task for task in workflow["tasks"] if task.get("taskType") not in ("FORK", "JOIN")]


def last_tries(workflow: Any) -> list[Any]:
    """Of each task."""
    return list({task["referenceTaskName"]: task for task in tasks_of(workflow)}.values())


def is_refused(task: Any) -> bool:
    """Whether the publish fence did not let it publish."""
    reason = task.get("reasonForIncompletion") or ""
    return bool(_REFUSAL.search(reason) or _CONFLICT.search(reason))


def output_ref(task: Any) -> str | None:
    """The commit that a task completed with; None: it did not."""
    return task["outputData"]["workspace"]["ref"] if task["status"] == "COMPLETED" else None


def _refs_of(workflow: Any, name: str) -> set[str]:
    """The commits that a task published; one with a cache completes with its input where its result is there."""
    tries = [task for task in workflow["tasks"] if task["referenceTaskName"] == name]
    completed = [(task, ref) for task in tries if (ref := output_ref(task)) is not None]
    return {ref for task, ref in completed if name not in CACHED or ref not in input_refs(task["inputData"])}


def _files_of(name: str) -> Collection[str]:
    """The files that a task writes."""
    return [CACHED[name]] if name in CACHED else WRITERS.get(name, ())


def _unfinished(workflow: Any) -> list[Any]:
    return [task for task in last_tries(workflow) if task["status"] != "COMPLETED"]


def _is_fork(workflow: Any) -> bool:
    return any(task.get("taskType") == "FORK" for task in workflow["tasks"])


def _is_cut_short(workflow: Any, name: str) -> bool:
    """Whether a task ended because one beside it failed."""
    last = next((task for task in last_tries(workflow) if task["referenceTaskName"] == name), None)
    if last is None or workflow["status"] == "COMPLETED" or not _is_fork(workflow):
        return False
    return last["status"] != "COMPLETED" and not is_refused(last)


def _has_cut_short(workflow: Any) -> bool:
    return any(_is_cut_short(workflow, name) for name in NOTES)


def _differences(some: Mapping[str, bytes], others: Mapping[str, bytes]) -> set[str]:
    return {path for path in some.keys() | others.keys() if some.get(path) != others.get(path)}


def _is_seal(commit: Any) -> bool:
    return "perago.completes" in commit["metadata"]


def _is_of(commit: Any, workflow: str) -> bool:
    return "perago.task" in commit["metadata"] and _logical_task(commit)[0] == workflow


def _logical_task(commit: Any) -> tuple[str, str]:
    """The root's id and the path from there."""
    metadata = commit["metadata"]
    workflow, name = metadata["perago.workflow-instance-id"], metadata["perago.reference-task-name"]
    return metadata.get("perago.root-workflow-id", workflow), metadata.get("perago.path", name)


def _of(workflow: Any, task: Any) -> str:
    return f"{task['referenceTaskName']} of {workflow['workflowId']}"

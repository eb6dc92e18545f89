"""Workflows of steps (modules/nemesis_tasks.py), of notes (modules/nemesis_notes.py), of parts that are published as a
whole (modules/nemesis_runs.py), with sub-workflows (modules/nemesis_trees.py) or with a cache
(modules/nemesis_cached.py), and a person who meddles.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any

from nemesis.cached import CACHED, NUMBERS
from nemesis.judge import NOTES, Branch, is_refused, last_tries
from nemesis.runs import PARTS
from nemesis.trees import LEAVES, RETRIED, Gardener, parts, whole
from perago.engines.conductor import ConductorEngine
from perago.errors import PeragoError
from perago.tasks.load import load_module_tasks
from perago.tasks.taskdef import build_taskdef
from perago.workflows.builtin import builtin_task
from perago.workflows.definition_json import to_json
from perago.workflows.expressions import expression
from perago.workflows.graph import BEGIN_TASK, END_TASK, TaskNode, WorkflowGraph
from perago.workflows.transaction import BEGUN, enclosed
from servers.conductor_api import fresh, simple
from servers.json_api import ApiError, Json

MODULES = ("nemesis_tasks", "nemesis_notes", "nemesis_runs", "nemesis_trees", "nemesis_cached")
RETRIES = 4
"""Of each task, as modules/nemesis_controls.py declares it."""

CALM_LEASE_SECONDS = 60
"""In the calm nothing may fail; with the lease of the others a task would, on a machine with much else to do."""

LEASE_SECONDS = 6
"""Of each task, the same."""

RUN_SHARE, TREE_SHARE, CACHED_SHARE = 0.2, 0.2, 0.25
"""Of the workflows, those of parts that are published as a whole, those with sub-workflows, and those with a cache."""

NOTING_SHARE, SLOW_SHARE, SLOW_SECONDS, MEDDLE_SHARE = 0.2, 0.3, 2.5, 0.15
"""Of the workflows: those of notes; those whose bodies take so long, as heartbeats need time; and those begun anew at
their end."""

PATIENCE_SECONDS = 60.0
"""The age up to which the person terminates a workflow. An older one may hang, and would be hidden by that."""

STANDSTILL_SECONDS = 130.0
"""After which a join that nobody looks at, a try that nobody gets, or a workflow that does not go on is left to the
person: a Conductor that is killed as it hands a try out comes back to it within two minutes."""

MOST_RETRIES = 5
"""Of a workflow that nobody ended."""

NO_ANSWER = (OSError, HTTPException)
"""What a call raises that got none, as on a machine that stands still for a while."""

Definitions = Mapping[str, Json]
"""TaskDefs by name, that a workflow brings itself: they go before those that are registered."""


class Workflows:
    """Starts them, one at a time on each branch, and keeps those that have ended.

    Args:
        password: a value that must be seen nowhere.

    Attributes:
        running: workflow id by branch.
        meddled: ids of those that somebody ended or began anew.
        terminated: ids of those that the person here ended. Some are begun anew; Conductor 3.32 may leave one of these
            TERMINATED all the same, where something else happens to it in that moment.
        calm: ids of those that began when all faults were over.
        ordered_at: when somebody last ended or began one anew, monotonic seconds.
        done: what was done to them, by kind.
    """

    def __init__(self, api, engine: ConductorEngine, repository, names, chance: random.Random, password: str) -> None:
        self.api, self.repository = api, repository
        self.domain = fresh("domain")
        self.running: dict[str, str] = {}
        self.meddled: set[str] = set()
        self.terminated: set[str] = set()
        self.calm: set[str] = set()
        self.ordered_at = 0.0
        self.done: Counter[str] = Counter()
        self._began: dict[str, float] = {}
        self._retries: Counter[str] = Counter()
        self._chance, self._password = chance, password
        self._gardener = Gardener(engine, chance)
        self._tasks = [task for module in MODULES for task in load_module_tasks(module)]
        self._tasks += [builtin_task(name) for name in (BEGIN_TASK, END_TASK)]
        taskdefs = [{**build_taskdef(task), **_LIKE_THE_OTHERS} for task in self._tasks]
        for taskdef in taskdefs:
            api.expect("POST", "/metadata/taskdefs", data=[taskdef])
        calm = {taskdef["name"]: {**taskdef, "responseTimeoutSeconds": CALM_LEASE_SECONDS} for taskdef in taskdefs}
        shapes = {"steps": steps, "notes": notes, "runs": runs, "cached": cached}
        self._names: dict[tuple[str, bool], str] = {}
        for is_calm, definitions in ((False, {}), (True, calm)):
            for name, shape in shapes.items():
                self._names[name, is_calm] = api.define_workflow(fresh(name), shape(definitions))
            self._names["trees", is_calm] = define_tree(api, definitions)
        self._noting: set[str] = set()
        self._trees: set[str] = set()
        first = {repository.commit_files("main", {"readme.txt": b"data"}): "readme.txt"}
        shared = {"meddled": self.meddled, "terminated": self.terminated, "calm": self.calm}
        self.branches = {name: Branch(repository.branch(name, "main"), by_hand=dict(first), **shared) for name in names}

    def begin(self, name: str, *, calm: bool = False) -> None:
        """Start a workflow on a branch's head; calm: all faults are over."""
        ref = self.repository.head(name)
        workspace = {"repository": self.repository.name, "branch": name, "refType": "commit", "ref": ref}
        seconds = SLOW_SECONDS if self._chance.random() < SLOW_SHARE else 0.0
        inputs = {"workspace": workspace, "password": self._password, "seconds": seconds}
        inputs["number"] = self._chance.randrange(NUMBERS)
        domains = {task.name: self.domain for task in self._tasks}
        weights = {"notes": NOTING_SHARE, "runs": RUN_SHARE, "trees": TREE_SHARE, "cached": CACHED_SHARE}
        (shape,) = self._chance.choices([*weights, "steps"], [*weights.values(), 1 - sum(weights.values())])
        definition = self._names[shape, calm]
        self.running[name] = workflow = self.api.start_workflow(definition, inputs, taskToDomain=domains)
        self._began[workflow] = time.monotonic()
        self.done[f"begun: {shape}"] += 1
        if shape == "notes":
            self._noting.add(workflow)
        if shape == "trees":
            self._trees.add(workflow)
        if calm:
            self.calm.add(workflow)

    def look(self, name: str, *, meddle: bool) -> None:
        """See whether a branch's workflow has ended, and have timeouts noticed: the server does so once a minute.

        A look or an order that gets no answer is made again with the next ones.
        """
        try:
            self.api.decide(self.running[name])
            found = self.api.workflow(self.running[name])
            if found["workflowId"] in self._trees:
                for part in parts(found, self.api.workflow):
                    with contextlib.suppress(ApiError):  # it has just ended
                        self.api.decide(part)
            self._heed(name, found, meddle=meddle)
        except NO_ANSWER:
            self.done["looks without an answer"] += 1

    def _heed(self, name: str, found, *, meddle: bool) -> None:
        workflow = found["workflowId"]
        is_calm = workflow in self.calm
        if found["status"] in ("RUNNING", "PAUSED"):
            if not is_calm:
                self._mend(found)
        elif workflow in self._trees and not is_calm and self._has_failed_for_nobody(found):
            self._do_what_is_said(found)
        elif _failed_for_nobody(found) and not is_calm:
            self._retry(found)
        elif self._was_ended_by_nobody(found) and not is_calm:
            self._retry_or_leave(found)
        elif meddle and workflow not in self.meddled and self._chance.random() < MEDDLE_SHARE:
            self._begin_anew(found)
        else:
            self.branches[name].workflows.append(self._whole(found))
            del self.running[name]

    def _whole(self, found):
        return whole(found, self.api.workflow) if found["workflowId"] in self._trees else found

    def _has_failed_for_nobody(self, tree) -> bool:
        """Whether none of its tasks was refused."""
        failed = tree["status"] in ("FAILED", "TIMED_OUT")
        return failed and not any(map(is_refused, last_tries(self._whole(tree))))

    def _do_what_is_said(self, tree) -> None:
        """What Perago recommends; it is looked at again if that fails."""
        self.ordered_at = time.monotonic()
        self.meddled.add(tree["workflowId"])
        try:
            command = self._gardener.do_what_is_said(tree["workflowId"])
        except PeragoError:
            self.done["what was said of a tree, refused"] += 1
            return
        self.done[f"{command} of a tree that was {tree['status']}, as was said"] += 1

    def _was_ended_by_nobody(self, found) -> bool:
        """Conductor 3.32 takes a task that it cancelled, as one beside it failed, for an order to end the workflow, if
        it looks at it before it is retried.
        """
        return found["status"] == "TERMINATED" and found["workflowId"] not in self.terminated

    def _retry_or_leave(self, found) -> None:
        """In rare cases each retry ends at once as the workflow did: Conductor had made a try in that very moment,
        which it never queues, and finds cancelled again at every retry. Nobody can bring such a workflow to its end.
        """
        workflow = found["workflowId"]
        self._retries[workflow] += 1
        if self._retries[workflow] <= MOST_RETRIES:
            self._do_what_is_said(found) if workflow in self._trees else self._retry(found)
            return
        self.meddled.add(workflow)
        self.terminated.add(workflow)
        self.done["left TERMINATED, as retries ended so too"] += 1

    def _retry(self, found) -> None:
        """What a person does with a workflow that did not end as it should; it is looked at again if it is refused."""
        self.ordered_at = time.monotonic()
        try:
            self.api.retry(found["workflowId"])
            self.done[f"retry of what was {found['status']} for nobody"] += 1
        except ApiError:
            self.done["retry refused"] += 1

    def _mend(self, found) -> None:
        """What a person does where Conductor lost a join, a task or a try, or looks at a join no more; it is seen again
        if that fails.
        """
        if has_lost_what_follows(self._whole(found)):
            self._end(found["workflowId"])
            self.done["ended, as it had lost what follows"] += 1
        elif join := _join_at_a_standstill(found):
            self._complete(join)
        elif self._has_lost_a_try(found):
            self._end(found["workflowId"])
            self.done["ended, as a try was in no queue"] += 1

    def _has_lost_a_try(self, found) -> bool:
        """Whether a try waits, and the server has nothing in the queue that workers would get it from.

        Conductor 3.32.3 queues a try after it has stored it. Where it is killed in between, workers get that try only
        when the server next sweeps the workflow, up to an hour later. As long as another try waits in the same queue,
        this says no.
        """
        then = 1000 * (time.time() - STANDSTILL_SECONDS)
        if time.monotonic() - self._began[found["workflowId"]] < STANDSTILL_SECONDS:
            return False
        waiting = [task for task in self._whole(found)["tasks"] if task["status"] == "SCHEDULED"]
        return any(
            task["scheduledTime"] < then and self.api.queue_size(task["taskDefName"], task["domain"]) == 0
            for task in waiting
            if task.get("domain")
        )

    def _complete(self, join: Json) -> None:
        answer = self.api.update(join, "COMPLETED", outputData={})
        self.done["join completed by hand" if answer.status == 200 else "join not to be completed"] += 1

    def end_all(self) -> None:
        """End what still runs, for the judge to see it."""
        for name, workflow in self.running.items():
            self._end(workflow)
            self.branches[name].workflows.append(self._whole(self.api.workflow(workflow)))
        self.running.clear()

    def _end(self, workflow: str) -> None:
        """What a person does with a workflow that comes to no end by itself."""
        self.meddled.add(workflow)
        self.terminated.add(workflow)
        self.ordered_at = time.monotonic()
        with contextlib.suppress(ApiError):  # it has just ended
            self.api.terminate(workflow)

    def noting(self) -> list[str]:
        """Branches to which tasks in snapshot isolation may publish now."""
        return [name for name, workflow in self.running.items() if workflow in self._noting]

    def told_of_running(self) -> str:
        """What does not end, with the tries of its tasks: for whoever has to find out why."""
        running = [self._whole(self.api.workflow(workflow)) for workflow in self.running.values()]
        return "\n".join(["still running:", *map(_told, running)])

    @property
    def all_ended(self) -> list[Any]:
        return [workflow for branch in self.branches.values() for workflow in branch.workflows]

    def logs(self) -> list[Any]:
        """What workers wrote to Conductor's logs of the tasks."""
        tasks = [task["taskId"] for workflow in self.all_ended for task in workflow["tasks"]]
        return [self.api.expect("GET", f"/tasks/{task}/log") for task in tasks]

    def terminate_one(self) -> None:
        """As a person does who has changed their mind."""
        now = time.monotonic()
        young = [workflow for workflow in self.running.values() if now - self._began[workflow] <= PATIENCE_SECONDS]
        untouched = [workflow for workflow in young if workflow not in self.meddled]
        if not untouched:
            return
        workflow = self._chance.choice(untouched)
        self.ordered_at = now
        self.terminated.add(workflow)  # also where there is no answer, or an error: it may be ended all the same
        self.meddled.add(workflow)
        try:
            self.api.terminate(workflow)
            self.done["terminated"] += 1
        except ApiError:
            self.done["terminate refused"] += 1
            return
        except NO_ANSWER:
            self.done["terminated, without an answer"] += 1
        if self._chance.random() < 0.75:
            with contextlib.suppress(*NO_ANSWER):
                self._begin_anew(self.api.workflow(workflow))

    def _begin_anew(self, found) -> None:
        """Restart it, retry it, or rerun it from one of its tasks.

        No rerun where tries have failed: Conductor 3.32 hands them all out again, and never times out one whose worker
        dies then, as it has been retried already. Nor from within a fork.
        """
        workflow, tasks = found["workflowId"], found["tasks"]
        if workflow in self._trees:
            self._begin_tree_anew(found)
            return
        completed = workflow not in self._noting and all(task["status"] == "COMPLETED" for task in tasks)
        ways = ["restart", *["retry"] * (found["status"] in RETRIED), *["rerun"] * (completed and bool(tasks))]
        way = self._chance.choice(ways)
        self.meddled.add(workflow)
        self.ordered_at = time.monotonic()
        try:
            if way == "restart":
                self.api.restart(workflow)
            elif way == "retry":
                self.api.retry(workflow)
            else:
                self.api.rerun(workflow, self._chance.choice(last_tries(found))["taskId"])
        except ApiError:
            self.done[f"{way} refused"] += 1
            return
        self.done[way] += 1

    def _begin_tree_anew(self, found) -> None:
        self.meddled.add(found["workflowId"])
        self.ordered_at = time.monotonic()
        try:
            way = self._gardener.begin_anew(found, self.api.workflow)
        except PeragoError:
            self.done["begin of a tree anew, refused"] += 1
            return
        self.done[f"{way} of a tree"] += 1


_LIKE_THE_OTHERS: Json = {
    "retryCount": RETRIES,
    "retryDelaySeconds": 0,
    "retryLogic": "FIXED",
    "responseTimeoutSeconds": LEASE_SECONDS,
}
"""What begins and ends a run has the lease and the retries of the other tasks, so that a run ends as soon."""


def steps(definitions: Definitions) -> list[Json]:
    """One task after the other, each on what the one before it made."""
    before = {"prepare": "${workflow.input.workspace}"}
    return [
        _task(f"nemesis.{step}", step, definitions, before.get(step, "${prepare.output.workspace}"))
        for step in ("prepare", "count", "finish")
    ]


def notes(definitions: Definitions) -> list[Json]:
    """All but one of the notes at once, on one commit; then the last, on what they all have made."""
    *forked, last = NOTES
    inputs: dict[str, str | Json] = dict.fromkeys(forked, "${workflow.input.workspace}")
    inputs[last] = {"join": [f"${{{name}.output.workspace}}" for name in forked]}
    tasks = {name: _task("nemesis.note", name, definitions, inputs[name], path=NOTES[name]) for name in NOTES}
    branches = [[tasks[name]] for name in forked]
    return [
        {"name": "fork", "taskReferenceName": "fork", "type": "FORK_JOIN", "forkTasks": branches},
        {"name": "join", "taskReferenceName": "join", "type": "JOIN", "joinOn": forked},
        tasks[last],
    ]


def runs(definitions: Definitions) -> list[Json]:
    """The parts one after the other, on a branch of the run, and what begins and ends it."""
    nodes, workspace = [], BEGUN
    for name, path in PARTS.items():
        inputs = _inputs(workspace, path=path)
        nodes.append(TaskNode(reference_name=name, task_name="nemesis.part", inputs=inputs))
        workspace = expression(name, "output", "workspace")
    tasks = {task.name: task for task in load_module_tasks("nemesis_runs")}
    whole, _ = enclosed("nemesis", tuple(nodes), workspace, tasks)
    made: list[Json] = to_json(WorkflowGraph(name="nemesis", nodes=whole))["tasks"]
    return [{**task, **_definition(task["name"], definitions)} for task in made]


def cached(definitions: Definitions) -> list[Json]:
    """One task after the other, whose results are those of any workflow with the same number and files."""
    tasks, workspace = [], "${workflow.input.workspace}"
    for name in CACHED:
        inputs = {"workspace": workspace, "params": {"number": "${workflow.input.number}"}}
        tasks.append(simple(f"nemesis.{name}", name, inputs, **_definition(f"nemesis.{name}", definitions)))
        workspace = expression(name, "output", "workspace")
    return tasks


def define_tree(api, definitions: Definitions) -> str:
    """A step, a sub-workflow of a leaf and a sub-workflow of another leaf, and a step; returns the name."""
    given = {"workspace": "${workflow.input.workspace}", "text": "${workflow.input.text}"}
    grown, weighed = LEAVES.values()
    weigh = _task("nemesis.leaf", "weigh", definitions, given["workspace"], text=given["text"], path=weighed)
    deep = _define_part(api, "deep", [weigh])
    grow = _task("nemesis.leaf", "grow", definitions, given["workspace"], text=given["text"], path=grown)
    train = _define_part(api, "train", [grow, _part("deep", deep, "${grow.output.workspace}", given["text"])])
    prepare = _task("nemesis.prepare", "prepare", definitions, given["workspace"])
    within = _part("train", train, "${prepare.output.workspace}", "${workflow.workflowId}")
    finish = _task("nemesis.finish", "finish", definitions, "${train.output.workspace}")
    name: str = api.define_workflow(fresh("trees"), [prepare, within, finish])
    return name


def _define_part(api, name: str, tasks: list[Json]) -> str:
    """A workflow whose output is the workspace of its last task."""
    last = {"workspace": expression(tasks[-1]["taskReferenceName"], "output", "workspace")}
    defined: str = api.define_workflow(fresh(name), tasks, outputParameters=last)
    return defined


def _part(reference: str, name: str, workspace: str, text: str) -> Json:
    more = {name: f"${{workflow.input.{name}}}" for name in ("password", "seconds")}
    return {
        "name": reference,
        "taskReferenceName": reference,
        "type": "SUB_WORKFLOW",
        "inputParameters": {"workspace": workspace, "text": text, **more},
        "subWorkflowParam": {"name": name, "version": 1},
    }


def path_of_note(chance: random.Random) -> str:
    """One of the files that notes go to."""
    return chance.choice(list(NOTES.values()))


def _task(name: str, reference: str, definitions: Definitions, workspace: str | Json, **more: str) -> Json:
    return simple(name, reference, _inputs(workspace, **more), **_definition(name, definitions))


def _inputs(workspace: str | Json, **more: str) -> Json:
    params = {name: f"${{workflow.input.{name}}}" for name in ("password", "seconds")}
    return {"workspace": workspace, "params": {"text": "${workflow.workflowId}", **params, **more}}


def _definition(name: str, definitions: Definitions) -> Json:
    return {"taskDefinition": definitions[name]} if name in definitions else {}


def _failed_for_nobody(workflow) -> bool:
    """Whether a task failed as often as it may, or no worker said that one failed, or a join failed too soon; and
    nothing was refused.

    A join that Conductor 3.32 looks at between the failure of a task in the fork and its retry fails, and with it the
    workflow, though the task has tries left. And where a heartbeat of a stopped host comes in the moment in which its
    last try times out, the workflow is TIMED_OUT, but that try RUNNING again, so that it is CANCELED with the workflow.
    """
    if workflow["status"] not in ("FAILED", "TIMED_OUT"):
        return False
    last = last_tries(workflow)
    too_soon = any(task.get("taskType") == "JOIN" and task["status"] == "FAILED" for task in workflow["tasks"])
    unfinished = [task for task in last if task["status"] != "COMPLETED"]
    no_more = any(task.get("retryCount", 0) >= RETRIES for task in unfinished)
    said_by_none = bool(unfinished) and all(task["status"] in ("CANCELED", "TIMED_OUT") for task in unfinished)
    return (no_more or too_soon or said_by_none) and not any(map(is_refused, last))


def has_lost_what_follows(workflow) -> bool:
    """Whether a running workflow, or a part of it, waits for nothing: for long all of its tasks have completed.

    Conductor 3.32.3 loses a join, or the next task, now and then where a workflow is begun anew while it is at it. That
    stays RUNNING for ever, however often the server is told to look at it, and workers can do nothing about it. Nor can
    a restart: in the server's table of what was scheduled the join is there still, so it is not made again.
    """
    tasks = workflow["tasks"]
    through = all(task["status"] == "COMPLETED" for task in last_tries(workflow))
    waits = any(task["status"] in ("SCHEDULED", "IN_PROGRESS") for task in tasks)
    then = 1000 * (time.time() - STANDSTILL_SECONDS)
    return bool(tasks) and through and not waits and all(task.get("endTime", 0) < then for task in tasks)


def _join_at_a_standstill(workflow) -> Json | None:
    """A join of tasks that have all completed, at which nobody has looked for long.

    Conductor 3.32.3 looks at it several times a second, and puts off its next look by an hour while it is at it. Where
    it is killed in those milliseconds, that hour has to pass.
    """
    through = all(task["status"] == "COMPLETED" for task in last_tries(workflow))
    joins = [task for task in workflow["tasks"] if task.get("taskType") == "JOIN" and task["status"] == "IN_PROGRESS"]
    then = 1000 * (time.time() - STANDSTILL_SECONDS)
    still = [join for join in joins if max(join.get("startTime", 0), join.get("updateTime", 0)) < then]
    return still[0] if still and through else None


def _told(workflow) -> str:
    names = ("referenceTaskName", "status", "retryCount", "pollCount", "workerId", "reasonForIncompletion")
    tries = ["    " + ", ".join(f"{name} {task.get(name)}" for name in names) for task in workflow["tasks"]]
    return "\n".join([f"{workflow['workflowId']} is {workflow['status']}", *tries])

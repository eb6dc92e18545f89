"""Workflows of three tasks (modules/nemesis_tasks.py), and a person who meddles with them."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

from nemesis_judge import Branch

from perago.tasks.load import load_module_tasks
from perago.tasks.taskdef import build_taskdef
from servers.conductor_api import fresh, simple
from servers.json_api import ApiError

MODULES = Path(__file__).parent / "modules"
RETRIES = 4
"""Of each task, as modules/nemesis_tasks.py declares it."""

SLOW_SHARE, SLOW_SECONDS, MEDDLE_SHARE = 0.3, 2.5, 0.15
"""Of the workflows: those whose bodies take so long, as heartbeats need time; and those begun anew at their end."""

PATIENCE_SECONDS = 60.0
"""The age up to which the person terminates a workflow. An older one may hang, and would be hidden by that."""


class Workflows:
    """Starts them, one at a time on each branch, and keeps those that have ended.

    Args:
        password: a value that must be seen nowhere.

    Attributes:
        running: workflow id by branch.
        meddled: ids of those that somebody ended or began anew.
        terminated: ids of those that the person here ended, and nobody began anew.
        calm: ids of those that began when all faults were over.
        done: what was done to them, by kind.
    """

    def __init__(self, api, repository, names, chance: random.Random, password: str) -> None:
        self.api, self.repository = api, repository
        self.domain = fresh("domain")
        self.running: dict[str, str] = {}
        self.meddled: set[str] = set()
        self.terminated: set[str] = set()
        self.calm: set[str] = set()
        self.done: Counter[str] = Counter()
        self._began: dict[str, float] = {}
        self._chance, self._password = chance, password
        self._tasks = load_module_tasks("nemesis_tasks")
        for task in self._tasks:
            api.expect("POST", "/metadata/taskdefs", data=[build_taskdef(task)])
        workspace = {"prepare": "${workflow.input.workspace}"}
        steps = [
            simple(f"nemesis.{step}", step, _inputs(workspace.get(step, "${prepare.output.workspace}")))
            for step in ("prepare", "count", "finish")
        ]
        self._name = api.define_workflow(fresh("nemesis"), steps)
        repository.commit_files("main", {"readme.txt": b"data"})
        shared = {"meddled": self.meddled, "terminated": self.terminated, "calm": self.calm}
        self.branches = {name: Branch(repository.branch(name, "main"), **shared) for name in names}

    def begin(self, name: str, *, calm: bool = False) -> None:
        """Start a workflow on a branch's head; calm: all faults are over."""
        ref = self.repository.head(name)
        workspace = {"repository": self.repository.name, "branch": name, "refType": "commit", "ref": ref}
        seconds = SLOW_SECONDS if self._chance.random() < SLOW_SHARE else 0.0
        inputs = {"workspace": workspace, "password": self._password, "seconds": seconds}
        domains = {task.name: self.domain for task in self._tasks}
        self.running[name] = workflow = self.api.start_workflow(self._name, inputs, taskToDomain=domains)
        self._began[workflow] = time.monotonic()
        if calm:
            self.calm.add(workflow)

    def look(self, name: str, *, meddle: bool) -> None:
        """See whether a branch's workflow has ended, and have timeouts noticed: the server does so once a minute."""
        workflow = self.running[name]
        self.api.decide(workflow)
        found = self.api.workflow(workflow)
        if found["status"] in ("RUNNING", "PAUSED"):
            return
        if _ran_out_of_tries(found) and workflow not in self.calm:
            self.api.retry(workflow)
            self.done["retry of what had no more tries"] += 1
        elif meddle and workflow not in self.meddled and self._chance.random() < MEDDLE_SHARE:
            self._begin_anew(found)
        else:
            self.branches[name].workflows.append(found)
            del self.running[name]

    def told_of_running(self) -> str:
        """What does not end, with the tries of its tasks: for whoever has to find out why."""
        return "\n".join(["still running:", *map(_told, map(self.api.workflow, self.running.values()))])

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
        try:
            self.api.terminate(workflow)
        except ApiError:
            return  # it has just ended
        self.done["terminated"] += 1
        self.terminated.add(workflow)
        if self._chance.random() < 0.75:
            self._begin_anew(self.api.workflow(workflow))
        self.meddled.add(workflow)

    def _begin_anew(self, found) -> None:
        """Restart it, retry it, or rerun it from one of its tasks.

        No rerun where tries have failed: Conductor 3.32 hands them all out again, and never times out one whose worker
        dies then, as it has been retried already.
        """
        workflow, tasks = found["workflowId"], found["tasks"]
        completed = all(task["status"] == "COMPLETED" for task in tasks)
        ways = ["restart", *["retry"] * (found["status"] in RETRIED), *["rerun"] * (completed and bool(tasks))]
        way = self._chance.choice(ways)
        self.meddled.add(workflow)
        try:
            if way == "restart":
                self.api.restart(workflow)
            elif way == "retry":
                self.api.retry(workflow)
            else:
                self.api.rerun(workflow, self._chance.choice(_last_tries(tasks))["taskId"])
        except ApiError:
            self.done[f"{way} refused"] += 1
            return
        self.terminated.discard(workflow)
        self.done[way] += 1


RETRIED = ("FAILED", "TIMED_OUT", "TERMINATED")
"""What Conductor retries."""


def _inputs(workspace):
    params = {name: f"${{workflow.input.{name}}}" for name in ("password", "seconds")}
    return {"workspace": workspace, "params": {"text": "${workflow.workflowId}", **params}}


def _ran_out_of_tries(workflow) -> bool:
    """Whether a task failed as often as it may, and was not refused: under a nemesis that is nobody's fault."""
    last = workflow["tasks"][-1] if workflow["tasks"] else {}
    is_refused = "has moved from input" in (last.get("reasonForIncompletion") or "")
    return workflow["status"] in ("FAILED", "TIMED_OUT") and last.get("retryCount", 0) >= RETRIES and not is_refused


def _told(workflow) -> str:
    names = ("referenceTaskName", "status", "retryCount", "pollCount", "workerId", "reasonForIncompletion")
    tries = ["    " + ", ".join(f"{name} {task.get(name)}" for name in names) for task in workflow["tasks"]]
    return "\n".join([f"{workflow['workflowId']} is {workflow['status']}", *tries])


def _last_tries(tasks):
    return list({task["referenceTaskName"]: task for task in tasks}.values())

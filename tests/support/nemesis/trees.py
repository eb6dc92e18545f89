"""Workflows with sub-workflows, as one workflow each; and a person who does with them what Perago can, or says."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from cli_project import recommended
from perago.engines.conductor import ConductorEngine
from servers.json_api import ApiError

LEAVES = {"train/grow": "grown.txt", "train/deep/weigh": "weighed.txt"}
"""Tasks in sub-workflows, by their path from the root, and the file to which each adds the root's id."""

TREE_TASKS = ("prepare", *LEAVES, "finish")

RETRIED = ("FAILED", "TIMED_OUT", "TERMINATED")


def whole(found: Any, load: Callable[[str], Any]) -> Any:
    """A tree as one workflow: the tasks of a sub-workflow have their path as name. What has begun anew is left out.

    Args:
        load: reads an instance by its id.
    """
    last = {task["referenceTaskName"]: task["taskId"] for task in found["tasks"]}
    tasks = []
    for task in found["tasks"]:
        name = task["referenceTaskName"]
        if task.get("taskType") != "SUB_WORKFLOW":
            tasks.append(task)
        elif last[name] == task["taskId"] and (part := _part(task, load)) is not None:
            tasks += [{**inner, "referenceTaskName": f"{name}/{inner['referenceTaskName']}"} for inner in part["tasks"]]
    return {**found, "tasks": tasks}


def parts(found: Any, load: Callable[[str], Any]) -> list[str]:
    """Ids of the sub-workflows that run."""
    live = [task["subWorkflowId"] for task in found["tasks"] if task.get("subWorkflowId") and _is_live(task)]
    within = [(each, inner) for each in live if (inner := _loaded(each, load)) is not None]
    return [*(each for each, _ in within), *(part for _, inner in within for part in parts(inner, load))]


def has_only_completed(found: Any, load: Callable[[str], Any]) -> bool:
    """Whether no try in it, of whichever instance, came to anything else."""
    return all(task["status"] == "COMPLETED" for task in found["tasks"]) and all(
        has_only_completed(load(task["subWorkflowId"]), load) for task in found["tasks"] if task.get("subWorkflowId")
    )


class Gardener:
    """Retries and reruns trees by Perago's own engine, as `perago retry` and `perago rerun` do."""

    def __init__(self, engine: ConductorEngine, chance: random.Random) -> None:
        self._engine, self._chance = engine, chance

    def begin_anew(self, found: Any, load: Callable[[str], Any]) -> str:
        """In one of the ways that there are; returns which.

        A rerun from a task only where no try has failed: Conductor 3.32 hands out failed ones again, and never times
        out one whose worker dies then, as it has been retried already.

        Raises:
            PeragoError: that way is not open, or the server did not answer.
        """
        ways = ["rerun", *["retry"] * (found["status"] in RETRIED)]
        ways += ["rerun from a task"] * has_only_completed(found, load)
        way = self._chance.choice(ways)
        self._do(found["workflowId"], way, self._chance.choice(TREE_TASKS) if way == "rerun from a task" else None)
        return way

    def do_what_is_said(self, workflow: str) -> str:
        """What Perago recommends for a workflow that has ended; returns the command.

        Raises:
            PeragoError: it cannot be done, or the server did not answer.
        """
        ((command, *rest),) = recommended(self._engine.next_command(self._engine.get_workflow(workflow)))
        self._do(workflow, command, rest[2] if len(rest) > 1 else None)
        return command

    def _do(self, workflow: str, way: str, start: str | None) -> None:
        match way.split():
            case ["retry"]:
                self._engine.retry_workflow(workflow)
            case ["rerun", *_]:
                self._engine.rerun_workflow(self._engine.plan_rerun(workflow, start))
            case _:
                raise AssertionError(f"{way} is recommended for {workflow}, which nobody has refused")


def _part(task: Any, load: Callable[[str], Any]) -> Any:
    inner = _loaded(task["subWorkflowId"], load) if task.get("subWorkflowId") else None
    return None if inner is None else whole(inner, load)


def _loaded(workflow: str, load: Callable[[str], Any]) -> Any:
    """None: its id is known, and it is not there yet."""
    try:
        return load(workflow)
    except ApiError:
        return None


def _is_live(task: Any) -> bool:
    return task["status"] in ("SCHEDULED", "IN_PROGRESS")

"""Random workflows on a real Conductor server and decided here: the same statuses, tries and outputs.

Nothing runs a body: a try ends as its input says, on both sides. So what is compared is what an engine itself does.
Only the tasks of Perago that maps are made of do what they do, under names that no worker has.
"""

from __future__ import annotations

import os
import random
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from pydantic import BaseModel

from perago import Flow, RetryPolicy, task
from perago.errors import TaskTerminalError
from perago.values.record import TryStatus, WorkflowStatus
from perago.workflows.builtin import builtin_task
from perago.workflows.decide import Instance, decide
from perago.workflows.definition_json import from_json, to_json
from perago.workflows.graph import GATHER_TASK, MAP_TASK, WorkflowGraph
from perago.workflows.standin import Facts, StandIn
from servers.conductor_api import fresh
from servers.machine import slowness

ROUNDS = int(os.environ.get("PERAGO_TEST_WORKFLOWS", "200"))
RETRIES = 1
SECONDS = 240
VALUES = ["a", "b", "c", True, False, 0, 3, 2.5, None, ["x"], {"k": "v"}]
MOST_TASKS = 12
HOWS = [["COMPLETED"], ["FAILED", "COMPLETED"], ["FAILED", "FAILED"], ["FAILED_WITH_TERMINAL_ERROR"]]


class Drawn:
    """A definition, drawn at random: nested sequences, forks, switches and sub-workflows of one kind of task."""

    def __init__(self, seed: int, task_name: str, count: int = 0) -> None:
        self.task_name = task_name
        self._random = random.Random(seed)
        self._count = count
        self.known: list[str] = []
        self.gathered: list[str] = []
        self.tasks = self._sequence(depth=0)
        names = self._random.sample(self.known, min(3, len(self.known)))
        self.output = {name: f"${{{name}.output.result.value}}" for name in names} | {
            "variable": "${workflow.variables.v}",
            "text": "<${workflow.input.x}>",
            **{name: f"${{{name}.output.result.results}}" for name in self.gathered},
        }

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_{self._count}"

    def _sequence(self, depth: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for _ in range(self._random.randint(1, 3)):
            kinds = ["task"] * 4 + (
                ["fork", "switch", "dynamic", "map", "map", "variable", "sub"] if depth < 2 else ["variable"]
            )
            if self._count > MOST_TASKS:
                kinds = ["task"]
            found += getattr(self, f"_{self._random.choice(kinds)}")(depth)
        if depth and self._random.random() < 0.03:
            found += self._end()
        return found

    def _task(self, depth: int) -> list[dict[str, Any]]:
        name = self._name("t")
        how = self._how()
        inputs = {"how": how, "value": self._value(), "text": f"of {self._scalar()} and $${{literal}}"}
        self.known.append(name)
        task = {"name": self.task_name, "taskReferenceName": name, "type": "SIMPLE", "inputParameters": inputs}
        return [{**task, "optional": True} if self._random.random() < 0.2 else task]

    def _fork(self, depth: int) -> list[dict[str, Any]]:
        before = list(self.known)
        branches = []
        for _ in range(self._random.randint(2, 3)):
            self.known = list(before)  # neighbours do not know each other
            branch = self._sequence(depth + 1)
            if branch[-1]["type"] in ("SWITCH", "TERMINATE"):
                branch += self._variable(depth)
            branches.append((branch, self.known[len(before) :]))
        self.known = before + [name for _, names in branches for name in names]
        fork, join = self._name("fork"), self._name("join")
        return [
            {"name": fork, "taskReferenceName": fork, "type": "FORK_JOIN", "forkTasks": [b for b, _ in branches]},
            {
                "name": join,
                "taskReferenceName": join,
                "type": "JOIN",
                "joinOn": [branch[-1]["taskReferenceName"] for branch, _ in branches],
            },
        ]

    def _switch(self, depth: int) -> list[dict[str, Any]]:
        before, name = list(self.known), self._name("switch")
        cases = {}
        for case in self._random.sample(["a", "b", "true", "false", "0", "3", "null"], 3):
            cases[case] = self._sequence(depth + 1)
            self.known = list(before)  # what may not have run is not read later
        default = self._sequence(depth + 1) if self._random.random() < 0.5 else []
        self.known = before
        return [
            {
                "name": name,
                "taskReferenceName": name,
                "type": "SWITCH",
                "evaluatorType": "value-param",
                "expression": "case",
                "inputParameters": {"case": self._value()},
                "decisionCases": cases,
                "defaultCase": default,
            }
        ]

    def _dynamic(self, depth: int) -> list[dict[str, Any]]:
        plan, fork, join = self._name("t"), self._name("dynamic"), self._name("join")
        names = [f"{fork}_{number}" for number in range(self._random.randint(1, 3))]
        listed = [{"name": self.task_name, "taskReferenceName": name, "type": "SIMPLE"} for name in names]
        inputs = {name: {"how": ["COMPLETED"], "value": number} for number, name in enumerate(names)}
        value = {"tasks": listed, "inputs": inputs}
        planning = {"how": ["COMPLETED"], "value": value}
        self.known.append(plan)
        return [
            {"name": self.task_name, "taskReferenceName": plan, "type": "SIMPLE", "inputParameters": planning},
            {
                "name": fork,
                "taskReferenceName": fork,
                "type": "FORK_JOIN_DYNAMIC",
                "inputParameters": {
                    "tasks": f"${{{plan}.output.result.value.tasks}}",
                    "inputs": f"${{{plan}.output.result.value.inputs}}",
                },
                "dynamicForkTasksParam": "tasks",
                "dynamicForkTasksInputParamName": "inputs",
            },
            {"name": join, "taskReferenceName": join, "type": "JOIN"},
        ]

    def _map(self, depth: int) -> list[dict[str, Any]]:
        """What `flow.map` makes, over a list that is written, given, made by a task, or is none."""
        name, flow = self._name("map"), Flow("")
        made: list[dict[str, Any]] = []
        items = [{"how": self._how(), "value": self._random.choice(VALUES)} for _ in range(self._random.randint(0, 3))]
        choices = [items, "${workflow.input.items}", "${workflow.input.none}", "${workflow.input.x}"]
        over: Any = self._random.choices(choices, [20, 8, 1, 1])[0]
        if over is items and self._random.random() < 0.7:
            plan = self._name("t")
            planning = {"how": ["COMPLETED"], "value": items}
            made.append(
                {"name": self.task_name, "taskReferenceName": plan, "type": "SIMPLE", "inputParameters": planning}
            )
            over = f"${{{plan}.output.result.value}}"
        if isinstance(over, str):
            path = tuple(over.removeprefix("${").removesuffix("}").split("."))
            over = StandIn(Facts(path=path, kind=Any, of="a list", place="here"))
        results = flow.map(
            mapped_task(self.task_name),
            over=over,
            as_="item",
            ref_=name,
            optional_=self._random.random() < 0.2,
            text=self._random.choice(["plain", "$${literal}", "${literal}"]),
            given=StandIn(Facts(path=("workflow", "input", "y"), kind=Any, of="a param", place="here")),
        )
        if self._random.random() < 0.6:
            flow.value(results)
            self.gathered.append(f"{name}_results")
        graph = WorkflowGraph(name="of_a_map", nodes=flow.finish()[0])
        names = {MAP_TASK: f"{self.task_name}_map", GATHER_TASK: f"{self.task_name}_gather"}
        return made + [{**one, "name": names.get(one["name"], one["name"])} for one in to_json(graph)["tasks"]]

    def _how(self) -> list[str]:
        return self._random.choices(HOWS, [30, 5, 1, 1])[0]

    def _sub(self, depth: int) -> list[dict[str, Any]]:
        name = self._name("s")
        inner = Drawn(self._random.getrandbits(32), self.task_name, self._count + 4)
        definition = {
            "name": f"inner_{inner.tasks[0]['taskReferenceName']}",
            "version": 1,
            "schemaVersion": 2,
            "ownerEmail": "tests@example.com",
            "tasks": inner.tasks,
            "outputParameters": {"result": {"value": self._random.choice(list(inner.output.values()))}},
            "inputTemplate": {"x": "b", "items": INPUT["items"]},
        }
        self.known.append(name)
        task = {
            "name": name,
            "taskReferenceName": name,
            "type": "SUB_WORKFLOW",
            "subWorkflowParam": {"name": definition["name"], "version": 1, "workflowDefinition": definition},
            "inputParameters": {
                "y": {"deep": [1, self._random.choice(["c", "${workflow.input.x}"])]},
                **(
                    {"x": self._random.choice(["a", True, 3, "${workflow.input.x}"])}
                    if self._random.random() < 0.7
                    else {}
                ),
            },
        }
        return [{**task, "optional": True} if self._random.random() < 0.3 else task]

    def _variable(self, depth: int) -> list[dict[str, Any]]:
        name = self._name("set")
        inputs = {} if depth else {"v": self._value()}  # of two that set one side by side, either may be last
        return [{"name": name, "taskReferenceName": name, "type": "SET_VARIABLE", "inputParameters": inputs}]

    def _end(self) -> list[dict[str, Any]]:
        name = self._name("end")
        status = self._random.choice(["COMPLETED", "FAILED", "TERMINATED"])
        inputs = {"terminationStatus": status, "workflowOutput": {"ended": name}}
        return [{"name": name, "taskReferenceName": name, "type": "TERMINATE", "inputParameters": inputs}]

    def _value(self) -> Any:
        return self._expression() if self._random.random() < 0.5 else self._random.choice(VALUES)

    def _scalar(self) -> str:
        """An expression within a text: a server writes an object there in no order."""
        statuses = [f"${{{name}.status}}" for name in self.known[-3:]]
        return self._random.choice(
            ["${workflow.input.x}", "${workflow.input.y.deep[1]}", "${workflow.input.none}", *statuses]
        )

    def _expression(self) -> str:
        choices = [
            "${workflow.input.x}",
            "${workflow.input.y.deep[1]}",
            "${workflow.input.none}",
            "${workflow.variables.v}",
        ]
        for name in self.known[-3:]:
            choices += [
                f"${{{name}.output.result.value}}",
                f"${{{name}.status}}",
                f"${{{name}.output.result.none.deep}}",
            ]
        return self._random.choice(choices)


class Item(BaseModel):
    item: Any
    text: str
    given: Any


class Made(BaseModel):
    value: Any
    text: Any


def mapped_task(name: str) -> Any:
    @task(name=name, owner_email="tests@example.com")
    def mapped(params: Item) -> Made:
        raise AssertionError("no body runs")

    return mapped


INPUT = {
    "x": "a",
    "y": {"deep": [1, True], "${z}": "${workflow.input.x}"},
    "items": [{"how": how, "value": number} for number, how in enumerate(HOWS[:2] * 2)],
}


@dataclass(frozen=True)
class Entry:
    """A try here."""

    task_id: str
    reference_task_name: str
    retry_count: int
    status: TryStatus
    input_data: Mapping[str, Any]
    output: Mapping[str, Any] | None
    reason: str | None = None


def answer(
    task_name: str, reference_name: str, inputs: Mapping[str, Any], retry_count: int
) -> tuple[str, dict[str, Any]]:
    """How a try ends, by its input."""
    for kind in (MAP_TASK, GATHER_TASK):
        if task_name.endswith(kind.removeprefix("perago.")):
            if retry_count == 0 and zlib.crc32(reference_name.rpartition("/")[2].encode()) % 8 == 0:
                return "FAILED", {}
            return answer_of_perago(kind, inputs)
    item = inputs["params"]["item"] if "params" in inputs else inputs
    status = item["how"][min(retry_count, len(item["how"]) - 1)]
    return status, {"result": {"value": item.get("value"), "text": inputs.get("params", inputs).get("text")}}


def answer_of_perago(name: str, inputs: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    definition = builtin_task(name)
    try:
        made = definition.fn(definition.params_model.model_validate(inputs["params"]))
    except TaskTerminalError:
        return "FAILED_WITH_TERMINAL_ERROR", {}
    assert isinstance(made, BaseModel)
    return "COMPLETED", {"result": made.model_dump(mode="json")}


def decided_here(document: Mapping[str, Any], task_name: str) -> tuple[str, Any, dict[str, list[Any]]]:
    """Status, output and tries of a workflow that is decided here."""
    graph, entries = from_json(document), list[Entry]()
    policies = {name: RetryPolicy(count=RETRIES, delay_seconds=0) for name in names_of(task_name)}
    while True:
        decision = decide(graph, Instance(workflow_id="i", input_data=INPUT), entries, policies)
        for end in decision.ended:
            entries = [
                replace(entry, status=end.status, output=end.output) if entry.task_id == end.task_id else entry
                for entry in entries
            ]
        if decision.ended:
            continue
        if decision.status is not WorkflowStatus.RUNNING:
            return (
                decision.status.value,
                decision.output,
                tries_of(
                    (entry.reference_task_name, entry.retry_count, entry.status.value, entry.input_data, entry.output)
                    for entry in entries
                    if "subWorkflowName" not in entry.input_data
                ),
            )
        assert decision.due, "a workflow that runs has something to do"
        for due in decision.due:
            given = (due.task_name, due.reference_task_name, due.input_data, due.retry_count)
            status, output = ("IN_PROGRESS", None) if due.sub_workflow else answer(*given)
            entries.append(
                Entry(
                    f"{due.reference_task_name}-{due.retry_count}",
                    due.reference_task_name,
                    due.retry_count,
                    TryStatus(status),
                    due.input_data,
                    output,
                )
            )


def names_of(task_name: str) -> list[str]:
    """The task, and those of Perago."""
    return [task_name, f"{task_name}_map", f"{task_name}_gather"]


def tries_of(rows: Iterator[tuple[str, int, str, Any, Any]]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for name, number, status, inputs, output in sorted(rows, key=lambda row: row[:2]):
        found.setdefault(name, []).append((number, status, inputs, output))
    return found


_FAILED = ("FAILED", "FAILED_WITH_TERMINAL_ERROR", "COMPLETED_WITH_ERRORS")


def as_told(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Tries with one name for every failure: that of an optional task is called otherwise once it is passed over."""
    return {
        name: [(number, "FAILED" if status in _FAILED else status, *rest) for number, status, *rest in tries]
        for name, tries in rows.items()
    }


@pytest.mark.property
def test_random_workflows_end_as_on_a_server(conductor, counted):
    task_name = fresh("diff")
    for name in names_of(task_name):
        conductor.define_task(name, retryCount=RETRIES, retryDelaySeconds=0, responseTimeoutSeconds=600)
    started = {}
    for number in range(ROUNDS):
        seed = random.SystemRandom().getrandbits(32)
        drawn = Drawn(seed, task_name)
        name = fresh(f"w{number}")
        conductor.define_workflow(name, drawn.tasks, outputParameters=drawn.output)
        document = {"name": name, "tasks": drawn.tasks, "outputParameters": drawn.output}
        started[conductor.start_workflow(name, INPUT)] = (seed, document)
    work_until_all_have_ended(conductor, task_name, list(started))
    for workflow_id, (seed, document) in started.items():
        compare(seed, document, task_name, whole(conductor, workflow_id), counted("workflows"))


def whole(conductor, workflow_id: str) -> dict[str, Any]:
    """A workflow with the tasks of its sub-workflows, named as here."""
    found = conductor.workflow(workflow_id)
    inner = [
        {**task, "referenceTaskName": f"{around['referenceTaskName']}/{task['referenceTaskName']}"}
        for around in found["tasks"]
        if around.get("subWorkflowId")
        for task in whole(conductor, around["subWorkflowId"])["tasks"]
    ]
    return {**found, "tasks": [*found["tasks"], *inner]}


def work_until_all_have_ended(conductor, task_name: str, running: list[str]) -> None:
    deadline = time.monotonic() + SECONDS * slowness()
    while running and time.monotonic() < deadline:
        tasks = [found for name in names_of(task_name) for found in conductor.poll_many(name, 50)]
        for found in tasks:
            given = (found[name] for name in ("taskType", "referenceTaskName", "inputData", "retryCount"))
            status, output = answer(*given)
            conductor.update(found, status, outputData=output)
        if not tasks:
            running = [name for name in running if conductor.workflow(name)["status"] == "RUNNING"]
    assert not running, f"{len(running)} workflows have not ended, such as {running[0]}"


def joined_too_early(tasks: list[Mapping[str, Any]]) -> bool:
    """Whether a join ended at a failed try whose retry was not scheduled yet: it looks without the workflow's lock."""
    last: dict[str, Mapping[str, Any]] = {}
    for found in sorted(tasks, key=lambda one: int(one["retryCount"])):
        last[found["referenceTaskName"]] = found
    for join in tasks:
        if join["taskType"] != "JOIN" or join["status"] not in ("COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED"):
            continue
        within = join["referenceTaskName"].rpartition("/")
        for name in join["inputData"]["joinOn"]:
            joined = last.get(f"{within[0]}{within[1]}{name}")
            if joined is None:  # the workflow had ended
                continue
            if joined["status"] == "FAILED" and joined["retryCount"] < RETRIES:
                return True
            if joined["retryCount"] and (joined.get("endTime") or join["endTime"] + 1) > join["endTime"]:
                return True
    return False


def compare(seed: int, document: Mapping[str, Any], task_name: str, found: Mapping[str, Any], counters: Any) -> None:
    if joined_too_early(found["tasks"]):
        counters["joins before a retry"] += 1
        return
    status, output, here = decided_here(document, task_name)
    told = f"seed {seed}: {document}"
    assert found["status"] == status, told
    counters[status] += 1
    there = tries_of(
        (task["referenceTaskName"], task["retryCount"], task["status"], task["inputData"], task.get("outputData"))
        for task in found["tasks"]
        if task["taskType"] in names_of(task_name)
    )
    counters.update({f"{len(here)} tasks": 1})
    if status == "COMPLETED":
        assert found.get("output", {}) == output, told
    counters["sub-workflows"] += sum(task["taskType"] == "SUB_WORKFLOW" for task in found["tasks"])
    # Neighbours of what ended a workflow came as far as they happened to.
    early = tuple(
        f"{task['referenceTaskName']}/"
        for task in found["tasks"]
        if task["taskType"] == "SUB_WORKFLOW" and (task["status"] != "COMPLETED" or "ended" in task["outputData"])
    )
    is_early = status != "COMPLETED" or "ended" in output  # by a TERMINATE in a branch
    for name in here.keys() | there.keys():
        if not is_early and not name.startswith(early):
            assert as_told(there).get(name) == as_told(here).get(name), told
        elif name in here and name in there and not {row[1] for row in there[name]} & {"CANCELED", "SCHEDULED"}:
            shared = min(len(here[name]), len(there[name]))
            assert as_told(there)[name][:shared] == as_told(here)[name][:shared], told

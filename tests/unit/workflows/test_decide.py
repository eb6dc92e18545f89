"""What follows in a workflow, from the tries so far. How a Conductor server decides is in `tests/workflows`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from perago import RetryPolicy
from perago.values.record import TryStatus, WorkflowStatus
from perago.workflows.decide import Instance, decide, retry_delay
from perago.workflows.definition_json import from_json

POLICIES = {"t": RetryPolicy(count=1, delay_seconds=5)}


@dataclass
class Entry:
    reference_task_name: str
    status: TryStatus = TryStatus.COMPLETED
    output: Any = None
    retry_count: int = 0
    task_id: str = ""
    input_data: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None

    def __post_init__(self):
        self.task_id = self.task_id or f"{self.reference_task_name}-{self.retry_count}"


def simple(reference, **inputs):
    return {"name": "t", "taskReferenceName": reference, "type": "SIMPLE", "inputParameters": inputs}


def decided(tasks, *entries, given=None, output=None, revived=()):
    graph = from_json({"name": "w", "tasks": tasks, "outputParameters": output or {}})
    instance = Instance(workflow_id="i", input_data=given or {})
    return decide(graph, instance, entries, POLICIES, frozenset(revived))


def due(decision):
    return {one.reference_task_name: one.input_data for one in decision.due}


def test_tasks_follow_each_other_with_what_was_made():
    tasks = [simple("a", x="${workflow.input.x}"), simple("b", y="${a.output.result.y}")]
    assert due(decided(tasks, given={"x": 1})) == {"a": {"x": 1}}
    assert due(decided(tasks, Entry("a", TryStatus.IN_PROGRESS))) == {}
    first = Entry("a", output={"result": {"y": 2}})
    assert due(decided(tasks, first)) == {"b": {"y": 2}}
    end = decided(tasks, first, Entry("b", output={"z": 3}), output={"all": "${b.output.z}"})
    assert (end.status, end.output, end.due) == (WorkflowStatus.COMPLETED, {"all": 3}, ())


def test_without_output_parameters_the_last_task_has_the_output():
    assert decided([simple("a")], Entry("a", output={"z": 3})).output == {"z": 3}


FORK = [
    {
        "name": "f",
        "taskReferenceName": "f",
        "type": "FORK_JOIN",
        "forkTasks": [[simple("a"), simple("b")], [simple("c")]],
    },
    {"name": "j", "taskReferenceName": "j", "type": "JOIN", "joinOn": ["b", "c"]},
    simple("d", all="${j.output}"),
]


def test_branches_run_beside_each_other_and_a_join_has_their_outputs():
    assert due(decided(FORK)) == {"a": {}, "c": {}}
    done = [Entry("a", output={"v": 1}), Entry("c", output={"v": 3})]
    assert due(decided(FORK, *done)) == {"b": {}}
    done.append(Entry("b", output={"v": 2}))
    assert due(decided(FORK, *done)) == {"d": {"all": {"b": {"v": 2}, "c": {"v": 3}}}}


def test_a_task_that_failed_for_good_ends_the_workflow_whatever_runs_beside():
    failed = Entry("a", TryStatus.FAILED_WITH_TERMINAL_ERROR, reason="broken")
    end = decided(FORK, failed, Entry("c", TryStatus.IN_PROGRESS))
    assert (end.status, end.due) == (WorkflowStatus.FAILED, ())
    assert "'a' is FAILED_WITH_TERMINAL_ERROR: broken" in str(end.reason)


def test_a_retry_comes_after_its_delay_until_none_is_left():
    tasks = [simple("a", x="${workflow.input.x}")]
    [again] = decided(tasks, Entry("a", TryStatus.FAILED), given={"x": 1}).due
    assert (again.retry_count, again.delay_seconds, again.retried_task_id) == (1, 5.0, "a-0")
    assert again.input_data == {"x": 1}
    last = Entry("a", TryStatus.FAILED, retry_count=1)
    assert decided(tasks, Entry("a", TryStatus.FAILED), last).status is WorkflowStatus.FAILED
    [revived] = decided(tasks, last, revived=["a-1"]).due
    assert (revived.retry_count, revived.delay_seconds) == (2, 0.0)


def test_an_optional_task_that_failed_is_passed_over():
    tasks = [{**simple("a"), "optional": True}, simple("b", x="${a.output.y}", s="${a.status}")]
    failed = Entry("a", TryStatus.FAILED, retry_count=1)
    assert due(decided(tasks, failed)) == {"b": {"x": None, "s": "COMPLETED_WITH_ERRORS"}}


def test_a_cancelled_task_terminates_the_workflow():
    assert decided([simple("a")], Entry("a", TryStatus.CANCELED)).status is WorkflowStatus.TERMINATED


SWITCH = [
    {
        "name": "s",
        "taskReferenceName": "s",
        "type": "SWITCH",
        "evaluatorType": "value-param",
        "expression": "v",
        "inputParameters": {"v": "${workflow.input.v}"},
        "decisionCases": {"true": [simple("yes")], "3": [simple("three")], "none": []},
        "defaultCase": [simple("other")],
    },
    simple("after", case="${s.output.evaluationResult[0]}"),
]


@pytest.mark.parametrize(
    ("value", "taken"), [(True, "yes"), (3, "three"), ("3", "three"), (False, "other"), (None, "other"), ("x", "other")]
)
def test_a_switch_takes_the_case_that_its_value_names(value, taken):
    assert due(decided(SWITCH, given={"v": value})) == {taken: {}}
    after = due(decided(SWITCH, Entry(taken), given={"v": value}))
    assert after["after"]["case"] == {True: "true", False: "false", None: "null"}.get(value, str(value))


def test_an_empty_case_goes_on_at_once():
    assert due(decided(SWITCH, given={"v": "none"})) == {"after": {"case": "none"}}


def test_variables_are_set_on_the_way():
    tasks = [
        simple("a"),
        {
            "name": "v",
            "taskReferenceName": "v",
            "type": "SET_VARIABLE",
            "inputParameters": {"kept": "${a.output.kept}"},
        },
        simple("b", x="${workflow.variables.kept}"),
    ]
    assert due(decided(tasks, Entry("a", output={"kept": 7}))) == {"b": {"x": 7}}


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "TERMINATED"])
def test_terminate_ends_the_workflow_with_its_output(status):
    inputs = {"terminationStatus": status, "terminationReason": "enough", "workflowOutput": {"x": "${a.output.x}"}}
    tasks = [
        simple("a"),
        {"name": "e", "taskReferenceName": "e", "type": "TERMINATE", "inputParameters": inputs},
        simple("never"),
    ]
    end = decided(tasks, Entry("a", output={"x": 1}))
    assert (end.status, end.output, end.reason) == (WorkflowStatus(status), {"x": 1}, "enough")


DYNAMIC = [
    simple("plan"),
    {
        "name": "d",
        "taskReferenceName": "d",
        "type": "FORK_JOIN_DYNAMIC",
        "inputParameters": {"tasks": "${plan.output.tasks}", "inputs": "${plan.output.inputs}"},
        "dynamicForkTasksParam": "tasks",
        "dynamicForkTasksInputParamName": "inputs",
    },
    {"name": "j", "taskReferenceName": "j", "type": "JOIN"},
    simple("after", all="${j.output}"),
]


def test_a_dynamic_fork_runs_the_tasks_that_it_is_given():
    names = ["shard_0", "shard_1"]
    listed = [{"name": "t", "taskReferenceName": name, "type": "SIMPLE"} for name in names]
    plan = Entry("plan", output={"tasks": listed, "inputs": {"shard_0": {"n": 0}, "shard_1": {"n": 1}}})
    assert due(decided(DYNAMIC, plan)) == {"shard_0": {"n": 0}, "shard_1": {"n": 1}}
    one = Entry("shard_0", output={"r": 0})
    assert due(decided(DYNAMIC, plan, one)) == {"shard_1": {"n": 1}}
    both = [one, Entry("shard_1", output={"r": 1})]
    assert due(decided(DYNAMIC, plan, *both)) == {"after": {"all": {"shard_0": {"r": 0}, "shard_1": {"r": 1}}}}


@pytest.mark.parametrize("output", [{}, {"tasks": "x", "inputs": {}}, {"tasks": [{"name": "t"}], "inputs": {}}])
def test_a_dynamic_fork_of_what_is_no_list_of_tasks_fails_the_workflow(output):
    end = decided(DYNAMIC, Entry("plan", output=output))
    assert end.status is WorkflowStatus.FAILED
    assert "fork 'd'" in str(end.reason)


def within(name, *tasks, output=None, optional=False, **inputs):
    """A sub-workflow."""
    inner = {"name": f"{name}_flow", "tasks": list(tasks), "outputParameters": output or {}, "inputTemplate": {"d": 5}}
    return {
        "name": name,
        "taskReferenceName": name,
        "type": "SUB_WORKFLOW",
        "subWorkflowParam": {"workflowDefinition": inner},
        "inputParameters": inputs,
        "optional": optional,
    }


SUB = [
    within("s", simple("a", x="${workflow.input.x}", d="${workflow.input.d}"), output={"r": "${a.output.r}"}, x=1),
    simple("b", all="${s.output}", x="${s.input.workflowInput.x}"),
]


def running(name, **given):
    return Entry(name, TryStatus.IN_PROGRESS, input_data={"workflowInput": given})


def test_a_sub_workflow_begins_then_its_tasks_then_it_ends_with_its_output():
    [begun] = decided(SUB).due
    assert (begun.reference_task_name, begun.task_name, begun.sub_workflow.name) == ("s", "s_flow", "s_flow")
    assert begun.input_data["workflowInput"] == {"x": 1, "d": 5}
    assert due(decided(SUB, running("s", x=7, d=8))) == {"s/a": {"x": 7, "d": 8}}  # as it was given when it began
    inner = Entry("s/a", output={"r": 3})
    decision = decided(SUB, running("s"), inner)
    [end] = decision.ended
    assert (end.reference_task_name, end.task_id, end.status) == ("s", "s-0", TryStatus.COMPLETED)
    assert (end.output, decision.due) == ({"subWorkflowId": "s-0", "r": 3}, ())
    done = Entry("s", output=end.output, input_data=begun.input_data)
    assert due(decided(SUB, done, inner)) == {"b": {"all": {"subWorkflowId": "s-0", "r": 3}, "x": 1}}


def test_a_task_that_failed_in_a_sub_workflow_ends_that_and_what_runs_beside_is_not_waited_for():
    tasks = [within("s", *FORK), simple("z")]
    failed = Entry("s/c", TryStatus.FAILED_WITH_TERMINAL_ERROR, reason="broken")
    decision = decided(tasks, running("s"), Entry("s/a", TryStatus.IN_PROGRESS), failed)
    assert (decision.status, decision.due) == (WorkflowStatus.RUNNING, ())
    [end] = decision.ended
    assert (end.status, end.reason) == (TryStatus.FAILED, "task 'c' is FAILED_WITH_TERMINAL_ERROR: broken")
    over = decided(tasks, Entry("s", end.status, reason=end.reason), Entry("s/a", TryStatus.CANCELED), failed)
    assert over.status is WorkflowStatus.FAILED
    assert "task 's' is FAILED: task 'c' is FAILED_WITH_TERMINAL_ERROR: broken" in str(over.reason)


@pytest.mark.parametrize(
    ("status", "ended_as"),
    [("COMPLETED", "COMPLETED"), ("FAILED", "FAILED"), ("TERMINATED", "CANCELED")],
)
def test_terminate_in_a_sub_workflow_ends_only_that(status, ended_as):
    inputs = {"terminationStatus": status, "workflowOutput": {"x": 1}}
    end = {"name": "e", "taskReferenceName": "e", "type": "TERMINATE", "inputParameters": inputs}
    [ended] = decided([within("s", end), simple("z")], running("s")).ended
    assert (ended.status, ended.output) == (TryStatus(ended_as), {"subWorkflowId": "s-0", "x": 1})
    after = [within("s", end, optional=True), simple("z", s="${s.status}")]
    passed = due(decided(after, Entry("s", ended.status)))
    assert passed == {"z": {"s": "COMPLETED" if status == "COMPLETED" else "COMPLETED_WITH_ERRORS"}}


def test_a_revived_sub_workflow_begins_again_and_keeps_the_tasks_that_have_completed():
    tasks = [within("s", simple("a"), simple("b"), x="${workflow.input.x}")]
    tries = [Entry("s", TryStatus.FAILED), Entry("s/a"), Entry("s/b", TryStatus.FAILED, retry_count=1)]
    assert decided(tasks, *tries).status is WorkflowStatus.FAILED
    revived = ["s-0", "s/b-1"]
    [again] = decided(tasks, *tries, given={"x": 1}, revived=revived).due
    assert (again.reference_task_name, again.retry_count, again.retried_task_id) == ("s", 1, "s-0")
    assert again.input_data["workflowInput"] == {"x": 1, "d": 5}
    tries.append(Entry("s", TryStatus.IN_PROGRESS, retry_count=1, input_data=again.input_data))
    [inner] = decided(tasks, *tries, given={"x": 1}, revived=revived).due
    assert (inner.reference_task_name, inner.retry_count) == ("s/b", 2)


def test_sub_workflows_within_sub_workflows_have_variables_and_names_of_their_own():
    variable = {"name": "v", "taskReferenceName": "v", "type": "SET_VARIABLE", "inputParameters": {"k": 1}}
    tasks = [variable, within("s", simple("a"), within("s", simple("a", k="${workflow.variables.k}")))]
    assert due(decided(tasks, running("s"), Entry("s/a"), running("s/s"))) == {"s/s/a": {"k": None}}


@pytest.mark.parametrize(
    ("policy", "delays"),
    [
        (RetryPolicy(delay_seconds=2), [2, 2, 2]),
        (RetryPolicy(logic="LINEAR_BACKOFF", delay_seconds=2), [2, 4, 6]),
        (RetryPolicy(logic="EXPONENTIAL_BACKOFF", delay_seconds=2), [2, 4, 8]),
        (RetryPolicy(logic="EXPONENTIAL_BACKOFF", delay_seconds=2, max_delay_seconds=5), [2, 4, 5]),
    ],
    ids=lambda value: getattr(value, "logic", ""),
)
def test_the_delay_grows_as_the_policy_says(policy, delays):
    assert [retry_delay(policy, count) for count in range(3)] == delays

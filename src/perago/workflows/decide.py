"""What follows: from a workflow, its input and the tries so far to the tasks to start, or to its end. Without I/O.

It behaves as a Conductor server was measured to, for what `graph` has. All of it is decided anew each time, so that a
run that is resumed goes on as if it had never stopped.

To foretell a run, outputs may be `Unknown`. What such a value decides is left open, and the walk goes on behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from perago.errors import WorkflowDefinitionError
from perago.tasks.controls import RetryPolicy
from perago.values.json_text import JsonObject
from perago.values.record import WITHIN, TryStatus, WorkflowStatus
from perago.workflows.expressions import WORKFLOW, Expression, replaced, value_at
from perago.workflows.graph import (
    MAX_FORKED,
    DynamicForkNode,
    ForkNode,
    JoinNode,
    Node,
    Nodes,
    SetVariableNode,
    SubWorkflowNode,
    SwitchNode,
    TaskNode,
    TerminateNode,
    WorkflowGraph,
    all_of,
    parts_of,
)
from perago.workflows.unknown import Unknown, unknowns_in

INNER_INPUT = "workflowInput"
"""Key of the input that a sub-workflow's expressions read, in the input of its try, as on a server."""

_TRY_STATUS = {
    WorkflowStatus.COMPLETED: TryStatus.COMPLETED,
    WorkflowStatus.FAILED: TryStatus.FAILED,
    WorkflowStatus.TERMINATED: TryStatus.CANCELED,
}
"""Status of a sub-workflow's try, by the status of its workflow."""

_NO_RETRIES = RetryPolicy(count=0)


Branches = tuple[tuple[str, int], ...]
"""Forks by their reference names, the outermost first, each with the number of one of its branches."""


class Try(Protocol):
    """A try of a task, as an engine records it."""

    @property
    def task_id(self) -> str: ...
    @property
    def reference_task_name(self) -> str: ...
    @property
    def retry_count(self) -> int: ...
    @property
    def status(self) -> TryStatus: ...
    @property
    def input_data(self) -> JsonObject: ...
    @property
    def output(self) -> JsonObject | None: ...
    @property
    def reason(self) -> str | None: ...


@dataclass(frozen=True, kw_only=True)
class Due:
    """A try to schedule.

    Attributes:
        reference_task_name: of a task in a sub-workflow with that of the sub-workflow before it, `features/clean`.
        sub_workflow: the graph, if this is a sub-workflow. No worker runs it; its tasks are due next.
        branches: the forks around it, each with the number of the branch that it is in.
        delay_seconds: to wait before it, from the end of the try that it retries.
        retried_task_id: that try; None for the first of its task.
    """

    reference_task_name: str
    task_name: str
    input_data: JsonObject
    retry_count: int = 0
    delay_seconds: float = 0.0
    retried_task_id: str | None = None
    sub_workflow: WorkflowGraph | None = None
    branches: Branches = ()


@dataclass(frozen=True, kw_only=True)
class SubWorkflowEnd:
    """A sub-workflow that has ended. Its live tries must be cancelled.

    Attributes:
        task_id: of its try.
        failed: as in `Decision`.
    """

    reference_task_name: str
    task_id: str
    status: TryStatus
    output: JsonObject
    reason: str | None
    failed: str | None


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What follows.

    Attributes:
        due: tries to schedule; empty unless the workflow is RUNNING.
        ended: tries of sub-workflows to end, before anything else is decided.
        taken: the case that each switch has taken, by the switch's reference name; None for the default.
        left_open: the tasks that decide which case a switch takes, or which tasks a dynamic fork has, by its reference
            name, where their results are unknown.
        output: of a workflow that has ended.
        reason: why it did not complete.
        failed: reference name of the task or sub-workflow that failed it; None if it completed, or failed otherwise.
    """

    status: WorkflowStatus
    due: tuple[Due, ...] = ()
    ended: tuple[SubWorkflowEnd, ...] = ()
    taken: Mapping[str, str | None] = field(default_factory=dict)
    left_open: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    output: JsonObject = field(default_factory=dict)
    reason: str | None = None
    failed: str | None = None


@dataclass(frozen=True, kw_only=True)
class Instance:
    """What identifies one run of a workflow.

    Attributes:
        input_data: complete, with the template's values.
    """

    workflow_id: str
    input_data: JsonObject


def with_template(graph: WorkflowGraph, given: JsonObject) -> JsonObject:
    """The input of a workflow, with the template's values for what was not given."""
    return {**graph.input_template, **given}


def decide(
    graph: WorkflowGraph,
    instance: Instance,
    tries: Iterable[Try],
    policies: Mapping[str, RetryPolicy],
    revived: frozenset[str] = frozenset(),
    uncounted: Mapping[str, int] | None = None,
) -> Decision:
    """Decide what follows.

    Args:
        tries: all of them, in the order of scheduling.
        policies: by the task's name.
        revived: ids of tries that get a further one, whatever their policy, because the workflow is resumed.
        uncounted: how many tries of a task its policy does not count, by its reference name. Default: none.
    """
    last = {entry.reference_task_name: entry for entry in tries}
    return _Walk(graph, instance, _Given(last, policies, revived, uncounted or {})).decision()


@dataclass(frozen=True)
class _Given:
    """What a workflow and its sub-workflows are decided by.

    Attributes:
        last: the newest try of each task.
    """

    last: Mapping[str, Try]
    policies: Mapping[str, RetryPolicy]
    revived: frozenset[str]
    uncounted: Mapping[str, int]


class _EndedError(Exception):
    """The workflow ends before its last task."""

    def __init__(
        self,
        status: WorkflowStatus,
        reason: str | None,
        output: JsonObject | None = None,
        *,
        failed: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.output = output
        self.failed = failed


class _Walk:
    """One walk through the graph, as far as the tries so far allow.

    Args:
        within: what the names of its tries begin with, of a sub-workflow.
        branches: those that the sub-workflow is in.
    """

    def __init__(
        self, graph: WorkflowGraph, instance: Instance, given: _Given, within: str = "", branches: Branches = ()
    ) -> None:
        self._due: list[Due] = []
        self._ended: list[SubWorkflowEnd] = []
        self._taken: dict[str, str | None] = {}
        self._left_open: dict[str, tuple[str, ...]] = {}
        self._branches = branches
        self._graph = graph
        self._given = given
        self._within = within
        self._through: set[str] = set()
        self._last_output: JsonObject = {}
        self._variables: dict[str, Any] = {}
        self._document: dict[str, Any] = {
            WORKFLOW: {
                "input": instance.input_data,
                "variables": self._variables,
                "workflowId": instance.workflow_id,
                "workflowType": graph.name,
                "version": graph.version,
            }
        }

    def decision(self) -> Decision:
        """What follows."""
        try:
            is_through = self._is_all_through(self._graph.nodes)
        except _EndedError as end:
            output = end.output or self._output()
            return self._decided(end.status, output=output, reason=end.reason, failed=end.failed)
        if is_through:
            return self._decided(WorkflowStatus.COMPLETED, output=self._output())
        return self._decided(WorkflowStatus.RUNNING, due=tuple(self._due), ended=tuple(self._ended))

    def _decided(self, status: WorkflowStatus, **others: Any) -> Decision:
        return Decision(status=status, taken=self._taken, left_open=self._left_open, **others)

    def _output(self) -> JsonObject:
        """The workflow's output, as far as its tasks have come."""
        if self._graph.output:
            return self._resolved(self._graph.output)
        return self._last_output

    def _is_all_through(self, nodes: Nodes) -> bool:
        """Walk a sequence. Returns whether all of it is done."""
        forked: tuple[str, ...] | Unknown = ()
        for node in nodes:
            if isinstance(node, DynamicForkNode):
                forked = self._fork(node)
                continue
            if isinstance(node, JoinNode):
                if not self._join(node, node.join_on or forked):
                    return False
            elif not self._is_through(node):
                return False
        return True

    def _is_through(self, node: Node) -> bool:
        match node:
            case TaskNode() | SubWorkflowNode():
                return self._task(node)
            case ForkNode():
                for number, branch in enumerate(node.branches, 1):
                    with self._branch(node, number):
                        self._is_all_through(branch)
                self._finish(node.reference_name, {}, {})
            case SwitchNode():
                return self._switch(node)
            case SetVariableNode():
                values = self._resolved(node.inputs)
                self._variables.update(values)
                self._finish(node.reference_name, values, {})
            case TerminateNode():
                self._terminate(node)
            case DynamicForkNode() | JoinNode():
                raise AssertionError("walked by `through`, which knows what was forked")
        return True

    # ---- tasks

    def _task(self, node: TaskNode | SubWorkflowNode) -> bool:
        last = self._given.last.get(self._within + node.reference_name)
        if last is None:
            self._due.append(self._first(node))
            return False
        output = dict(last.output or {})
        self._tell(node.reference_name, last.input_data, output, last.status)
        if last.status.is_live:
            if isinstance(node, SubWorkflowNode):
                self._walk_within(node, last)
            return False
        if last.status in (TryStatus.COMPLETED, TryStatus.COMPLETED_WITH_ERRORS, TryStatus.SKIPPED):
            self._finish(node.reference_name, last.input_data, output, last.status)
            return True
        if self._may_retry(node, last):
            self._due.append(self._retry(node, last))
            return False
        # A sub-workflow is CANCELED when it has TERMINATED itself; a task, when a person or the workflow ended it.
        if node.optional and (last.status is not TryStatus.CANCELED or isinstance(node, SubWorkflowNode)):
            self._finish(node.reference_name, last.input_data, output, TryStatus.COMPLETED_WITH_ERRORS)
            return True
        status = WorkflowStatus.TERMINATED if last.status is TryStatus.CANCELED else WorkflowStatus.FAILED
        reason = f"task {node.reference_name!r} is {last.status}: {last.reason or 'no reason was given'}"
        raise _EndedError(status, reason, failed=last.reference_task_name)

    def _first(self, node: TaskNode | SubWorkflowNode) -> Due:
        return Due(
            reference_task_name=self._within + node.reference_name,
            task_name=node.task_name if isinstance(node, TaskNode) else node.workflow_name,
            input_data=self._input(node),
            branches=self._branches,
            sub_workflow=node.graph if isinstance(node, SubWorkflowNode) else None,
        )

    def _input(self, node: TaskNode | SubWorkflowNode) -> dict[str, Any]:
        """The input of a try, as a server gives it."""
        inputs = self._resolved(node.inputs)
        if isinstance(node, TaskNode):
            return inputs
        graph = node.found
        return {
            "subWorkflowName": graph.name,
            "subWorkflowVersion": graph.version,
            INNER_INPUT: with_template(graph, inputs),
        }

    def _walk_within(self, node: SubWorkflowNode, last: Try) -> None:
        """Take over what follows in a sub-workflow that runs."""
        instance = Instance(workflow_id=last.task_id, input_data=last.input_data[INNER_INPUT])
        name = self._within + node.reference_name
        inner = _Walk(node.found, instance, self._given, name + WITHIN, self._branches).decision()
        self._due += inner.due
        self._ended += inner.ended
        self._taken |= inner.taken
        self._left_open |= inner.left_open
        if inner.status is not WorkflowStatus.RUNNING:
            self._ended.append(
                SubWorkflowEnd(
                    reference_task_name=name,
                    task_id=last.task_id,
                    status=_TRY_STATUS[inner.status],
                    output={"subWorkflowId": last.task_id, **inner.output},
                    reason=inner.reason,
                    failed=inner.failed,
                )
            )

    def _may_retry(self, node: TaskNode | SubWorkflowNode, last: Try) -> bool:
        if last.task_id in self._given.revived:
            return True
        may_help = last.status in (TryStatus.FAILED, TryStatus.TIMED_OUT)
        return may_help and self._counted(last) < self._policy(node).count

    def _counted(self, last: Try) -> int:
        """The number of a retry for its policy."""
        return last.retry_count - self._given.uncounted.get(last.reference_task_name, 0)

    def _policy(self, node: TaskNode | SubWorkflowNode) -> RetryPolicy:
        return self._given.policies[node.task_name] if isinstance(node, TaskNode) else _NO_RETRIES

    def _retry(self, node: TaskNode | SubWorkflowNode, last: Try) -> Due:
        is_revived = last.task_id in self._given.revived
        return replace(
            self._first(node),
            input_data={**last.input_data, **self._input(node)},
            retry_count=last.retry_count + 1,
            delay_seconds=0.0 if is_revived else retry_delay(self._policy(node), self._counted(last)),
            retried_task_id=last.task_id,
        )

    # ---- what an engine does itself

    @contextmanager
    def _branch(self, node: ForkNode | DynamicForkNode, number: int) -> Iterator[None]:
        """What is due meanwhile is in this branch."""
        around = self._branches
        self._branches = (*around, (self._within + node.reference_name, number))
        yield
        self._branches = around

    def _fork(self, node: DynamicForkNode) -> tuple[str, ...] | Unknown:
        """Walk the tasks of a dynamic fork. Returns the reference names that its join waits for."""
        inputs = self._resolved(node.inputs)
        unknown = _unknown_of_fork(inputs.get(node.tasks_input), inputs.get(node.inputs_input))
        if unknown:
            self._leave_open(node, (node,), unknown)
            return Unknown(unknown)
        try:
            branches = forked_tasks(node, inputs)
            self._expect_known(node, branches)
        except WorkflowDefinitionError as exc:
            raise _EndedError(WorkflowStatus.FAILED, str(exc)) from None
        self._finish(node.reference_name, inputs, {})
        for number, branch in enumerate(branches, 1):
            with self._branch(node, number):
                self._task(branch)
        return tuple(branch.reference_name for branch in branches)

    def _expect_known(self, node: DynamicForkNode, branches: Sequence[TaskNode]) -> None:
        unknown = next((branch.task_name for branch in branches if branch.task_name not in self._given.policies), None)
        if unknown is not None:
            raise WorkflowDefinitionError(
                f"fork {node.reference_name!r} lists task {unknown!r}, which is not found; give its module with --tasks"
            )

    def _join(self, node: JoinNode, join_on: Sequence[str] | Unknown) -> bool:
        if isinstance(join_on, Unknown):
            self._leave_open(node, (node,), join_on.of)
            return True
        if not all(name in self._through for name in join_on):
            return False
        outputs = {name: output for name in join_on if (output := self._document[name]["output"])}
        self._finish(node.reference_name, {"joinOn": list(join_on)}, outputs)
        return True

    def _switch(self, node: SwitchNode) -> bool:
        inputs = self._resolved(node.inputs)
        unknown = unknowns_in(inputs.get(node.value_input))
        if unknown:
            within = [inner for part in parts_of(node) for inner in all_of(part)]
            self._leave_open(node, (node, *within), unknown)
            return not any(isinstance(inner, TerminateNode) for inner in within)
        case = case_of(inputs.get(node.value_input))
        self._finish(node.reference_name, inputs, {"evaluationResult": [case], "selectedCase": case})
        self._taken[self._within + node.reference_name] = case if case in node.cases else None
        return self._is_all_through(node.cases.get(case, node.default))

    def _terminate(self, node: TerminateNode) -> None:
        inputs = self._resolved(node.inputs)
        output = inputs.get("workflowOutput")
        if output is not None and not isinstance(output, Mapping):
            output = {"output": output}
        status = WorkflowStatus(inputs["terminationStatus"])
        reason = inputs.get("terminationReason")
        if reason is None and status is not WorkflowStatus.COMPLETED:
            reason = f"Workflow is {status} by TERMINATE task: {node.reference_name}"
        raise _EndedError(status, None if reason is None else str(reason), output)

    # ---- what is left open

    def _leave_open(self, node: Node, parts: Iterable[Node], unknown: tuple[str, ...]) -> None:
        """Go on behind a switch or a fork, as if it were through, with nothing known of what it leaves.

        Args:
            parts: the nodes that leave something.
        """
        if isinstance(node, SwitchNode | DynamicForkNode):
            self._left_open[self._within + node.reference_name] = unknown
        value = Unknown(unknown)
        for inner in parts:
            if isinstance(inner, SetVariableNode):
                self._variables.update(dict.fromkeys(inner.inputs, value))
            self._through.add(inner.reference_name)
            self._document[inner.reference_name] = dict.fromkeys(("input", "output", "status"), value)
        self._last_output = {"workspace": value, "result": value}

    # ---- the document that expressions read

    def _finish(
        self, name: str, inputs: JsonObject, output: JsonObject, status: TryStatus = TryStatus.COMPLETED
    ) -> None:
        self._through.add(name)
        self._last_output = output
        self._tell(name, inputs, output, status)

    def _tell(self, name: str, inputs: JsonObject, output: JsonObject, status: TryStatus) -> None:
        self._document[name] = {
            "input": inputs,
            "output": output,
            "status": str(status),
            "referenceTaskName": name,
        }

    def _resolved(self, inputs: JsonObject) -> dict[str, Any]:
        return {name: replaced(value, self._look_up) for name, value in inputs.items()}

    def _look_up(self, expression: Expression) -> Any:
        return value_at(self._document, expression.path)


def case_of(value: Any) -> str:
    """The name of a switch's case for a value, as Java writes the value."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case _:
            return str(value)


def retry_delay(policy: RetryPolicy, retry_count: int) -> float:
    """Seconds from the end of a try to its retry, without jitter.

    Args:
        retry_count: of the try that failed.
    """
    factors = {"FIXED": 1, "LINEAR_BACKOFF": retry_count + 1, "EXPONENTIAL_BACKOFF": 2**retry_count}
    delay = policy.delay_seconds * factors[policy.logic]
    return float(min(delay, policy.max_delay_seconds) if policy.max_delay_seconds else delay)


def forked_tasks(node: DynamicForkNode, inputs: JsonObject) -> tuple[TaskNode, ...]:
    """The tasks of a dynamic fork.

    Args:
        inputs: of the fork, resolved.

    Raises:
        WorkflowDefinitionError: they are no list of tasks, or too many.
    """
    listed, given = inputs.get(node.tasks_input), inputs.get(node.inputs_input)
    if not isinstance(listed, list) or not isinstance(given, Mapping):
        raise WorkflowDefinitionError(
            f"fork {node.reference_name!r} needs a list of tasks in its input {node.tasks_input!r} and a map of inputs "
            f"in {node.inputs_input!r}"
        )
    if len(listed) > MAX_FORKED:
        raise WorkflowDefinitionError(
            f"fork {node.reference_name!r} has {len(listed)} tasks; at most {MAX_FORKED} run beside each other"
        )
    return tuple(_forked_task(node, task, given) for task in listed)


def _unknown_of_fork(listed: object, given: object) -> tuple[str, ...]:
    """What the tasks of a dynamic fork depend on, as far as they are unknown. Their inputs may be unknown in parts."""
    parts: list[object] = [listed, given]
    if isinstance(given, Mapping):
        parts += given.values()
    for task in listed if isinstance(listed, list) else ():
        parts += [task, *(task.values() if isinstance(task, Mapping) else ())]
    return unknowns_in([part for part in parts if isinstance(part, Unknown)])


def _forked_task(node: DynamicForkNode, task: object, given: JsonObject) -> TaskNode:
    match task:
        case {"name": str(name), "taskReferenceName": str(reference), **others} if (
            others.get("type", "SIMPLE") == "SIMPLE"
        ):
            inputs: dict[str, Any] = {}
            for values in (others.get("inputParameters"), given.get(reference)):
                inputs |= values if isinstance(values, Mapping) else {}
            return TaskNode(
                reference_name=reference, task_name=name, inputs=inputs, optional=bool(others.get("optional"))
            )
        case _:
            raise WorkflowDefinitionError(
                f"fork {node.reference_name!r}: {task!r} is no task of type SIMPLE with name and taskReferenceName"
            )

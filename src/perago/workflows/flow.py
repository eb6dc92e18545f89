"""`Flow`, with which a workflow function builds its graph."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast, overload

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from perago.errors import WorkflowDefinitionError, required
from perago.tasks.declare import TaskDefinition, task_of
from perago.values.joins import JOIN
from perago.values.json_text import JsonObject
from perago.values.record import listing_name
from perago.workflows.builtin import builtin_task, forked
from perago.workflows.decide import case_of
from perago.workflows.definition import workflow_of
from perago.workflows.expressions import RESULTS, escaped, expression
from perago.workflows.given import GivenValues, Runnable, word_for
from perago.workflows.graph import (
    CASE_INPUT,
    GATHER_TASK,
    MAP_TASK,
    DynamicForkNode,
    ForkNode,
    JoinNode,
    Node,
    Nodes,
    SetVariableNode,
    SubWorkflowNode,
    SwitchNode,
    TaskNode,
    without,
)
from perago.workflows.names import ReferenceNames
from perago.workflows.standin import Facts, Scope, StandIn, facts_of, here
from perago.workflows.wiring import (
    field_type,
    list_of,
    type_name,
)

R = TypeVar("R", bound=BaseModel)
M = TypeVar("M", bound=BaseModel)


@dataclass
class _Sequence:
    """Nodes one after the other, being built.

    Attributes:
        workspace: what the next task takes: an expression, or a join of several.
        scopes: the branches and cases that it is in, from the outside in.
    """

    workspace: str | JsonObject
    scopes: tuple[Scope, ...] = ()
    nodes: list[Node] = field(default_factory=list)


@dataclass
class _Fork:
    """A fork, being built."""

    block: int
    place: str
    around: _Sequence
    branches: list[_Sequence] = field(default_factory=list)

    def new_branch(self) -> _Sequence:
        scope = Scope(self.block, len(self.branches), is_case=False)
        branch = _Sequence(self.around.workspace, scopes=(*self.around.scopes, scope))
        self.branches.append(branch)
        return branch


class Cases:
    """The cases of a switch, as given by `Flow.when`."""

    def __init__(self, flow: Flow, facts: Facts, block: int, around: _Sequence) -> None:
        self._flow = flow
        self._facts = facts
        self._block = block
        self._around = around
        self.built: dict[str, _Sequence] = {}
        self.default: _Sequence | None = None

    @contextmanager
    def case(self, value: str | int | bool) -> Iterator[None]:
        """The tasks that run if the value is this one.

        Raises:
            WorkflowDefinitionError: there is a case for it already, or the value can never be that.
        """
        name = self._name_of(value)
        with self._building() as sequence:
            self.built[name] = sequence
            yield

    @contextmanager
    def otherwise(self) -> Iterator[None]:
        """The tasks that run if the value is that of no case."""
        if self.default is not None:
            raise WorkflowDefinitionError(
                f"{here()}: this switch has an otherwise() already; write all its tasks there"
            )
        with self._building() as sequence:
            self.default = sequence
            yield

    def _name_of(self, value: str | int | bool) -> str:
        try:
            TypeAdapter(self._facts.kind).validate_python(value)
        except ValidationError:
            raise WorkflowDefinitionError(
                f"{here()}: {self._facts.name} ({self._facts.place}) is of type {type_name(self._facts.kind)} and is "
                f"never {value!r}"
            ) from None
        name = case_of(to_jsonable_python(value))
        if name in self.built:
            raise WorkflowDefinitionError(f"{here()}: there is a case for {value!r} already; write all its tasks there")
        return name

    @contextmanager
    def _building(self) -> Iterator[_Sequence]:
        number = len(self.built) + (self.default is not None)
        scope = Scope(self._block, number, is_case=True)
        around = self._around
        with self._flow.building(_Sequence(around.workspace, scopes=(*around.scopes, scope))) as sequence:
            yield sequence


class Flow:
    """Builds a workflow: each call adds tasks, and gives stand-ins for what they will return.

    A workflow function gets one; it is not made by hand.
    """

    def __init__(self, workspace: str) -> None:
        self.tasks: dict[str, TaskDefinition] = {}
        self.uses_workspace = False
        self._sequence = _Sequence(workspace)
        self._fork: _Fork | None = None
        self._names = ReferenceNames()
        self._gathers: dict[str, str] = {}
        self._used: set[str] = set()
        self._blocks = 0

    # ---- tasks

    @overload
    def run(
        self,
        task: Callable[..., Coroutine[Any, Any, R]],
        given: object = None,
        /,
        *,
        ref_: str | None = None,
        optional_: bool = False,
        **params: object,
    ) -> R: ...
    @overload
    def run(
        self,
        task: Callable[..., R],
        given: object = None,
        /,
        *,
        ref_: str | None = None,
        optional_: bool = False,
        **params: object,
    ) -> R: ...
    @overload
    def run(
        self,
        task: Callable[..., None],
        given: object = None,
        /,
        *,
        ref_: str | None = None,
        optional_: bool = False,
        **params: object,
    ) -> None: ...
    def run(
        self,
        task: Callable[..., Any],
        given: object = None,
        /,
        *,
        ref_: str | None = None,
        optional_: bool = False,
        **params: object,
    ) -> Any:
        """Add a task or another workflow, after those before it. It takes the workspace as they leave it.

        Args:
            task: a function decorated with `@task` or `@workflow`.
            given: all params at once, as a model or a stand-in of one; or write them one by one.
            ref_: its reference name. Default: its name, with a number if that is taken.
            optional_: the workflow goes on if it fails; a task, if its last try does.
            params: values and stand-ins by the names of the params.

        Returns:
            a stand-in for its result; None for a workflow without one.

        Raises:
            WorkflowDefinitionError: it is neither, or its params cannot be made of these. Names both ends and the line.
        """
        definition = self._definition(task)
        with self._branch() as sequence:
            inputs = self._inputs(definition, sequence, given, params)
            name = self._names.free(ref_, definition.name)
            sequence.nodes.append(_node(definition, name, inputs, is_optional=optional_))
            if self._writes(definition, optional=optional_):
                sequence.workspace = expression(name, "output", "workspace")
            if definition.output_model is None:
                return None
            return StandIn(
                Facts(
                    path=(name, "output", "result"),
                    kind=definition.output_model | None if optional_ else definition.output_model,
                    of=f"the result of task {name!r}",
                    place=here(),
                    scopes=sequence.scopes,
                )
            )

    @overload
    def map(
        self,
        task: Callable[..., Coroutine[Any, Any, R]],
        /,
        *,
        over: Iterable[object],
        as_: str,
        ref_: str | None = None,
        optional_: bool = False,
        **params: object,
    ) -> list[R]: ...
    @overload
    def map(
        self,
        task: Callable[..., R],
        /,
        *,
        over: Iterable[object],
        as_: str,
        ref_: str | None = None,
        optional_: bool = False,
        **params: object,
    ) -> list[R]: ...
    def map(
        self,
        task: Callable[..., Any],
        /,
        *,
        over: Iterable[object],
        as_: str,
        ref_: str | None = None,
        optional_: bool = False,
        **params: object,
    ) -> Any:
        """Run a task for each item of a list, side by side, after the tasks before. What follows waits for all of them.

            scores = flow.map(score, over=params.shards, as_="shard", limit=3)

        Args:
            task: a function decorated with `@task`.
            over: a stand-in of a list, or a list; up to 1,000 items, or none.
            as_: the param that takes the item.
            ref_: the tasks are named `<ref_>_1`, `<ref_>_2`, … Default: the task's name.
            optional_: the workflow goes on if the last try for an item fails; its result is then None.
            params: of all the tasks: values and stand-ins by the names of the params.

        Returns:
            a stand-in for the list of the results, in the order of the items.

        Raises:
            WorkflowDefinitionError: as `run`; or `over` is no list whose items fit the param.
        """
        definition = self._definition(task)
        if not isinstance(definition, TaskDefinition):
            raise WorkflowDefinitionError(f"{here()}: {word_for(definition)} cannot be mapped over a list; map a task")
        with self._branch() as sequence:
            about = definition.params_model.model_fields.get(as_)
            if as_ in params:
                raise WorkflowDefinitionError(
                    f"{here()}: task {definition.name!r} gets param {as_!r} for each item, and once for all of them; "
                    f"give one or the other"
                )
            placeholder = StandIn(Facts(path=("item",), kind=Any, of="an item", place=here()))
            inputs = self._inputs(definition, sequence, None, {**params, as_: placeholder})
            about = required(about, "an unknown param is refused")
            self._given.expect_list_of(field_type(about), over, definition, as_)
            writes = self._writes(definition, optional=optional_)
            name = self._names.free_for_map(ref_, definition.name)
            param = about.alias or as_
            del inputs["params"][param]
            join = self._add_map(sequence, definition, name, inputs, param, over, optional=optional_)
            if writes:
                sequence.workspace = {JOIN: [sequence.workspace, expression(join, "output")]}
            results = self._names.free(None, f"{name}{RESULTS}")
            self._gathers[results] = join
            sequence.nodes.append(
                TaskNode(
                    reference_name=results,
                    task_name=GATHER_TASK,
                    inputs={
                        "params": {
                            "names": expression(join, "input", "joinOn"),
                            "outputs": expression(join, "output"),
                        }
                    },
                )
            )
            made = definition.output_model
            return StandIn(
                Facts(
                    path=(results, "output", "result", "results"),
                    kind=list_of(made, optional=optional_),
                    of=f"map {name!r}",
                    place=here(),
                    scopes=sequence.scopes,
                )
            )

    # ---- blocks

    @contextmanager
    def parallel(self) -> Iterator[None]:
        """The tasks in this block run beside each other; what follows it waits for all of them.

        Each call of `run` is a branch of its own. `branch` makes one of several tasks.

        Raises:
            WorkflowDefinitionError: the block is empty.
        """
        if self._fork is not None:
            raise WorkflowDefinitionError(
                f"{here()}: parallel() directly within parallel() adds nothing; write the tasks in one block, or "
                f"put the inner one into `with flow.branch():`"
            )
        around, place = self._sequence, here()
        self._fork = fork = _Fork(self._new_block(), place, around)
        try:
            yield
        finally:
            self._fork = None
        branches = [branch for branch in fork.branches if branch.nodes]
        if not branches:
            raise WorkflowDefinitionError(f"{place}: parallel() has no task in it; add two, or leave it out")
        self._add_fork(around, branches)

    @contextmanager
    def branch(self) -> Iterator[None]:
        """A branch of several tasks, one after the other, within `parallel`."""
        fork = self._fork
        if fork is None:
            raise WorkflowDefinitionError(
                f"{here()}: branch() is not directly within parallel(); leave it out: here tasks follow each other"
            )
        self._fork = None
        try:
            with self.building(fork.new_branch()):
                yield
        finally:
            self._fork = fork

    @contextmanager
    def when(self, value: object) -> Iterator[Cases]:
        """Choose by a value which tasks run.

            with flow.when(params.mode) as mode:
                with mode.case("full"):
                    flow.run(train_all)
                with mode.otherwise():
                    flow.run(train_sample)

        Args:
            value: a stand-in of text, a whole number, or true and false.

        Raises:
            WorkflowDefinitionError: it is no stand-in, or there is no case.
        """
        facts, place = facts_of(value), here()
        if facts is None:
            raise WorkflowDefinitionError(
                f"{place}: when() takes a value that is known only when the workflow runs, but this is {value!r}; "
                f"use a plain `if`"
            )
        with self._branch() as around:
            self._given.expect_known(facts)
            fork, self._fork = self._fork, None
            cases = Cases(self, facts, self._new_block(), around)
            try:
                yield cases
            finally:
                self._fork = fork
            if not cases.built:
                raise WorkflowDefinitionError(f"{place}: when() has no case; add `with ….case(value):`")
            self._add_switch(around, facts, cases)

    def output(self, model: type[M], /, **fields: object) -> M:
        """The workflow's result, made of values and stand-ins.

        Raises:
            WorkflowDefinitionError: the model's fields cannot be made of these.
        """
        made = self._given.values_of(model, fields, f"result {model.__name__}", "field")
        return cast("M", Output(model, made))

    # ---- building

    @contextmanager
    def building(self, sequence: _Sequence) -> Iterator[_Sequence]:
        """What is added meanwhile goes to this sequence."""
        around, self._sequence = self._sequence, sequence
        try:
            yield sequence
        finally:
            self._sequence = around

    def finish(self) -> tuple[Nodes, str | JsonObject | None]:
        """The nodes, and the workspace that they leave; None if no task has one."""
        sequence = self._sequence
        unused = {gather: join for gather, join in self._gathers.items() if gather not in self._used}
        if len(unused) < len(self._gathers):
            self.tasks[GATHER_TASK] = builtin_task(GATHER_TASK)
        return without(tuple(sequence.nodes), unused), sequence.workspace if self.uses_workspace else None

    def value(self, value: object) -> Any:
        """A value as JSON, with an expression for each stand-in in it."""
        return self._given.as_json(value)

    def misfit(self, facts: Facts, kind: Any) -> str | None:
        """Why a value does not fit a type where the function is now; None if it does, or only the run can tell."""
        return self._given.misfit(facts, kind)

    @property
    def _given(self) -> GivenValues:
        return GivenValues(self._sequence.scopes, self._used)

    @contextmanager
    def _branch(self) -> Iterator[_Sequence]:
        """The sequence that a task is added to: within `parallel`, a branch of its own."""
        if self._fork is None:
            yield self._sequence
            return
        with self.building(self._fork.new_branch()) as sequence:
            yield sequence

    def _add_fork(self, around: _Sequence, branches: list[_Sequence]) -> None:
        number = self._names.free(None, "parallel")
        for branch in branches:
            self._end_with_a_name(branch)
        around.nodes += [
            ForkNode(reference_name=number, branches=tuple(tuple(branch.nodes) for branch in branches)),
            JoinNode(
                reference_name=self._names.free(None, f"{number}_join"),
                join_on=tuple(branch.nodes[-1].reference_name for branch in branches),
            ),
        ]
        written = [branch.workspace for branch in branches if branch.workspace != around.workspace]
        if written:
            around.workspace = written[0] if len(written) == 1 else {JOIN: [around.workspace, *written]}

    def _end_with_a_name(self, branch: _Sequence) -> None:
        """A join cannot wait for what follows a switch, so a branch does not end with one."""
        if isinstance(branch.nodes[-1], SwitchNode):
            name = self._names.free(None, f"{branch.nodes[-1].reference_name}_done")
            branch.nodes.append(SetVariableNode(reference_name=name, inputs={}))

    def _add_switch(self, around: _Sequence, facts: Facts, cases: Cases) -> None:
        name = self._names.free(None, f"when_{facts.path[-1]}")
        default = cases.default or _Sequence(around.workspace)
        sequences = [*cases.built.values(), default]
        if any(sequence.workspace != around.workspace for sequence in sequences):
            variable = f"{name}_workspace"
            for sequence in sequences:
                sequence.nodes.append(
                    SetVariableNode(
                        reference_name=self._names.free(None, variable), inputs={variable: sequence.workspace}
                    )
                )
            around.workspace = expression("workflow", "variables", variable)
        around.nodes.append(
            SwitchNode(
                reference_name=name,
                inputs={CASE_INPUT: expression(*facts.path)},
                value_input=CASE_INPUT,
                cases={case: tuple(sequence.nodes) for case, sequence in cases.built.items()},
                default=tuple(default.nodes),
            )
        )

    def _add_map(
        self,
        sequence: _Sequence,
        definition: TaskDefinition,
        name: str,
        inputs: dict[str, Any],
        param: str,
        over: Iterable[object],
        *,
        optional: bool,
    ) -> str:
        """Add a dynamic fork for a list that is known when the workflow runs, or now. Returns its join's name.

        The fork gets its tasks as a value, in which the server leaves expressions alone; it evaluates them for each
        task. So the literals in them are escaped once for that, and all of it once more where the definition holds it.
        """
        facts = facts_of(over)
        if facts is None:
            items = [self.value(item) for item in over]
            tasks = escaped(forked(definition.name, name, inputs, param, items, optional=optional))
        else:
            listing, item = self._names.free(None, listing_name(name)), self.value(over)
            mapping = {
                "over": item,
                "item": escaped(item),
                "task": definition.name,
                "reference": name,
                "param": param,
                "inputs": escaped(inputs),
                "optional": optional,
            }
            self.tasks[MAP_TASK] = builtin_task(MAP_TASK)
            sequence.nodes.append(TaskNode(reference_name=listing, task_name=MAP_TASK, inputs={"params": mapping}))
            tasks = expression(listing, "output", "result", "tasks")
        join = self._names.free(None, f"{name}_join")
        sequence.nodes += [
            DynamicForkNode(
                reference_name=self._names.free(None, f"{name}_fork"),
                inputs={"tasks": tasks, "inputs": {}},
                tasks_input="tasks",
                inputs_input="inputs",
            ),
            JoinNode(reference_name=join),
        ]
        return join

    # ---- inputs

    def _definition(self, task: object) -> Runnable:
        definition = task_of(task) or workflow_of(task)
        if definition is None:
            raise WorkflowDefinitionError(
                f"{here()}: {getattr(task, '__qualname__', repr(task))} is no task or workflow; decorate it with "
                f"@task(...)"
            )
        for own in [definition] if isinstance(definition, TaskDefinition) else definition.tasks.values():
            other = self.tasks.setdefault(own.name, own)
            if other is not own:
                raise WorkflowDefinitionError(
                    f"{here()}: {other.target} and {own.target} are both named {own.name!r}, but a server "
                    f"keeps one TaskDef per name. Rename one of them"
                )
        return definition

    def _inputs(
        self, definition: Runnable, sequence: _Sequence, given: object, params: Mapping[str, object]
    ) -> dict[str, Any]:
        inputs = self._given.params_of(definition, given, params)
        if _has_workspace(definition):
            self.uses_workspace = True
            inputs["workspace"] = sequence.workspace
        return inputs

    def _writes(self, definition: Runnable, *, optional: bool) -> bool:
        """Whether it leaves another workspace than it takes. If so, it must not be optional."""
        writes = _leaves_commit(definition)
        if writes and optional:
            raise WorkflowDefinitionError(
                f"{here()}: {word_for(definition)} writes in its workspace and cannot be optional: if it fails, what "
                f"follows would not know which commit to take"
            )
        return writes

    def _new_block(self) -> int:
        self._blocks += 1
        return self._blocks


def _node(definition: Runnable, name: str, inputs: JsonObject, *, is_optional: bool) -> TaskNode | SubWorkflowNode:
    if isinstance(definition, TaskDefinition):
        return TaskNode(reference_name=name, task_name=definition.name, inputs=inputs, optional=is_optional)
    return SubWorkflowNode(
        reference_name=name,
        task_name=name,
        workflow_name=definition.name,
        version=definition.graph.version,
        inputs=inputs,
        optional=is_optional,
        graph=definition.graph,
    )


def _has_workspace(definition: Runnable) -> bool:
    return definition.has_workspace if isinstance(definition, TaskDefinition) else definition.uses_workspace


def _leaves_commit(definition: Runnable) -> bool:
    """Whether it can leave another workspace than it takes."""
    tasks = [definition] if isinstance(definition, TaskDefinition) else definition.tasks.values()
    return any(task.workspace is not None and not task.workspace.read_only for task in tasks)


@dataclass(frozen=True)
class Output:
    """What `Flow.output` returns: the fields of the workflow's result as JSON, with expressions."""

    model: type[BaseModel]
    fields: Mapping[str, Any]

"""`Flow`, with which a workflow function builds its graph."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast, overload

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from perago.errors import WorkflowDefinitionError, required
from perago.tasks.declare import TaskDefinition, task_of
from perago.tasks.params import describe_faults
from perago.values.joins import JOIN
from perago.values.json_text import JsonObject, with_finite_numbers
from perago.values.record import listing_name
from perago.workflows.builtin import builtin_task, forked
from perago.workflows.decide import case_of
from perago.workflows.definition import WorkflowDefinition, workflow_of
from perago.workflows.expressions import escaped, expression
from perago.workflows.graph import (
    CASE_INPUT,
    GATHER_TASK,
    MAP_TASK,
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
    without,
)
from perago.workflows.params import with_defaults
from perago.workflows.standin import Facts, Scope, StandIn, facts_of, here, holds_stand_in
from perago.workflows.wiring import (
    FAULT_OF_A_LITERAL,
    did_you_mean,
    field_type,
    has_secret,
    list_of,
    misfit,
    model_of,
    type_name,
)

R = TypeVar("R", bound=BaseModel)
M = TypeVar("M", bound=BaseModel)

_NOT_A_NAME = re.compile(r"\W")


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
        self._names: set[str] = set()
        self._maps: set[str] = set()
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
            name = self._free_name(ref_, definition.name)
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
            raise WorkflowDefinitionError(f"{here()}: {_word(definition)} cannot be mapped over a list; map a task")
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
            self._expect_list_of(field_type(about), over, definition, as_)
            writes = self._writes(definition, optional=optional_)
            name = self._free_map_name(ref_, definition.name)
            param = about.alias or as_
            del inputs["params"][param]
            join = self._add_map(sequence, definition, name, inputs, param, over, optional=optional_)
            if writes:
                sequence.workspace = {JOIN: [sequence.workspace, expression(join, "output")]}
            results = self._free_name(None, f"{name}_results")
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
            self._expect_known(facts, around)
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
        made = self._values(model, fields, self._sequence, f"result {model.__name__}", "field")
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

    def value(self, value: object, sequence: _Sequence | None = None) -> Any:
        """A value as JSON, with an expression for each stand-in in it."""
        return self._json(value, sequence or self._sequence)

    @contextmanager
    def _branch(self) -> Iterator[_Sequence]:
        """The sequence that a task is added to: within `parallel`, a branch of its own."""
        if self._fork is None:
            yield self._sequence
            return
        with self.building(self._fork.new_branch()) as sequence:
            yield sequence

    def _add_fork(self, around: _Sequence, branches: list[_Sequence]) -> None:
        number = self._free_name(None, "parallel")
        for branch in branches:
            self._end_with_a_name(branch)
        around.nodes += [
            ForkNode(reference_name=number, branches=tuple(tuple(branch.nodes) for branch in branches)),
            JoinNode(
                reference_name=self._free_name(None, f"{number}_join"),
                join_on=tuple(branch.nodes[-1].reference_name for branch in branches),
            ),
        ]
        written = [branch.workspace for branch in branches if branch.workspace != around.workspace]
        if written:
            around.workspace = written[0] if len(written) == 1 else {JOIN: [around.workspace, *written]}

    def _end_with_a_name(self, branch: _Sequence) -> None:
        """A join cannot wait for what follows a switch, so a branch does not end with one."""
        if isinstance(branch.nodes[-1], SwitchNode):
            name = self._free_name(None, f"{branch.nodes[-1].reference_name}_done")
            branch.nodes.append(SetVariableNode(reference_name=name, inputs={}))

    def _add_switch(self, around: _Sequence, facts: Facts, cases: Cases) -> None:
        name = self._free_name(None, f"when_{facts.path[-1]}")
        default = cases.default or _Sequence(around.workspace)
        sequences = [*cases.built.values(), default]
        if any(sequence.workspace != around.workspace for sequence in sequences):
            variable = f"{name}_workspace"
            for sequence in sequences:
                sequence.nodes.append(
                    SetVariableNode(
                        reference_name=self._free_name(None, variable), inputs={variable: sequence.workspace}
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
            items = [self._json(item, sequence) for item in over]
            tasks = escaped(forked(definition.name, name, inputs, param, items, optional=optional))
        else:
            listing, item = self._free_name(None, listing_name(name)), self._json(over, sequence)
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
        join = self._free_name(None, f"{name}_join")
        sequence.nodes += [
            DynamicForkNode(
                reference_name=self._free_name(None, f"{name}_fork"),
                inputs={"tasks": tasks, "inputs": {}},
                tasks_input="tasks",
                inputs_input="inputs",
            ),
            JoinNode(reference_name=join),
        ]
        return join

    # ---- inputs

    def _definition(self, task: object) -> _Runnable:
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
        self, definition: _Runnable, sequence: _Sequence, given: object, params: Mapping[str, object]
    ) -> dict[str, Any]:
        inputs = self._params_input(definition, sequence, given, params)
        if _has_workspace(definition):
            self.uses_workspace = True
            inputs["workspace"] = sequence.workspace
        return inputs

    def _params_input(
        self, definition: _Runnable, sequence: _Sequence, given: object, params: Mapping[str, object]
    ) -> dict[str, Any]:
        model, of = definition.params_model, _word(definition)
        if model is None:
            if given is not None or params:
                raise WorkflowDefinitionError(f"{here()}: {of} takes no params; leave them out")
            return {}
        made = self._params(model, of, sequence, given, params)
        if isinstance(definition, WorkflowDefinition):
            # Nothing validates the input of a sub-workflow when it runs, so that nothing would fill these in.
            made = self._with_defaults(model, of, made, given)
        return {"params": made}

    def _with_defaults(self, model: type[BaseModel], of: str, made: Any, given: object) -> Any:
        facts = facts_of(given)
        if facts is None:
            return with_defaults(model, made)
        source = model_of(facts.kind)
        missing = [name for name in model.model_fields if source is not None and name not in source.model_fields]
        if missing:
            raise WorkflowDefinitionError(
                f"{here()}: {facts.name} ({facts.place}) has no field {missing[0]!r}, which {of} reads; "
                f"give its params one by one"
            )
        return made

    def _params(
        self, model: type[BaseModel], of: str, sequence: _Sequence, given: object, params: Mapping[str, object]
    ) -> Any:
        if given is None:
            return self._values(model, params, sequence, of, "param")
        if params:
            raise WorkflowDefinitionError(
                f"{here()}: {of} gets all params at once, and some by name; give one or the other"
            )
        facts = facts_of(given)
        if facts is not None:
            fault = self.misfit(facts, model)
            if fault is not None:
                raise WorkflowDefinitionError(
                    f"{here()}: {facts.name} ({facts.place}) does not fit the params of {of}: {fault}"
                )
            return self._json(given, sequence)
        if isinstance(given, Mapping):
            return self._values(model, given, sequence, of, "param")
        return self._values(model, dict(iter(given)) if isinstance(given, BaseModel) else {}, sequence, of, "param")

    def _values(
        self, model: type[BaseModel], given: Mapping[str, object], sequence: _Sequence, of: str, word: str
    ) -> dict[str, Any]:
        """Values for the fields of a model, checked, as JSON.

        Raises:
            WorkflowDefinitionError: all faults.
        """
        fields = model.model_fields
        faults = [f"it has no {word} {name!r}{did_you_mean(name, [*fields])}" for name in given if name not in fields]
        faults += [
            f"{word} {name!r} is missing" for name, about in fields.items() if about.is_required() and name not in given
        ]
        made = {}
        for name in [name for name in given if name in fields]:
            about = fields[name]
            fault = self._fault(given[name], field_type(about))
            if fault is not None:
                faults.append(f"{word} {name!r}{fault}")
            else:
                made[about.alias if word == "param" and about.alias else name] = self._json(given[name], sequence)
        if faults:
            raise WorkflowDefinitionError(f"{here()}: {of}: {'; '.join(faults)}")
        return made

    def _expect_list_of(self, kind: Any, over: object, definition: TaskDefinition, param: str) -> None:
        """Refuse what is no list, or whose items never fit a param."""
        of = f"{here()}: map of task {definition.name!r}: over"
        if facts_of(over) is not None:
            fault = self._fault(over, list[kind])
            if fault is not None:
                raise WorkflowDefinitionError(f"{of}{fault}")
            return
        if isinstance(over, str | bytes) or not isinstance(over, Sequence):
            raise WorkflowDefinitionError(f"{of} is {over!r}, which is no list; give one, or a stand-in of one")
        if len(over) > MAX_FORKED:
            raise WorkflowDefinitionError(
                f"{of} has {len(over)} items, and at most {MAX_FORKED} run side by side; map over lists of several "
                f"items each"
            )
        faults = [f"item {index}{fault}" for index, item in enumerate(over) if (fault := self._fault(item, kind))]
        if faults:
            raise WorkflowDefinitionError(f"{of} does not fit param {param!r}: {'; '.join(faults)}")

    def _writes(self, definition: _Runnable, *, optional: bool) -> bool:
        """Whether it leaves another workspace than it takes. If so, it must not be optional."""
        writes = _leaves_commit(definition)
        if writes and optional:
            raise WorkflowDefinitionError(
                f"{here()}: {_word(definition)} writes in its workspace and cannot be optional: if it fails, what "
                f"follows would not know which commit to take"
            )
        return writes

    def _fault(self, value: object, kind: Any) -> str | None:
        """Why a value does not fit a field; None if it does, or only the run can tell."""
        facts = facts_of(value)
        if facts is not None:
            self._expect_known(facts, self._sequence)
            fault = self.misfit(facts, kind)
            return None if fault is None else f" takes {type_name(kind)}, but {facts.name} ({facts.place}): {fault}"
        if has_secret(value, kind):
            return FAULT_OF_A_LITERAL
        if holds_stand_in(value):
            return None
        try:
            TypeAdapter(kind).validate_python(value)
        except ValidationError as exc:
            return f": {describe_faults(exc, 'value')}"
        return None

    def misfit(self, facts: Facts, kind: Any) -> str | None:
        """Why a value does not fit a type where the function is now; None if it does, or only the run can tell."""
        fault = misfit(facts.kind, kind)
        if fault is not None or all(not scope.is_case or scope in self._sequence.scopes for scope in facts.scopes):
            return fault
        fault = misfit(facts.kind | None, kind)
        return None if fault is None else f"{fault}, as its case of the switch may not run"

    def _json(self, value: object, sequence: _Sequence) -> Any:
        facts = facts_of(value)
        if facts is not None:
            self._expect_known(facts, sequence)
            return expression(*facts.path)
        if isinstance(value, Mapping):
            return {str(key): self._json(item, sequence) for key, item in value.items()}
        if isinstance(value, list | tuple) and holds_stand_in(value):
            return [self._json(item, sequence) for item in value]
        try:
            found = to_jsonable_python(value)
        except PydanticSerializationError as exc:
            raise WorkflowDefinitionError(f"{here()}: {value!r} cannot be written as JSON: {exc}") from None
        return escaped(with_finite_numbers(found))

    def _expect_known(self, facts: Facts, sequence: _Sequence) -> None:
        """Refuse a value from a parallel branch, or from another case of the switch. Notes that the value is used."""
        self._used.add(str(facts.path[0]))
        parts = {scope.block: scope.part for scope in sequence.scopes}
        for scope in facts.scopes:
            if scope.block in parts and parts[scope.block] != scope.part:
                how = "in another case of the switch" if scope.is_case else "beside it"
                raise WorkflowDefinitionError(
                    f"{here()}: {facts.name} ({facts.place}) is made {how}, and is not known here; use "
                    f"it after the block"
                )

    def _free_name(self, wanted: str | None, otherwise: str) -> str:
        name = self._not_a_map(_NOT_A_NAME.sub("_", otherwise)) if wanted is None else wanted
        if wanted is not None and (_NOT_A_NAME.search(wanted) or not wanted or wanted == "workflow"):
            raise WorkflowDefinitionError(
                f"{here()}: ref_={wanted!r} is no reference name; use letters, digits and '_', and not 'workflow'"
            )
        if wanted is not None and self._is_taken(wanted):
            raise WorkflowDefinitionError(f"{here()}: two tasks have the reference name {wanted!r}; rename one")
        number, free = 1, name
        while self._is_taken(free) or free == "workflow":
            number += 1
            free = f"{name}_{number}"
        self._names.add(free)
        return free

    def _free_map_name(self, wanted: str | None, otherwise: str) -> str:
        """A name for a map, whose numbered names are free as well."""
        name = self._free_name(wanted, otherwise)
        numbered = next((other for other in sorted(self._names) if _is_numbered(other, name)), None)
        if numbered is not None and wanted is not None:
            raise WorkflowDefinitionError(
                f"{here()}: map {name!r} and another task have the reference name {numbered!r}; rename one with ref_"
            )
        if numbered is not None:
            return self._free_map_name(None, f"{name}_map")
        self._maps.add(name)
        return name

    def _is_taken(self, name: str) -> bool:
        return name in self._names or any(_is_numbered(name, one) for one in self._maps)

    def _not_a_map(self, name: str) -> str:
        """A name whose numbers are not those of a map's tasks."""
        while name in self._maps:
            name = f"{name}_more"
        return name

    def _new_block(self) -> int:
        self._blocks += 1
        return self._blocks


_Runnable = TaskDefinition | WorkflowDefinition


def _word(definition: _Runnable) -> str:
    """A task or workflow in a sentence."""
    return f"{'task' if isinstance(definition, TaskDefinition) else 'workflow'} {definition.name!r}"


def _node(definition: _Runnable, name: str, inputs: JsonObject, *, is_optional: bool) -> TaskNode | SubWorkflowNode:
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


def _has_workspace(definition: _Runnable) -> bool:
    return definition.has_workspace if isinstance(definition, TaskDefinition) else definition.uses_workspace


def _leaves_commit(definition: _Runnable) -> bool:
    """Whether it can leave another workspace than it takes."""
    tasks = [definition] if isinstance(definition, TaskDefinition) else definition.tasks.values()
    return any(task.workspace is not None and not task.workspace.read_only for task in tasks)


@dataclass(frozen=True)
class Output:
    """What `Flow.output` returns: the fields of the workflow's result as JSON, with expressions."""

    model: type[BaseModel]
    fields: Mapping[str, Any]


def _is_numbered(name: str, of: str) -> bool:
    """Whether a name is that of a task of a map."""
    return name.startswith(f"{of}_") and name.removeprefix(f"{of}_").isdecimal()

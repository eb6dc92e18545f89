"""What a run of a workflow would do now, task by task: the results that it would take, and what it would compute.

It is a walk with the decisions of a run (`workflows.decide`), in which nothing runs and nothing is written. A task
whose result would be taken counts as completed with it. What the others would make is not known, and neither is what
depends on that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import BaseModel

from perago.errors import TaskInputError, TaskTerminalError, required
from perago.ports import Repository
from perago.running.foretold_files import Files, FutureCommit, Head, Layer, changes_to
from perago.running.recordable import recordable_input
from perago.running.task_state import TaskState, item_text, state_of, states_of
from perago.running.why import History, Outlook, Taken
from perago.running.workflow_request import WorkflowRequest
from perago.tasks.declare import TaskDefinition
from perago.tasks.params import validate_params
from perago.tasks.patterns import filled
from perago.values.joins import joined
from perago.values.json_text import JsonObject
from perago.values.models import WorkspaceInput
from perago.values.record import WITHIN, TryStatus, WorkflowStatus
from perago.values.spec import WorkspaceSpec
from perago.workflows.builtin import GatherParams, MapParams, gather, list_tasks
from perago.workflows.decide import Due, Instance, decide
from perago.workflows.graph import BEGIN_TASK, END_TASK, GATHER_TASK, MAP_TASK, DynamicForkNode
from perago.workflows.unknown import Unknown, unknowns_in

Reason = Literal["params", "files", "case", "items", "key", "beside"]
"""Why a task cannot be told: its params or its files may change; whether it runs at all, or for which items; another
task would compute the same; a task beside it may publish before it or after it."""


@dataclass(frozen=True, kw_only=True)
class Waits:
    """It cannot be told before other tasks have run.

    Attributes:
        of: their reference names.
    """

    of: tuple[str, ...]
    reason: Reason


@dataclass(frozen=True)
class Fails:
    """It would fail before its body runs, as `why` says."""

    why: str


@dataclass(frozen=True)
class Uncached:
    """Each run computes it."""


@dataclass(frozen=True)
class LeftOut:
    """A switch takes another case."""


@dataclass(frozen=True)
class Unreached:
    """The run would end before it."""


Fate = Outlook | Waits | Fails | Uncached | LeftOut | Unreached


@dataclass(frozen=True, kw_only=True)
class Foretold:
    """What a run would do with a task.

    Attributes:
        name: its reference name, with those of the sub-workflows that it is in; of a map, if its items are not known.
        of_map: the name of its map; None if it is in none.
        item: of a map's task, its item as text; "" if it is not known.
    """

    name: str
    fate: Fate
    of_map: str | None = None
    item: str = ""


def foretell(request: WorkflowRequest) -> list[Foretold]:
    """What a run would do, in the order in which it shows its tasks.

    Raises:
        RepositoryNotFoundError, StoreError, WorkspaceStorageError: the repository or the index cannot be read.
    """
    if request.repository is None:
        return _foretold(request, None, None)
    with request.repository.open() as repository:
        return _foretold(request, repository, History.of(request.repository, repository, request.config))


def _foretold(request: WorkflowRequest, repository: Repository | None, history: History | None) -> list[Foretold]:
    """Walk until no task would see what one beside it publishes meanwhile."""
    files = None if repository is None else Files(repository)
    beside: dict[str, Waits] = {}
    while True:
        walk = _Walk(request, files, history, beside)
        walk.go()
        found = walk.waiting_for_others_beside()
        if not found:
            return walk.foretold()
        beside |= found
        history = None if history is None else history.as_known()


# ---------------------------------------------------------------- walk


@dataclass(frozen=True, kw_only=True)
class _Try:
    """A task as the decisions see it. Its id stands for one that only a run has."""

    reference_task_name: str
    task_name: str
    status: TryStatus
    input_data: JsonObject
    output: JsonObject | None = None
    reason: str | None = None
    retry_count: int = 0

    @property
    def task_id(self) -> str:
        return f"(the id of {self.reference_task_name})"


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """A task whose fate depends on the files that it finds."""

    due: Due
    task: TaskDefinition
    head: Head
    spec: WorkspaceSpec


class _Walk:
    """One walk.

    Args:
        beside: the tasks that wait for one beside them, by their names.
    """

    def __init__(
        self, request: WorkflowRequest, files: Files | None, history: History | None, beside: Mapping[str, Waits]
    ) -> None:
        self._workflow = request.workflow
        self._input = required(request.input_data, "a new run has input")
        self._files = files
        self._history = history
        self._beside = beside
        self._tries: dict[str, _Try] = {}
        self._fates: dict[str, Fate] = {}
        self._keys: dict[str, str] = {}
        self._seen: list[_Seen] = []
        self._layers: list[Layer] = []
        self._status = WorkflowStatus.RUNNING
        self._taken: dict[str, str | None] = {}
        self._left_open: dict[str, tuple[str, ...]] = {}

    def go(self) -> None:
        """Take each task as far as it can be told."""
        policies = {name: task.controls.retry for name, task in self._workflow.tasks.items()}
        instance = Instance(workflow_id="(the id of the run)", input_data=self._input)
        while True:
            decision = decide(self._workflow.graph, instance, self._tries.values(), policies)
            self._status = decision.status
            self._taken |= decision.taken
            self._left_open |= decision.left_open
            for end in decision.ended:
                entry = self._tries[end.reference_task_name]
                self._tries[end.reference_task_name] = replace(
                    entry, status=end.status, output=end.output, reason=end.reason
                )
            for due in decision.due:
                self._take(due)
            if decision.status is not WorkflowStatus.RUNNING or not (decision.ended or decision.due):
                return

    def _take(self, due: Due) -> None:
        if due.sub_workflow is not None:
            self._end(due, None, TryStatus.IN_PROGRESS)
            return
        try:
            self._end(due, self._output(due))
        except (TaskInputError, TaskTerminalError) as exc:
            self._fates[due.reference_task_name] = Fails(str(exc))
            self._end(due, None, TryStatus.FAILED_WITH_TERMINAL_ERROR, str(exc))

    def _end(
        self, due: Due, output: JsonObject | None, status: TryStatus = TryStatus.COMPLETED, reason: str | None = None
    ) -> None:
        self._tries[due.reference_task_name] = _Try(
            reference_task_name=due.reference_task_name,
            task_name=due.task_name,
            status=status,
            input_data=due.input_data,
            output=output,
            reason=reason,
        )

    def _output(self, due: Due) -> JsonObject:
        """What a task leaves, as far as it is known.

        Raises:
            TaskInputError, TaskTerminalError: it fails.
        """
        name, params = due.reference_task_name, due.input_data.get("params", {})
        unknown = _whole([params, *(params.values() if isinstance(params, Mapping) else ())])
        if due.task_name == MAP_TASK:
            tasks = Unknown(unknown) if unknown else list_tasks(MapParams.model_validate(params)).tasks
            return {"result": {"tasks": tasks}}
        if due.task_name == GATHER_TASK:
            results = Unknown(unknown) if unknown else gather(GatherParams.model_validate(params)).results
            return {"result": {"results": results}}
        task = self._workflow.tasks[due.task_name]
        if task.workspace is None:
            self._fates[name] = Uncached()
            return {"result": Unknown([name])}
        own, raw = self._input.get("workspace"), due.input_data.get("workspace")
        given = None if own is None else WorkspaceInput.model_validate(own)
        fields = next((one for _, one in joined(raw) if isinstance(one, Mapping)), own or {})
        head = self._all_files.head(task, raw, given)
        if due.task_name == BEGIN_TASK:
            begun = {
                **fields,
                "branch": Unknown([name]),
                "ref": FutureCommit(name, replace(head, onto=None, is_of_run=True)),
            }
            return {"workspace": begun, "result": {"target": fields}}
        if due.task_name == END_TASK:
            head = self._all_files.head(task, params["run"], given)
            ended = replace(head, is_of_run=False)
            return {"workspace": {**fields, "ref": FutureCommit(name, ended)}, "result": Unknown([name])}
        head, result = self._left(due, task, task.workspace, head)
        is_same = not head.layers and not head.of and isinstance(fields["ref"], str)
        ref = head.base.ref if is_same else FutureCommit(name, head)
        return {"workspace": {**fields, "ref": ref}, "result": result}

    def _left(self, due: Due, task: TaskDefinition, spec: WorkspaceSpec, head: Head) -> tuple[Head, object]:
        """The files that a task leaves, and its result.

        Args:
            head: the files that it finds.
        """
        name, raw = due.reference_task_name, due.input_data.get("params", {})
        unknown = unknowns_in(raw)
        params = None if unknown else validate_params(task, raw)
        own = spec.of_any_params if params is None else filled(spec, task.name, params)
        if task.cache is None:
            fate: Fate = Uncached()
        elif params is None:
            fate = Waits(of=unknown, reason="params")
        else:
            fate = self._fate(_Seen(due=due, task=task, head=head, spec=own), params)
        self._fates[name] = fate
        if isinstance(fate, Taken) and own.read_only:
            return head, fate.result.stamp.result
        if isinstance(fate, Taken):
            changes = changes_to(self._all_files.of(head, own.made), fate.made, own.root)
            layer = Layer(name=name, changes=changes, spec=own.made, of=(name,), branches=due.branches)
            return self._with_layer(head, layer) if changes else head, fate.result.stamp.result
        of = fate.of if isinstance(fate, Waits) else (name,)
        if own.read_only:
            return head, Unknown(of)
        touched = own.made if own.outputs else own
        layer = Layer(name=name, changes=None, spec=touched, of=of, branches=due.branches)
        return self._with_layer(head, layer), Unknown(of)

    def _with_layer(self, head: Head, layer: Layer) -> Head:
        self._layers.append(layer)
        return replace(head, layers=(*head.layers, layer))

    def _fate(self, seen: _Seen, params: BaseModel) -> Fate:
        """What a run would do with a task whose params are known."""
        name = seen.due.reference_task_name
        if name in self._beside:
            return self._beside[name]
        waits_for = self._all_files.waits_for(seen.head, seen.spec.laid_out)
        if waits_for:
            return Waits(of=waits_for, reason="files")
        self._seen.append(seen)
        history = required(self._history, "a workflow with a workspace has a repository")
        inputs = self._all_files.of(seen.head, seen.spec.laid_out)
        found = history.outlook(seen.task, seen.spec, params, inputs, seen.head.base)
        self._history = history.as_known()
        if isinstance(found, Taken) or found.key is None:
            return found
        first = self._keys.setdefault(found.key, name)
        return found if first == name else Waits(of=(first,), reason="key")

    @property
    def _all_files(self) -> Files:
        return required(self._files, "a workflow with a workspace has a repository")

    # ---- what it came to

    def waiting_for_others_beside(self) -> dict[str, Waits]:
        """The tasks that find what a task in another branch publishes, if that is faster, by their names.

        The first task of a branch takes the commit that the fork began with. What follows it takes the commit that it
        made, on top of what others had published by then.
        """
        return {
            seen.due.reference_task_name: Waits(of=layer.of, reason="beside")
            for seen in self._seen
            if any(before.branches for before in seen.head.layers)
            for layer in self._layers
            if _is_beside(seen, layer) and layer.may_change(seen.spec.laid_out)
        }

    def foretold(self) -> list[Foretold]:
        """The fates of all tasks that people see, in the order in which a run shows them."""
        graph = self._workflow.graph
        states = {state.reference_name: state for state in states_of(graph.nodes)}
        around = {name.rpartition(WITHIN)[0] for name in states}
        items: dict[str, list[Foretold]] = {}
        for name, fate in self._fates.items():
            of_map = state_of(states, name).within
            if of_map is not None:
                one = Foretold(name=name, fate=fate, of_map=of_map, item=self._item(states[of_map], name))
                items.setdefault(of_map, []).append(one)
        found: list[Foretold] = []
        for name, state in states.items():
            if state.within is None and name not in around:
                told = self._fates.get(name) or self._fate_of_others(state)
                found += items.get(name) or ([] if told is None else [Foretold(name=name, fate=told)])
        nodes = [node for one in graph.with_sub_workflows() for node in one.all_nodes()]
        forks = {node.reference_name for node in nodes if isinstance(node, DynamicForkNode)}
        shown = {state.fork for state in states.values()}
        for name, of in self._left_open.items():
            if name not in shown and name.rpartition(WITHIN)[2] in forks:
                found.append(Foretold(name=name, fate=Waits(of=of, reason="items")))
        return found

    def _item(self, state: TaskState, name: str) -> str:
        """The item of a map's task, secrets masked."""
        entry = self._tries[name]
        model = self._workflow.tasks[entry.task_name].params_model
        return item_text(state.param, recordable_input(model, entry.input_data))

    def _fate_of_others(self, state: TaskState) -> Fate | None:
        """Of a task that the walk has not come to; None for a map without items, and for a task of Perago."""
        if state.kind == "builtin":
            return None
        for switch, case in state.cases:
            if switch in self._left_open:
                return Waits(of=self._left_open[switch], reason="case")
            if self._taken.get(switch, case) != case:
                return LeftOut()
        if state.fork in self._left_open:
            return Waits(of=self._left_open[state.fork], reason="items")
        if self._status is WorkflowStatus.RUNNING:  # it may end in a case that is left open
            return Waits(of=tuple(name for of in self._left_open.values() for name in of), reason="case")
        return None if state.kind == "map" and self._status is WorkflowStatus.COMPLETED else Unreached()


def _whole(values: Iterable[object]) -> tuple[str, ...]:
    """The tasks that values depend on of which nothing is known."""
    return unknowns_in([value for value in values if isinstance(value, Unknown)])


def _is_beside(seen: _Seen, layer: Layer) -> bool:
    """Whether a task takes a commit that was made while a layer was, in another branch."""
    mine, other = dict(seen.due.branches), dict(layer.branches)
    forks = [fork for fork, number in mine.items() if other.get(fork, number) != number]
    return any((fork, mine[fork]) in before.branches for fork in forks for before in seen.head.layers)

"""The `@workflow` decorator and the definition that it creates."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, get_type_hints

from pydantic import BaseModel, PydanticUserError
from pydantic.errors import PydanticUndefinedAnnotation

from perago.errors import WorkflowDefinitionError, required
from perago.tasks.secrets import mask_by_type
from perago.values.json_text import JsonObject, with_finite_numbers
from perago.values.redaction import MASK
from perago.values.stamps import canonical_json
from perago.workflows.calls import expect_no_call_of_a_task
from perago.workflows.check import check_sub_workflow_names
from perago.workflows.definition import WORKFLOW_ATTRIBUTE, WorkflowDefinition
from perago.workflows.definition_json import check_graph
from perago.workflows.expressions import expression
from perago.workflows.extent import check_extent
from perago.workflows.flow import Flow, Output
from perago.workflows.graph import WorkflowGraph
from perago.workflows.standin import Facts, StandIn, facts_of
from perago.workflows.transaction import BEGUN, enclosed

_Function = TypeVar("_Function", bound=Callable[..., object])


def workflow(
    *,
    name: str,
    owner_email: str,
    description: str | None = None,
    version: int = 1,
    timeout_seconds: int = 0,
    transactional: bool = False,
) -> Callable[[_Function], _Function]:
    """Declare a function as a workflow. Returns the function itself, with a `WorkflowDefinition` attached.

    The function is `(flow: Flow, params: Model) -> Model`, or without params, or without a result (`-> None`). It runs
    once, when it is declared, with stand-ins for all values that only a run knows, and every wiring is checked then.

    Args:
        name: its name in engines; not blank.
        owner_email: address of its owner; not blank.
        description: for people.
        version: of the definition, from 1 on; a server keeps each.
        timeout_seconds: for the whole workflow, which is then TIMED_OUT. Default: 0, no limit.
        transactional: publish everything that it does, or nothing. Its tasks work on a branch of the run. The branch
            that it was started on moves once, at the end.

    Raises:
        WorkflowDefinitionError: the declaration or a wiring is wrong. Names both ends and the line.
    """

    def declare(fn: _Function) -> _Function:
        _check_options(fn, name, owner_email, version, timeout_seconds)
        params_model, output_model, takes_params = _signature(fn)
        expect_no_call_of_a_task(fn)
        flow = Flow(BEGUN if transactional else expression("workflow", "input", "workspace"))
        returned = fn(flow, _params_stand_in(fn, params_model)) if takes_params else fn(flow)
        if not flow.tasks:
            raise _fault(fn, "it runs no task", "write flow.run(task, ...) in it")
        output = _output(fn, flow, returned, output_model)
        nodes, workspace = flow.finish()
        if transactional:
            if workspace is None:
                raise _fault(fn, "it is transactional, but no task has a workspace", "leave transactional=True out")
            nodes, workspace = enclosed(name, nodes, workspace, flow.tasks)
        if workspace is not None:
            output["workspace"] = workspace
        graph = WorkflowGraph(
            name=name,
            version=version,
            owner_email=owner_email,
            description=description,
            nodes=nodes,
            output=output,
            input_names=(*(["workspace"] if flow.uses_workspace else []), *(["params"] if params_model else [])),
            input_template=_template(params_model),
            timeout_seconds=timeout_seconds,
            timeout_policy="TIME_OUT_WF" if timeout_seconds else "ALERT_ONLY",
            params_model=params_model,
            output_model=output_model,
        )
        check_graph(graph)
        check_extent(graph)
        check_sub_workflow_names(graph, flow.tasks)
        definition = WorkflowDefinition(fn=fn, graph=graph, tasks=flow.tasks, uses_workspace=flow.uses_workspace)
        setattr(fn, WORKFLOW_ATTRIBUTE, definition)
        return fn

    return declare


def _fault(fn: Callable[..., object], fault: str, remedy: str) -> WorkflowDefinitionError:
    where = f"{getattr(fn, '__module__', '?')}:{getattr(fn, '__qualname__', repr(fn))}"
    return WorkflowDefinitionError(f"workflow {where}: {fault}; {remedy}")


def _check_options(
    fn: Callable[..., object], name: object, owner_email: object, version: object, timeout: object
) -> None:
    if not isinstance(name, str) or not name.strip():
        raise _fault(fn, f"name={name!r} is not a name", 'give a text, such as name="penguins"')
    if not isinstance(owner_email, str) or not owner_email.strip():
        raise _fault(fn, f"owner_email={owner_email!r} is not an address", 'give one, such as "team@example.org"')
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise _fault(fn, f"version={version!r} is not a version", "give a whole number from 1 on")
    if not isinstance(timeout, int) or isinstance(timeout, bool) or timeout < 0:
        raise _fault(
            fn, f"timeout_seconds={timeout!r} is not a number of seconds", "give a whole number, 0 for no limit"
        )


def _signature(fn: Callable[..., object]) -> tuple[type[BaseModel] | None, type[BaseModel] | None, bool]:
    """The models of params and result, and whether the function takes params."""
    parameters = list(inspect.signature(fn).parameters.values())
    remedy = "write (flow: Flow, params: Model) -> Model"
    if not 1 <= len(parameters) <= 2 or any(one.kind is not one.POSITIONAL_OR_KEYWORD for one in parameters):
        raise _fault(fn, "its parameters are not those of a workflow", remedy)
    try:
        hints = get_type_hints(fn)
    except (NameError, PydanticUndefinedAnnotation) as exc:
        raise _fault(
            fn, f"an annotation cannot be read: {exc}", "define or import the name before the function"
        ) from None
    if hints.get(parameters[0].name) is not Flow:
        raise _fault(fn, f"its first parameter {parameters[0].name!r} is not annotated Flow", remedy)
    takes_params = len(parameters) == 2
    params = _model(fn, hints.get(parameters[1].name), "params") if takes_params else None
    if "return" not in hints:
        raise _fault(fn, "it has no return annotation", f"{remedy}, or -> None")
    returned = hints["return"]
    output = None if returned is type(None) else _model(fn, returned, "result")
    if params is not None:
        _check_names(fn, params)
    return params, output, takes_params


def _model(fn: Callable[..., object], annotation: object, what: str) -> type[BaseModel]:
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        raise _fault(fn, f"its {what} is annotated {annotation!r}", "use a pydantic model class")
    return annotation


def _check_names(fn: Callable[..., object], model: type[BaseModel]) -> None:
    """Refuse aliases: an expression finds a param by the name of its field only."""
    aliased = [name for name, field in model.model_fields.items() if field.validation_alias not in (None, name)]
    if aliased:
        raise _fault(fn, f"its param {aliased[0]!r} has an alias", "give the params of a workflow plain names")


def _params_stand_in(fn: Callable[..., object], model: type[BaseModel] | None) -> StandIn:
    model = required(model, "the function takes params")
    code = getattr(fn, "__code__", None)
    place = f"{code.co_filename.rpartition('/')[2]}:{code.co_firstlineno}" if code is not None else "its declaration"
    return StandIn(Facts(path=("workflow", "input", "params"), kind=model, of="the workflow's params", place=place))


def _output(fn: Callable[..., object], flow: Flow, returned: object, model: type[BaseModel] | None) -> dict[str, Any]:
    if model is None:
        if returned is not None:
            raise _fault(fn, "it is annotated -> None, but returns something", "annotate its model")
        return {}
    facts = facts_of(returned)
    if facts is not None:
        fault = flow.misfit(facts, model)
        if fault is not None:
            raise _fault(
                fn, f"{facts.name} ({facts.place}) is not its result {model.__name__}: {fault}", "use flow.output"
            )
        return {"result": flow.value(returned)}
    if not isinstance(returned, Output) or returned.model is not model:
        raise _fault(
            fn, f"it does not return {model.__name__}", f"end it with return flow.output({model.__name__}, ...)"
        )
    return {"result": dict(returned.fields)}


def _template(model: type[BaseModel] | None) -> JsonObject:
    """The input of a workflow that is started without params; empty if it needs some, or has a secret as a default."""
    if model is None:
        return {}
    try:
        defaults = model()
        params = with_finite_numbers(mask_by_type(defaults, defaults.model_dump(mode="json", warnings=False)))
    except (ValueError, PydanticUserError):
        return {}
    return {} if MASK in canonical_json(params) else {"params": params}

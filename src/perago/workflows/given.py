"""The values given to a task in a workflow: checked against its params, and written as a definition has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from perago.errors import WorkflowDefinitionError
from perago.tasks.declare import TaskDefinition
from perago.tasks.params import describe_faults
from perago.values.json_text import with_finite_numbers
from perago.workflows.definition import WorkflowDefinition
from perago.workflows.expressions import escaped, expression
from perago.workflows.graph import MAX_FORKED
from perago.workflows.params import with_defaults
from perago.workflows.standin import Facts, Scope, facts_of, here, holds_stand_in
from perago.workflows.wiring import (
    FAULT_OF_A_LITERAL,
    did_you_mean,
    field_type,
    has_secret,
    misfit,
    model_of,
    type_name,
)

Runnable = TaskDefinition | WorkflowDefinition


def word_for(definition: Runnable) -> str:
    """A task or workflow in a sentence."""
    return f"{'task' if isinstance(definition, TaskDefinition) else 'workflow'} {definition.name!r}"


@dataclass(frozen=True)
class GivenValues:
    """Checks and writes what is given at one place of a workflow.

    Attributes:
        scopes: the branches and cases that the place is in, from the outside in.
        used: gets the name of each task whose result is used.
    """

    scopes: tuple[Scope, ...]
    used: set[str]

    def params_of(self, definition: Runnable, given: object, params: Mapping[str, object]) -> dict[str, Any]:
        """The params of a task or workflow in its input; nothing for a workflow without any.

        Args:
            given: all at once, as a model or a stand-in of one; None if they are given by name.

        Raises:
            WorkflowDefinitionError: they do not fit. Names both ends and the line.
        """
        model, of = definition.params_model, word_for(definition)
        if model is None:
            if given is not None or params:
                raise WorkflowDefinitionError(f"{here()}: {of} takes no params; leave them out")
            return {}
        made = self._params(model, of, given, params)
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

    def _params(self, model: type[BaseModel], of: str, given: object, params: Mapping[str, object]) -> Any:
        if given is None:
            return self.values_of(model, params, of, "param")
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
            return self.as_json(given)
        if isinstance(given, Mapping):
            return self.values_of(model, given, of, "param")
        return self.values_of(model, dict(iter(given)) if isinstance(given, BaseModel) else {}, of, "param")

    def values_of(self, model: type[BaseModel], given: Mapping[str, object], of: str, word: str) -> dict[str, Any]:
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
                made[about.alias if word == "param" and about.alias else name] = self.as_json(given[name])
        if faults:
            raise WorkflowDefinitionError(f"{here()}: {of}: {'; '.join(faults)}")
        return made

    def expect_list_of(self, kind: Any, over: object, definition: TaskDefinition, param: str) -> None:
        """Refuse what is no list, or whose items never fit a param.

        Raises:
            WorkflowDefinitionError
        """
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

    def _fault(self, value: object, kind: Any) -> str | None:
        """Why a value does not fit a field; None if it does, or only the run can tell."""
        facts = facts_of(value)
        if facts is not None:
            self.expect_known(facts)
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
        if fault is not None or all(not scope.is_case or scope in self.scopes for scope in facts.scopes):
            return fault
        fault = misfit(facts.kind | None, kind)
        return None if fault is None else f"{fault}, as its case of the switch may not run"

    def as_json(self, value: object) -> Any:
        """A value as JSON, with an expression for each stand-in in it."""
        facts = facts_of(value)
        if facts is not None:
            self.expect_known(facts)
            return expression(*facts.path)
        if isinstance(value, Mapping):
            return {str(key): self.as_json(item) for key, item in value.items()}
        if isinstance(value, list | tuple) and holds_stand_in(value):
            return [self.as_json(item) for item in value]
        try:
            found = to_jsonable_python(value)
        except PydanticSerializationError as exc:
            raise WorkflowDefinitionError(f"{here()}: {value!r} cannot be written as JSON: {exc}") from None
        return escaped(with_finite_numbers(found))

    def expect_known(self, facts: Facts) -> None:
        """Refuse a value from a parallel branch, or from another case of the switch. Notes that the value is used."""
        self.used.add(str(facts.path[0]))
        parts = {scope.block: scope.part for scope in self.scopes}
        for scope in facts.scopes:
            if scope.block in parts and parts[scope.block] != scope.part:
                how = "in another case of the switch" if scope.is_case else "beside it"
                raise WorkflowDefinitionError(
                    f"{here()}: {facts.name} ({facts.place}) is made {how}, and is not known here; use "
                    f"it after the block"
                )

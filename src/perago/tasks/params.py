"""Validates params and results against the task's models. All faults are reported at once."""

from __future__ import annotations

import difflib
import json
import logging
import math
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from typing import Any, Literal, TypeVar

from pydantic import AliasChoices, AliasPath, BaseModel, RootModel, Secret, SecretBytes, SecretStr, ValidationError
from pydantic_core import ErrorDetails, PydanticSerializationError, to_json, to_jsonable_python

from perago.errors import TaskExecutionError, TaskInputError
from perago.tasks.context import LOGGER_ROOT
from perago.tasks.declare import TaskDefinition
from perago.values.json_text import MAX_DEPTH, JsonObject, is_too_deep, with_finite_numbers
from perago.values.redaction import is_secret_key
from perago.values.stamps import sorted_json

M = TypeVar("M", bound=BaseModel)

_ENCODER = json.JSONEncoder(allow_nan=False)
TOO_DEEP = f"params are nested more than {MAX_DEPTH} deep; put such data into a file of the workspace"
MAX_FAULTS = 50
"""Number of faults in one message; the others are counted."""

_JSON_TYPES = (str, int, float, dict, list, tuple, type(None), BaseModel)

# Error types whose message never contains the value, so that it may be shown for a secret field.
_NOTHING_TO_HIDE = ("missing", "extra_forbidden")


def validate_params(task: TaskDefinition, raw: object) -> BaseModel:
    """The params as the task's model.

    Unknown fields are ignored, or refused with `strict_params`, at every depth and regardless of the models' own
    configuration of extra fields.

    Args:
        raw: a mapping, as given, or an instance of the model.

    Raises:
        TaskInputError: lists all faults with their paths, but no values.
    """
    if is_too_deep(raw):
        raise TaskInputError(f"task {task.name!r}: {TOO_DEEP}")
    try:
        return read_model(task.params_model, raw, extra="forbid" if task.strict_params else "ignore")
    except ValidationError as exc:
        known = sorted(_known_names(task.params_model) or ())
        raise TaskInputError(f"task {task.name!r}: {describe_faults(exc, 'params', known)}") from None


def read_model(
    model: type[M],
    raw: object,
    *,
    extra: Literal["ignore", "forbid"] | None = None,
    by_alias: bool | None = None,
    by_name: bool | None = None,
) -> M:
    """An object that came as JSON, as its model. A strict model reads it as JSON: text as a date, an array as a tuple.

    Args:
        raw: JSON values; Python values and instances of the model, as a caller in this process may give, will do.
        extra, by_alias, by_name: as in pydantic's `model_validate`.

    Raises:
        pydantic.ValidationError
    """
    try:
        return model.model_validate(raw, extra=extra, by_alias=by_alias, by_name=by_name)
    except ValidationError as exc:
        if not isinstance(raw, Mapping):
            raise
        try:
            text = to_json(raw)
        except PydanticSerializationError:
            raise exc from None
        try:
            return model.model_validate_json(text, extra=extra, by_alias=by_alias, by_name=by_name)
        except ValidationError as of_json:
            raise (of_json if of_json.error_count() < exc.error_count() else exc) from None


def params_as_json(params: BaseModel | Mapping[str, Any] | None) -> JsonObject:
    """The params as a task's input has them, with their secrets. Numbers that are not finite are text.

    Raises:
        TaskInputError: they cannot be written as JSON.
    """
    given: object = {} if params is None else params
    try:
        if isinstance(given, BaseModel):
            given = given.model_dump(by_alias=True, exclude_unset=True, warnings=False)
        if not isinstance(given, Mapping):
            raise TaskInputError(
                f"params is a {type(given).__name__}; give an instance of the params' model, or a dict"
            )
        found: JsonObject = with_finite_numbers(to_jsonable_python(_revealed(given)))
    except (ValueError, RecursionError) as exc:  # nested too deeply, or of a type that JSON does not have
        raise TaskInputError(f"params cannot be written as JSON: {exc}") from None
    return found


def _revealed(value: object) -> object:
    match value:
        case Secret() | SecretStr() | SecretBytes():
            return _revealed(value.get_secret_value())
        case Mapping():
            return {key: _revealed(item) for key, item in value.items()}
        case list() | tuple():
            return [_revealed(item) for item in value]
        case set() | frozenset():
            return sorted_json(to_jsonable_python(_revealed(item)) for item in value)
        case _:
            return value


def unknown_params(task: TaskDefinition, given: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The names of the params that the task ignores, and of those that it has.

    Both are empty if the model has code of its own that may accept other names, and with `strict_params`, which refuses
    unknown ones. Only the top level is checked.
    """
    known = None if task.strict_params else _known_names(task.params_model)
    if known is None:
        return [], []
    return [str(name) for name in given if name not in known], sorted(known)


def _known_names(model: type[BaseModel]) -> set[str] | None:
    """The names under which fields are given; None if the model has code of its own that may accept other names."""
    before = any(found.info.mode != "after" for found in model.__pydantic_decorators__.model_validators.values())
    if before or issubclass(model, RootModel):
        return None
    names: set[str] = set()
    for name, field in model.model_fields.items():
        alias = field.validation_alias
        choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
        taken = {str(choice.path[0]) if isinstance(choice, AliasPath) else choice for choice in choices if choice}
        names |= taken or {name}
        names |= {name} if _takes_names(model) else set()
    return names


def _takes_names(model: type[BaseModel]) -> bool:
    return bool(model.model_config.get("populate_by_name") or model.model_config.get("validate_by_name"))


def validate_result(task: TaskDefinition, raw: object) -> dict[str, Any]:
    """The result as a JSON object. Its keys are the names of the model's fields.

    Numbers that are not finite become null, as in 0.6, because JSON has no form for them: the diverged loss of a
    training must not discard hours of work. A warning in the task's log names their paths.

    Args:
        raw: the body's return value: an instance of the output model, or a mapping that validates as one. Unknown
            fields are refused at every depth.

    Raises:
        TaskExecutionError: lists all faults with their paths.
    """
    try:
        model = _result_model(task, raw)
    except ValidationError as exc:
        raise TaskExecutionError(f"task {task.name!r}: {_describe_result_faults(exc)}") from None
    foreign = _Foreign()
    try:
        dumped = model.model_dump(mode="json", warnings=False, fallback=foreign)
        # As Python values, too: JSON mode silently turns some numbers into null.
        plain = model.model_dump(warnings=False)
        odd = [*_not_json(plain, "result"), *_not_json(dumped, "result")]
        result: dict[str, Any] = _with_nulls(dumped)
        _ENCODER.encode(result)
    except (ValueError, TypeError, RecursionError) as exc:
        raise TaskExecutionError(f"task {task.name!r}: the result cannot be written as JSON: {exc}") from exc
    if foreign.refused:
        told = _joined(foreign.places(plain))
        raise TaskExecutionError(
            f"task {task.name!r}: the result cannot be written as JSON: {told}; return numbers, text, lists or "
            f"mappings of those, and write anything else to a file of the workspace"
        )
    texts = dict.fromkeys(path for path, leaf in odd if isinstance(leaf, str))
    if texts:
        told = _joined([f"{path} is text with lone surrogates" for path in texts])
        raise TaskExecutionError(f"task {task.name!r}: the result cannot be written as JSON: {told}")
    nulls = list(dict.fromkeys(path for path, _ in odd))
    if nulls:
        logging.getLogger(f"{LOGGER_ROOT}.{task.name}").warning(
            "numbers in the result that are not finite were replaced by null, because JSON has none: %s", _joined(nulls)
        )
    return result


def dump_of(result: BaseModel) -> JsonObject:
    """The JSON object of a result that JSON can hold, as `validate_result` writes it."""
    dumped: dict[str, Any] = _with_nulls(result.model_dump(mode="json", warnings=False, fallback=_Foreign()))
    return dumped


def describe_faults(error: ValidationError, root: str, known: Collection[str] = ()) -> str:
    """All faults of a validation as one line: `params.rows.0.age (Field required); …`.

    Args:
        root: name of the value that was validated.
        known: its fields, which are suggested in place of unknown ones.
    """
    details = error.errors(include_url=False, include_context=False, include_input=False)
    for fault in details:
        if fault["type"] == "extra_forbidden" and len(fault["loc"]) == 1 and known:
            near = difflib.get_close_matches(str(fault["loc"][0]), known, n=1)
            fault["msg"] = f"unknown; did you mean {near[0]!r}?" if near else f"unknown; known are {', '.join(known)}"
    return _joined([_describe(fault, root) for fault in details])


def _describe_result_faults(error: ValidationError) -> str:
    """As `describe_faults`, with the type of values that JSON does not have, such as a table instead of a number."""
    details = error.errors(include_url=False, include_context=False)
    for fault in details:
        given = fault["input"]
        if fault["type"] not in _NOTHING_TO_HIDE and not isinstance(given, _JSON_TYPES):
            fault["msg"] += f", not {type(given).__name__}"
    return _joined([_describe(fault, "result") for fault in details])


def describe_arguments(error: ValidationError, known: Collection[str]) -> str:
    """All faults of arguments in code, as one line: `RetryPolicy has no argument 'cont'. Did you mean 'count'?; …`.

    Args:
        known: the arguments of the class, for suggestions.
    """
    told = []
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        path = ".".join(map(str, fault["loc"]))
        match fault["type"]:
            case "extra_forbidden":
                near = difflib.get_close_matches(path, known, n=1)
                hint = f". Did you mean {near[0]!r}?" if near else ""
                told.append(f"{error.title} has no argument {path!r}{hint}")
            case "missing":
                told.append(f"{error.title} needs the argument {path!r}")
            case _:
                where = f" argument {path!r}" if path else ""
                told.append(f"{error.title}{where}: {fault['msg'].removeprefix('Value error, ')}")
    return _joined(told)


def _result_model(task: TaskDefinition, raw: object) -> BaseModel:
    model = task.output_model
    if not isinstance(raw, BaseModel):
        return model.model_validate(raw, extra="forbid")
    if type(raw) is model and _validates_by_code(model.__pydantic_core_schema__) and _is_as_declared(raw):
        return raw  # its validators ran when it was built, and must not be applied to what they made
    # Validated again: an instance can be built, or changed, without validation. By field names, to be independent of
    # aliases, and without computed fields.
    fields = raw.model_dump(by_alias=False, round_trip=True, warnings=False)
    return model.model_validate(fields, extra="forbid", by_alias=False, by_name=True)


def _validates_by_code(schema: object) -> bool:
    """Whether a core schema has validators that may refuse, or change again, what they have returned."""
    if isinstance(schema, Mapping):
        if str(schema.get("type")).startswith("function-") or schema.get("post_init"):
            return True
        return any(_validates_by_code(item) for key, item in schema.items() if key != "serialization")
    return isinstance(schema, list | tuple) and any(map(_validates_by_code, schema))


def _is_as_declared(model: BaseModel) -> bool:
    """Whether its fields are all there, no others are, and their values have their types. Runs no validator."""
    try:
        model.model_dump(warnings="error")
    except (ValueError, TypeError, RecursionError):
        return False
    return not _has_other_fields(model)


def _has_other_fields(value: object) -> bool:
    """Whether fields of a model are missing or unknown, at any depth."""
    match value:
        case str() | bytes():
            return False
        case BaseModel():
            missing = type(value).model_fields.keys() - vars(value).keys()
            return bool(missing or value.model_extra) or any(_has_other_fields(item) for _, item in value)
        case Mapping():
            return any(map(_has_other_fields, value.values()))
        case Sequence() | Set():
            return any(map(_has_other_fields, value))
    return False


def _describe(fault: ErrorDetails, root: str) -> str:
    path = ".".join([root, *(str(part) for part in fault["loc"])])
    # No colon after the path: masking treats `password: …` as a secret.
    secret = any(is_secret_key(str(part)) for part in fault["loc"])
    if secret and fault["type"] not in _NOTHING_TO_HIDE:
        return f"{path} (not valid, {fault['type']})"
    return f"{path} ({fault['msg']})"


def _joined(faults: list[str]) -> str:
    more = len(faults) - MAX_FAULTS
    return "; ".join(faults[:MAX_FAULTS]) + (f"; and {more} more" if more > 0 else "")


class _Foreign:
    """Fallback for values in a result whose type pydantic cannot write as JSON.

    Numpy scalars are converted if JSON has such values. Numpy is not imported for it.

    Attributes:
        refused: the values that were not converted.
    """

    def __init__(self) -> None:
        self.refused: list[object] = []
        self._scalar = getattr(sys.modules.get("numpy"), "generic", ())

    def __call__(self, value: Any, /) -> object:
        item = value.item() if isinstance(value, self._scalar) else value
        if item is None or isinstance(item, bool | int | float | str):
            return item
        self.refused.append(value)
        return None

    def places(self, dumped: object) -> list[str]:
        """Path and type of each refused value found in a dump of Python values. Only the types if none is found."""
        refused = {id(value) for value in self.refused}
        found = [(path, leaf) for path, leaf in _leaves(dumped, "result") if id(leaf) in refused]
        if not found:
            kinds = sorted({type(value).__name__ for value in self.refused})
            return [f"the result holds a value of type {kind}" for kind in kinds]
        return [f"{path} is of type {type(leaf).__name__}" for path, leaf in found]


def _not_json(value: object, path: str) -> Iterator[tuple[str, str | float]]:
    """Nested values that JSON does not have although their type looks like JSON's, each with its path."""
    for where, leaf in _leaves(value, path):
        match leaf:
            case float() if not math.isfinite(leaf):
                yield where, leaf
            case str() if not _is_unicode(leaf):
                yield where, leaf


def _leaves(value: object, path: str) -> Iterator[tuple[str, object]]:
    """Nested values that hold no others, each with its path."""
    match value:
        case str() | bytes():
            yield path, value
        case Mapping():
            for key, item in value.items():
                yield from _leaves(item, f"{path}.{key}")
        case Sequence() | Set():
            for index, item in enumerate(value):
                yield from _leaves(item, f"{path}.{index}")
        case _:
            yield path, value


def _with_nulls(value: Any) -> Any:
    """A copy of a dumped value with null in place of numbers that are not finite."""
    if isinstance(value, dict):
        return {key: _with_nulls(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_nulls(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

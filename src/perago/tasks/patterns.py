"""Fields of the params in the patterns of a workspace, such as `raw/{shard}.parquet`."""

from __future__ import annotations

import difflib
import enum
from types import FunctionType

from pydantic import BaseModel, SecretBytes, SecretStr

from perago.errors import TaskInputError
from perago.tasks.signature import definition_fault
from perago.values.redaction import is_secret_key
from perago.values.spec import WorkspaceSpec
from perago.workspace.patterns import WILDCARDS, covers

_SPECIAL = WILDCARDS | set("]{}")

MAX_SEGMENT_BYTES = 255
"""Of a name, in file systems."""


def check_patterns(fn: FunctionType, spec: WorkspaceSpec | None, params_model: type[BaseModel]) -> None:
    """Check that the params have the fields that patterns name, and that outputs leave something to read.

    Raises:
        TaskDefinitionError: there is no such field, or it is a secret; the outputs cover all that is included.
    """
    if spec is None:
        return
    if spec.include and all(any(covers(made, pattern) for made in spec.outputs) for pattern in spec.include):
        raise definition_fault(
            fn,
            f"its outputs {spec.outputs} cover everything that it reads, include={spec.include}",
            "name in include what the body reads, and in outputs what it makes",
        )
    known = params_model.model_fields
    for name in spec.fields:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            mean = f"did you mean {near[0]!r}? " if near else ""
            raise definition_fault(
                fn,
                f"a pattern of its workspace names {{{name}}}, and {params_model.__name__} has no field {name!r}",
                f"{mean}its fields are {', '.join(known) or 'none'}; write {{{{{name}}}}} for that name in braces",
            )
        if is_secret_key(name) or known[name].annotation in (SecretStr, SecretBytes):
            raise definition_fault(
                fn,
                f"a pattern of its workspace names {{{name}}}, which is a secret, and paths are shown",
                "name another field",
            )


def filled(spec: WorkspaceSpec, task_name: str, params: BaseModel) -> WorkspaceSpec:
    """The workspace of an attempt, with the values of its params in the patterns.

    Raises:
        TaskInputError: a value is no text or number, or is not one segment of a path.
    """
    return spec.filled(lambda name: segment_of(task_name, name, getattr(params, name)))


def segment_of(task_name: str, name: str, value: object) -> str:
    """The text that a value of the params becomes in a pattern.

    Raises:
        TaskInputError: it is no text or number, or not one segment of a path.
    """
    plain = value.value if isinstance(value, enum.Enum) else value
    what = f"task {task_name!r}: params.{name}, which a pattern of its workspace names,"
    if isinstance(plain, bool) or not isinstance(plain, str | int | float):
        raise TaskInputError(f"{what} is a {type(plain).__name__}, and must be a text or a number")
    text = str(plain)
    if text in ("", ".", "..") or set("/\\\0") & set(text):
        raise TaskInputError(f"{what} is {text!r}, and must be one segment of a path")
    if len(text.encode()) > MAX_SEGMENT_BYTES:
        raise TaskInputError(f"{what} has {len(text.encode())} bytes, and a name at most {MAX_SEGMENT_BYTES}")
    if _SPECIAL & set(text):
        raise TaskInputError(f"{what} is {text!r}, and must not have a wildcard or a brace")
    return text

"""The key of a result: all that it depends on, as one value."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace

from pydantic import BaseModel

from perago.attempt.param_forms import form_of
from perago.attempt.stamp import describe_params
from perago.ports import ListedFile
from perago.tasks.declare import TaskDefinition
from perago.tasks.secrets import secrets_of
from perago.tasks.sources.parts import code_parts
from perago.tasks.sources.untold import UntoldError
from perago.values.cache import CacheKey, CacheSpec, CodeParts, Untold
from perago.values.credentials import CREDENTIALS
from perago.values.json_text import JsonObject
from perago.values.names import show_name
from perago.values.redaction import is_secret_key, secrets_of_environment
from perago.values.spec import Guardrail, WorkspaceSpec
from perago.values.stamps import json_digest, storable
from perago.workspace.digest import is_known

_PIECE = 1_000
"""Files whose listing is encoded at once, which bounds the memory that it takes."""


def cache_key(
    task: TaskDefinition,
    spec: WorkspaceSpec,
    params: BaseModel,
    inputs: Mapping[str, ListedFile],
    environment: Mapping[str, str],
) -> CacheKey | Untold:
    """The key of a task's result.

    Args:
        spec: filled with the values of params.
        inputs: what the body finds, by path.
        environment: has the variables that the task names. Those that its code reads are of this process.

    Returns:
        Untold if a part cannot be told. A smaller key would give results that depend on something else.
    """
    declared = task.cache or CacheSpec()
    listed = _inputs(inputs)
    given = _params(params, is_trusted=declared.is_trusted)
    named = _variables(task.environment, environment, is_trusted=declared.is_trusted)
    code = code_of(task)
    if isinstance(listed, Untold):
        return listed
    if isinstance(given, Untold):
        return given
    if isinstance(named, Untold):
        return named
    if isinstance(code, Untold):
        return code
    return CacheKey(
        task=task.name,
        workspace=json_digest(_workspace(spec)),
        inputs=listed,
        params=given,
        code=code,
        environment=named,
    )


def parts_of(key: CacheKey) -> JsonObject | None:
    """What a stamp tells of a key, to compare it with another one; None if it would be too large.

    The params are in the stamp anyway, and the files in the commit that was the input.
    """
    parts: JsonObject = {
        "workspace": _short(key.workspace),
        "inputs": _short(key.inputs),
        "params": _short(key.params),
        "python": key.code.python,
        "sources": {name: _short(digest) for name, digest in key.code.sources.items()},
        "libraries": dict(key.code.libraries),
        "variables": {name: _short(digest) for name, digest in {**key.code.variables, **key.environment}.items()},
    }
    return storable(parts)[0]


def _short(digest: str) -> str:
    """Enough to tell two apart that a person compares; the key itself is compared whole."""
    return digest.removeprefix("sha256:")[:12]


def _inputs(inputs: Mapping[str, ListedFile]) -> str | Untold:
    digest, paths = hashlib.sha256(), sorted(inputs)
    for path in paths:
        if not is_known(inputs[path].digest):
            return Untold(f"the store has no checksum of {show_name(path)}")
    for start in range(0, len(paths), _PIECE):  # an encoding of each file takes three times as long
        piece = [(path, *inputs[path]) for path in paths[start : start + _PIECE]]
        digest.update(json.dumps(piece).encode())
    return f"sha256:{digest.hexdigest()}"


def _params(params: BaseModel, *, is_trusted: bool) -> str | Untold:
    if any(True for _ in secrets_of(params)):
        why = "params hold a secret"
    else:
        try:
            return json_digest(form_of(params))
        except UntoldError as exc:
            why = exc.why
        except ValueError:  # a number of thousands of digits
            why = "params have no JSON form"
    return json_digest(describe_params(params)) if is_trusted else Untold(why)  # secrets are masked there


def _workspace(spec: WorkspaceSpec) -> JsonObject:
    guards = {
        name: [guard.model_dump(mode="json") for guard in given if isinstance(guard, Guardrail)]
        for name, given in (("pre", spec.pre), ("post", spec.post))
    }
    return {**spec.model_dump(mode="json", include={"prefix", "include", "exclude", "outputs"}), **guards}


def _variables(names: Iterable[str], environment: Mapping[str, str], *, is_trusted: bool) -> dict[str, str] | Untold:
    digests = {}
    for name in sorted(names):
        if name in CREDENTIALS:  # of the store or the engine: no result depends on which one it is
            digests[name] = "credential"
        elif not _holds_secret(name, environment.get(name)):
            digests[name] = json_digest(environment[name]) if name in environment else "unset"
        elif not is_trusted:
            return Untold(f"the variable {name} holds a secret")
    return digests


def _holds_secret(name: str, value: str | None) -> bool:
    return is_secret_key(name) or (value is not None and any(True for _ in secrets_of_environment({name: value})))


def code_of(task: TaskDefinition) -> CodeParts | Untold:
    """The code's part of the key."""
    declared = task.cache or CacheSpec()
    if declared.version is not None:
        return CodeParts(sources={"cache_version": json_digest(declared.version)})
    parts = code_parts(task, declared.depends)
    if isinstance(parts, Untold):
        return parts
    secrets = [
        name for name in parts.variables if name not in CREDENTIALS and _holds_secret(name, os.environ.get(name))
    ]
    if secrets and not declared.is_trusted:
        return Untold(f"the variable {secrets[0]}, which the code reads, holds a secret")
    return replace(parts, variables={name: told for name, told in parts.variables.items() if name not in secrets})

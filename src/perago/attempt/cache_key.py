"""The key of a result: all that it depends on, as one value."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError

from perago.ports import ListedFile
from perago.tasks.declare import TaskDefinition
from perago.tasks.secrets import secrets_of
from perago.tasks.sources.parts import code_parts
from perago.values.cache import CacheKey, CacheSpec, CodeParts, Untold
from perago.values.credentials import CREDENTIALS
from perago.values.json_text import JsonObject, with_finite_numbers
from perago.values.names import show_name
from perago.values.redaction import is_secret_key
from perago.values.spec import Guardrail, WorkspaceSpec
from perago.values.stamps import canonical_json, json_digest, storable
from perago.workspace.digest import is_known


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
        environment: of this process, for the variables that the task or its code names.

    Returns:
        Untold if a part cannot be told. A smaller key would give results that depend on something else.
    """
    cache = task.cache or CacheSpec()
    listed = _inputs(inputs)
    given = _params(params, is_trusted=cache.is_trusted)
    named = _variables(task.environment, environment, is_trusted=cache.is_trusted)
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
    digest = hashlib.sha256()
    for path, file in sorted(inputs.items()):
        if not is_known(file.digest):
            return Untold(f"the store has no checksum of {show_name(path)}")
        digest.update(json.dumps([path, file.size, file.executable, file.digest]).encode())
    return f"sha256:{digest.hexdigest()}"


def _params(params: BaseModel, *, is_trusted: bool) -> str | Untold:
    if not is_trusted and any(True for _ in secrets_of(params)):
        return Untold("params hold a secret, which no key may contain")
    try:
        given = with_finite_numbers(params.model_dump(mode="json", by_alias=True, warnings=False))
        return "sha256:" + hashlib.sha256(canonical_json(given).encode()).hexdigest()
    except (PydanticSerializationError, ValueError, TypeError):
        return Untold("params have no JSON form")


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
        elif not is_secret_key(name):
            digests[name] = json_digest(environment[name]) if name in environment else "unset"
        elif not is_trusted:
            return Untold(f"the variable {name} holds a secret, which no key may contain")
    return digests


def code_of(task: TaskDefinition) -> CodeParts | Untold:
    """The code's part of the key."""
    cache = task.cache or CacheSpec()
    if cache.version is not None:
        return CodeParts(sources={"cache_version": json_digest(cache.version)})
    parts = code_parts(task, cache.depends)
    if isinstance(parts, CodeParts) and not cache.is_trusted:
        secret = next(filter(is_secret_key, parts.variables), None)
        if secret is not None and secret not in CREDENTIALS:
            return Untold(f"the variable {secret}, which the code reads, holds a secret, which no key may contain")
    return parts

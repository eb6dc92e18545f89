"""A task's TaskDef for Conductor. It contains no guards, prefix, budget or credentials."""

from __future__ import annotations

import errno
import json
import warnings
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from perago.errors import TaskDefinitionError
from perago.files.durable import write_whole
from perago.tasks.declare import TaskDefinition
from perago.tasks.guards import describe_guard
from perago.tasks.schema import model_schema
from perago.values.spec import Guardrail
from perago.workspace.patterns import WILDCARDS, Selection, covers


def build_taskdef(task: TaskDefinition) -> dict[str, Any]:
    """The task's TaskDef, as JSON values.

    Warns (`UserWarning`) if a read-only task has a publish budget, if the response timeout is shorter than the task's
    publish budget, or longer than Conductor accepts, and if a guard is on a path that the workspace excludes.

    Raises:
        TaskDefinitionError: a model of the task has no JSON schema; see `schema.model_schema`.
    """
    try:
        params = model_schema(task.params_model, closed=task.strict_params)
        result = model_schema(task.output_model, closed=True, computed=True)
    except TaskDefinitionError as exc:
        raise TaskDefinitionError(f"task {task.name!r}: {exc}") from exc
    _warn_of_idle_budget(task)
    _warn_of_short_timeout(task)
    _warn_of_long_timeout(task)
    _warn_of_guards_left_out(task)
    _warn_of_patterns_without_a_match(task)
    inputs = {"params": params}
    outputs = {"result": result}
    if task.has_workspace:
        inputs = {"workspace": _workspace_schema(), **inputs}
        outputs = {"workspace": _workspace_schema(), **outputs}
    taskdef: dict[str, Any] = {"name": task.name, "ownerEmail": task.owner_email}
    if task.description is not None:
        taskdef["description"] = task.description
    return {
        **taskdef,
        **_controls(task),
        "inputKeys": list(inputs),
        "outputKeys": list(outputs),
        "inputSchema": _schema(f"{task.name}.input", inputs, closed=False),
        "outputSchema": _schema(f"{task.name}.output", outputs, closed=True),
    }


def write_taskdef(task: TaskDefinition, output: str | PathLike[str]) -> Path:
    """Write the task's TaskDef as a JSON file, atomically. Missing parent directories are created.

    Args:
        output: path of the file; its name ends in `.json`. An existing file is replaced.

    Returns:
        The path.

    Raises:
        TaskDefinitionError: as `build_taskdef`; or the path does not end in `.json`.
        OSError: the file cannot be written.
    """
    return write_definition(build_taskdef(task), output, f"the TaskDef of task {task.name!r}", task.name)


def write_definition(document: Mapping[str, Any], output: str | PathLike[str], what: str, name: str) -> Path:
    """Write a definition for Conductor as a JSON file; as `write_taskdef`.

    Args:
        what: the definition in words; name: of what it defines.
    """
    path = Path(output)
    if path.suffix != ".json":
        example = path.with_suffix(".json") if path.suffix and not path.is_dir() else path / f"{name}.json"
        raise TaskDefinitionError(
            f"cannot write {what} to {str(path)!r}: give a file name that ends in .json, such as {str(example)!r}"
        )
    if path.is_dir():  # renaming over it would fail with the name of a temporary file
        raise IsADirectoryError(errno.EISDIR, "it is a directory; give a file name", str(path))
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)
    return path


def _controls(task: TaskDefinition) -> dict[str, Any]:
    retry, timeout, limits = task.controls.retry, task.controls.timeout, task.controls.limits
    limited = {
        "concurrentExecLimit": limits.concurrent_exec_limit,
        "rateLimitFrequencyInSeconds": limits.rate_limit_frequency_in_seconds,
        "rateLimitPerFrequency": limits.rate_limit_per_frequency,
    }
    return {
        "retryCount": retry.count,
        "retryLogic": retry.logic,
        "retryDelaySeconds": retry.delay_seconds,
        "maxRetryDelaySeconds": retry.max_delay_seconds,
        "backoffJitterMs": retry.jitter_ms,
        "timeoutPolicy": timeout.policy,
        "timeoutSeconds": timeout.seconds,
        "responseTimeoutSeconds": timeout.response_seconds,
        "pollTimeoutSeconds": timeout.poll_seconds,
        "totalTimeoutSeconds": timeout.total_seconds,
        **{key: value for key, value in limited.items() if value is not None},
    }


def _workspace_schema() -> dict[str, Any]:
    """The schema of a workspace in input and output. It leaves out `ref_type` of versions before 0.6, which is read."""
    texts = {name: {"type": "string", "minLength": 1} for name in ("repository", "branch", "ref")}
    return {
        "type": "object",
        "properties": {**texts, "refType": {"type": "string", "const": "commit"}},
        "required": ["repository", "branch", "refType", "ref"],
        "additionalProperties": False,
    }


def _schema(name: str, properties: dict[str, Any], *, closed: bool) -> dict[str, Any]:
    """One of a TaskDef's two schemas. All properties are required; a closed one allows no others."""
    data = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": not closed,
    }
    return {"name": name, "version": 1, "type": "JSON", "data": data}


def _warn_of_idle_budget(task: TaskDefinition) -> None:
    if task.controls.publish_budget is not None and task.workspace is not None and task.workspace.read_only:
        warnings.warn(
            f"task {task.name!r}: publish_budget has no effect, because the task is read_only and publishes nothing; "
            f"remove it",
            UserWarning,
            stacklevel=3,
        )


def _warn_of_short_timeout(task: TaskDefinition) -> None:
    budget = task.controls.publish_budget
    response_seconds = task.controls.timeout.response_seconds
    if budget is not None and response_seconds < budget.response_timeout_seconds:
        warnings.warn(
            f"task {task.name!r}: timeout.response_seconds={response_seconds} is shorter than its publish_budget "
            f"of {budget.response_timeout_seconds} s, so that the engine may time out an attempt that is publishing; "
            f"set response_seconds to at least {budget.response_timeout_seconds}",
            UserWarning,
            stacklevel=3,
        )


def _warn_of_long_timeout(task: TaskDefinition) -> None:
    timeout = task.controls.timeout
    for name, value, longer_name, longer in (
        ("response_seconds", timeout.response_seconds, "seconds", timeout.seconds),
        ("seconds", timeout.seconds, "total_seconds", timeout.total_seconds),
    ):
        if 0 < longer < value:
            warnings.warn(
                f"task {task.name!r}: timeout.{name} ({value}) is longer than timeout.{longer_name} ({longer}), which "
                f"Conductor refuses; set {name} to {max(longer * 2 // 3, 1)}, for example",
                UserWarning,
                stacklevel=3,
            )


def _warn_of_guards_left_out(task: TaskDefinition) -> None:
    """Warn of a guard on a path that patterns leave out: the file is not fetched or not published."""
    spec = task.workspace
    if spec is None or not (spec.include or spec.exclude or spec.outputs):
        return
    made = Selection(spec.outputs)
    for phase, seen, guards in (
        ("pre", spec.laid_out, spec.pre),
        ("post", spec.touched, [] if spec.read_only else spec.post),
    ):
        selection = Selection(seen.include, seen.exclude)
        for guard in guards:
            if not isinstance(guard, Guardrail):
                continue
            if guard.kind == "forbid_glob" or WILDCARDS & set(guard.path):
                continue
            if selection.selects(guard.path) or (guard.kind != "require_file" and selection.enters(guard.path)):
                continue
            missed = "never fetched" if phase == "pre" else "not published, even if the guard holds"
            by = "outputs name" if phase == "pre" and made.selects(guard.path) else "include and exclude leave out"
            warnings.warn(
                f"task {task.name!r}: the {phase} guard {describe_guard(guard)} is on a path that {by}: it is "
                f"{missed}; include the path, or remove the guard",
                UserWarning,
                stacklevel=3,
            )


def _warn_of_patterns_without_a_match(task: TaskDefinition) -> None:
    """Warn of a pattern that exclude patterns cover."""
    spec = task.workspace
    if spec is None:
        return
    for name, patterns in (("include", spec.include), ("outputs", spec.outputs)):
        for pattern in patterns:
            if any(covers(excluded, pattern) for excluded in spec.exclude):
                warnings.warn(
                    f"task {task.name!r}: {name} has {pattern!r}, which can never match, because exclude covers it; "
                    f"remove one of them",
                    UserWarning,
                    stacklevel=3,
                )

"""`perago check`: show and check the tasks of modules, workflows, and the settings."""

from __future__ import annotations

import errno
import json
import os
import stat
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perago.cli.arguments import RunArguments, configured_repo, pairs_option, params_option
from perago.cli.failure import DONE, USAGE, before_start
from perago.cli.loading import (
    declared_by,
    expect_names_of_their_own,
    expect_no_namesakes,
    tasks_option,
    workflows_option,
)
from perago.cli.output import json_option, note, print_json, tell
from perago.running.text import count_text, size_text
from perago.values.credentials import LAKEFS_URL
from perago.values.redaction import MASK, mask_json, mask_urls

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from perago.cli.conductor import Compared
    from perago.settings import RuntimeConfig
    from perago.tasks.controls import TaskControls
    from perago.tasks.declare import TaskDefinition
    from perago.values.spec import Guard, Guardrail, WorkspaceSpec
    from perago.workflows.load import LoadedWorkflow

_LABEL_WIDTH = 13

MAX_DEFAULT_LENGTH = 60
"""Characters of a default that are shown."""

_BOUNDS = (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))


@click.command()
@click.argument("modules", metavar="MODULE[:FUNCTION]...", nargs=-1, required=True)
@click.option("--server", is_flag=True, help="Compare with the Conductor server; exit code 2 if a task differs.")
@click.option(
    "--twice", is_flag=True, help="Run one task's body twice and show what differs; exit code 1 if something does."
)
@params_option
@pairs_option
@click.option("--repo", metavar="REPO", help="With --twice: the repository.  [default: PERAGO_REPO]")
@click.option("--branch", metavar="NAME", help="With --twice: its head is the input.  [default: PERAGO_BRANCH]")
@tasks_option
@workflows_option
@json_option
def command(
    modules: tuple[str, ...],
    server: bool,
    twice: bool,
    as_json: bool,
    tasks: tuple[str, ...],
    workflows: tuple[str, ...],
    **run: Any,
) -> int:
    """Check the tasks of modules, workflows, and the settings, without running anything.

    Shows each task's name, signature, params with defaults, workspace, guards and controls, and each workflow's tasks
    in order, and warns if they do not fit together.

    With --twice it runs the body of one task twice on the head of a branch, publishes nothing, and names the files and
    the fields of the result that differ.
    """
    from perago.settings import load_runtime_config

    if twice:
        if server or workflows:
            raise click.UsageError("--twice runs one task; leave --server and --workflows out")
        return _run_twice(RunArguments(module=_only(modules), tasks=tasks, as_json=as_json, **run))
    if any(value not in (None, ()) for value in run.values()):
        raise click.UsageError("--params, --param, --repo and --branch are for --twice; without it nothing runs")
    given = [declared_by(module, tasks, workflows) for module in modules]
    for one in given:
        if one.tasks:
            expect_no_namesakes(one.target, one.tasks)
    checked = list({workflow.target: workflow for one in given for workflow in one.workflows}.values())
    declared = list({id(task): task for one in given for task in one.all_tasks}.values())
    expect_names_of_their_own(declared)
    config = load_runtime_config(_settings_module(modules), probe_roots=False)
    _expect_writable(config)
    compared = _compare(config, declared) if server else []
    code = DONE if all(entry.state == "registered" for entry in compared) else USAGE
    declared = [task for task in declared if not task.is_builtin]  # which are as they are
    warned = [_warnings_of(task) for task in declared]
    refusing = [_warnings_of_workflow(workflow) for workflow in checked]
    if as_json:
        said: dict[str, Any] = {
            "tasks": [
                {**describe_task(task, config), "warnings": texts} for task, texts in zip(declared, warned, strict=True)
            ],
            "settings": describe_settings(config),
        }
        if checked:
            said["workflows"] = [
                {**describe_workflow(workflow), "warnings": texts}
                for workflow, texts in zip(checked, refusing, strict=True)
            ]
        print_json({**said, "server": [entry.said for entry in compared]} if server else said)
        return code
    for workflow in checked:
        tell(f"Workflow {workflow.target}")
        _print_rows(describe_workflow(workflow))
    for task in declared:
        tell(f"Task {task.target}")
        _print_rows(describe_task(task, config))
    tell("Settings")
    _print_rows(describe_settings(config))
    for text in [text for texts in (*warned, *refusing) for text in texts]:
        note(f"warning: {text}")
    _tell_compared(compared, modules)
    return code


def _only(modules: tuple[str, ...]) -> str:
    if len(modules) != 1:
        raise click.UsageError("--twice runs one task; name its module or its function alone")
    return modules[0]


def _run_twice(arguments: RunArguments) -> int:
    from perago.cli.run.prepare import prepare
    from perago.cli.run.twice import rehearse_twice
    from perago.tasks.declare import TaskDefinition

    with before_start():
        found = declared_by(arguments.module or "", arguments.tasks).only()
        if not isinstance(found, TaskDefinition):
            raise click.UsageError(f"--twice runs a task, but {found.target} is a workflow; name one of its tasks")
        job = prepare(replace(arguments, repo=arguments.repo or configured_repo()), found)
    return rehearse_twice(job, arguments)


def _settings_module(modules: Sequence[str]) -> str:
    """The module that settings derive names from."""
    return next((module for module in modules if not module.endswith(".json")), "perago")


def _warnings_of_workflow(workflow: LoadedWorkflow) -> list[str]:
    from perago.workflows.check import neighbours_that_refuse, outputs_that_overlap

    found = neighbours_that_refuse(workflow.graph, workflow.tasks)
    return [*found, *outputs_that_overlap(workflow.graph, workflow.tasks)]


def describe_workflow(workflow: LoadedWorkflow) -> dict[str, Any]:
    """A workflow as rows for people, and as JSON: its tasks in order, indented by forks and switches around them."""
    from perago.workflows.outline import outline

    graph = workflow.graph
    rows: dict[str, Any] = {"name": f"{graph.name}, version {graph.version}", "owner": graph.owner_email}
    if graph.description is not None:
        rows["description"] = graph.description
    if workflow.declared is not None and workflow.declared.params_model is not None:
        rows["params"] = _fields(workflow.declared.params_model)
    if workflow.declared is not None and workflow.declared.output_model is not None:
        rows["result"] = _fields(workflow.declared.output_model)
    if graph.is_transactional:
        rows["publishes"] = "everything at its end, or nothing"
    order = outline(graph.nodes, in_python=workflow.declared is not None)
    rows["order"] = [f"{'  ' * depth}{text}" for depth, text in order]
    return rows


def _expect_writable(config: RuntimeConfig) -> None:
    """Check that a worker could create its directories and files. Nothing is created.

    Raises:
        RuntimeConfigError
    """
    from perago.errors import RuntimeConfigError
    from perago.settings import check_root
    from perago.settings.load import origin_of
    from perago.settings.sources import read_sources

    for name, root in (("PERAGO_WORKSPACE_ROOT", config.workspace_root), ("PERAGO_LOG_ROOT", config.log_root)):
        try:
            _expect_makeable(root)
            check_root(root, parents_are_trusted=config.root_parents == "trusted")
        except ValueError as exc:
            origin = origin_of(name, read_sources(Path.cwd(), os.environ))
            raise RuntimeConfigError(f"{name} ({origin}) {exc}") from None


def _expect_makeable(root: Path) -> None:
    """Check that a directory could be created at a path, or a file in the existing one.

    Raises:
        ValueError: it could not, with the reason.
    """
    fault = _fault_of(root)
    if fault is not None:
        raise ValueError(
            f"is {root}, which cannot be written: {fault}. Give a directory in which this user may create files"
        )


def _fault_of(root: Path) -> str | None:
    """Why it could not; None if it could."""
    try:
        there = next(path for path in (root, *root.parents) if _is_there(path))
        if not stat.S_ISDIR(there.stat().st_mode):
            return os.strerror(errno.ENOTDIR)
    except OSError as exc:
        return exc.strerror
    return None if os.access(there, os.W_OK | os.X_OK) else os.strerror(errno.EACCES)


def _is_there(path: Path) -> bool:
    """Whether the path exists, including a broken link, at which no directory can be created."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def _compare(config: RuntimeConfig, tasks: list[TaskDefinition]) -> list[Compared]:
    from perago.cli.conductor import compare_taskdefs, open_conductor

    with before_start(), open_conductor(config) as engine, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are shown with the tasks
        return compare_taskdefs(engine, tasks)


def _tell_compared(compared: list[Compared], modules: Sequence[str]) -> None:
    from perago.cli.conductor import register_command

    if not compared:
        return
    words = {"registered": "registered as declared", "missing": "not registered", "differs": "registered differently"}
    tell("Server")
    _print_rows({entry.task.name: words[entry.state] for entry in compared})
    for line in [line for entry in compared if entry.state == "differs" for line in entry.diff]:
        tell(line)
    if any(entry.state != "registered" for entry in compared):
        registering = register_command(modules)
        note(f"error: tasks on the server differ from their declarations; `{registering}` registers them")


def describe_task(task: TaskDefinition, config: RuntimeConfig) -> dict[str, Any]:
    """A task as rows for people, and as JSON."""
    rows: dict[str, Any] = {"name": task.name, "owner": task.owner_email}
    if task.description is not None:
        rows["description"] = task.description
    rows["signature"] = _signature(task)
    rows["params"] = _fields(task.params_model)
    rows["result"] = _fields(task.output_model)
    if task.workspace is not None:
        rows |= _describe_workspace(task.workspace)
    if task.environment:
        rows["environment"] = list(task.environment)
    if sandbox := list(_describe_sandbox(task, config)):
        rows["sandbox"] = sandbox
    if task.cache is not None:
        rows["cache"] = _describe_cache(task)
    return {**rows, **_describe_controls(task.controls)}


def _describe_cache(task: TaskDefinition) -> list[str]:
    """What decides whether an earlier result is taken, and why none ever is, if that can be told."""
    from perago.attempt.cache_key import code_of
    from perago.values.cache import CacheSpec, Untold

    cache, code = task.cache or CacheSpec(), code_of(task)
    told = ["trusted"] if cache.is_trusted else ["proven by its sandbox"]
    if isinstance(code, Untold):
        return [*told, f"never used, because {code.why}"]
    if cache.version is not None:
        told.append(f"code version {cache.version!r}")
    else:
        sources, packages = count_text(len(code.sources), "source file"), count_text(len(code.libraries), "package")
        told.append(f"code of {sources} and {packages}")
    return told if cache.max_age is None else [*told, f"at most {cache.max_age} old"]


def _describe_sandbox(task: TaskDefinition, config: RuntimeConfig) -> Iterator[str]:
    """The mode in which the task would run here, and what it may reach; nothing if that is everything."""
    from perago.values.sandbox import fault_of_sandbox
    from perago.worker.body.sandbox import lacks_for, sandbox_of

    declared, lacks = task.sandbox, lacks_for(network=task.sandbox.network)
    mode = sandbox_of(task, config.sandbox)
    if mode == "off":
        return
    fault = fault_of_sandbox(task.name, declared, config.sandbox, lacks=lacks)
    yield mode if fault is None else f"{mode}, which cannot be had here: {lacks}"
    yield from (f"reads {path}" for path in declared.reads)
    yield from (f"writes {path}" for path in declared.writes)
    if declared.network:
        yield "TCP connections"


def describe_settings(config: RuntimeConfig) -> dict[str, Any]:
    """The settings worth showing, without secrets."""
    from perago.worker.body.sandbox import ability

    conductor, lakefs = config.conductor, config.lakefs
    days = config.log_retention / timedelta(days=1)
    return {
        "workspaces": str(config.workspace_root),
        "logs": f"{config.log_root}, {size_text(config.log_file_max_size)} a file, for {days:g} days",
        "workers": f"ids begin with {config.worker_id_prefix}; bodies run in "
        f"{'processes of their own' if config.execution_mode == 'process' else 'threads'}",
        "sandbox": f"{config.sandbox}; {ability()}",
        "conductor": "not configured" if conductor is None else mask_urls(conductor.server_url),
        "lakefs": "not configured" if lakefs is None else mask_urls(lakefs.endpoint_url),
        **({} if lakefs is None or LAKEFS_URL in config.refused else {"login": config.lakefs_credentials().sources()}),
        **({"withheld": list(config.refused.values())} if config.refused else {}),
        **({"passed over": list(config.passed_over)} if config.passed_over else {}),
    }


def _print_rows(rows: dict[str, Any]) -> None:
    for label, value in rows.items():
        for number, line in enumerate(value if isinstance(value, list) else [value]):
            tell(f"  {label if number == 0 else '':<{_LABEL_WIDTH}}{line}".rstrip())


def _signature(task: TaskDefinition) -> str:
    words = {
        "workspace": "workspace: Path",
        "params": f"params: {task.params_model.__name__}",
        "metrics": "metrics: MetricRecorder",
        "context": "context: TaskContext",
    }
    arguments = ", ".join(words[slot.value] for slot in task.slots)
    return f"{'async ' if task.is_async else ''}({arguments}) -> {task.output_model.__name__}"


def _fields(model: type[BaseModel]) -> list[str]:
    """Names, types, bounds of numbers, and defaults. Secret defaults are masked."""
    fields = model.__pydantic_fields__.items()
    return [f"{name}: {_type_name(field.annotation)}{_about(name, field)}" for name, field in fields] or ["(no fields)"]


def _about(name: str, field: FieldInfo) -> str:
    told = [] if field.is_required() else [_default(name, field)]
    bounds = [(sign, getattr(item, kind, None)) for item in field.metadata for kind, sign in _BOUNDS]
    told += [f"{sign} {bound}" for sign, bound in bounds if bound is not None]
    return f" ({', '.join(told)})" if told else ""


def _default(name: str, field: FieldInfo) -> str:
    """The default of a field as JSON, or the name of its factory, which is not called."""
    from pydantic import Secret, SecretBytes, SecretStr
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    from perago.tasks.secrets import mask_by_type
    from perago.values.json_text import printable_json, with_finite_numbers

    if field.default_factory is not None:
        return f"default {getattr(field.default_factory, '__name__', '...')}()"
    try:
        value = with_finite_numbers(mask_by_type(field.default, to_jsonable_python(field.default)))
    except (PydanticSerializationError, ValueError):  # the default may have no JSON form
        return "optional"
    shown = mask_json({name: value})[name]
    if shown == MASK or isinstance(field.default, Secret | SecretStr | SecretBytes):
        return "optional"
    text = printable_json(json.dumps(shown, ensure_ascii=False))
    return "default " + (text if len(text) <= MAX_DEFAULT_LENGTH else text[: MAX_DEFAULT_LENGTH - 1] + "…")


def _type_name(annotation: object) -> str:
    if isinstance(annotation, type) and not _is_generic(annotation):
        return annotation.__name__
    return str(annotation).replace("typing.", "")


def _is_generic(annotation: object) -> bool:
    return hasattr(annotation, "__args__")


def _describe_workspace(spec: WorkspaceSpec) -> dict[str, Any]:
    access = "read-only" if spec.read_only else f"read and write, {spec.isolation}"
    rows: dict[str, Any] = {"workspace": f"{spec.prefix} ({access})"}
    if spec.include:
        rows["include"] = spec.include
    if spec.exclude:
        rows["exclude"] = spec.exclude
    if spec.outputs:
        rows["outputs"] = spec.outputs
    if spec.pre or spec.post:
        rows["guards"] = [*_guards("before", spec.pre), *_guards("after", spec.post)]
    return rows


def _guards(when: str, guards: list[Guardrail | Guard]) -> Iterator[str]:
    from perago.tasks.guards import describe_guard
    from perago.values.spec import Guardrail

    for guard in guards:
        if not isinstance(guard, Guardrail):
            yield f"{when}: {describe_guard(guard)}"
            continue
        least = "" if guard.min_count is None else f", at least {guard.min_count}"
        most = "" if guard.max_count is None else f", at most {guard.max_count}"
        yield f"{when}: {guard.kind} {guard.path}{least}{most}"


def _describe_controls(controls: TaskControls) -> dict[str, Any]:
    retry, timeout, limits = controls.retry, controls.timeout, controls.limits
    rows = {
        "retries": f"{retry.count}, {retry.logic}, {retry.delay_seconds} s apart",
        "timeouts": f"{_limit(timeout.seconds)} per try; {timeout.response_seconds} s without a heartbeat; then "
        f"{timeout.policy}",
    }
    if limits.concurrent_exec_limit is not None:
        rows["limits"] = f"{limits.concurrent_exec_limit} at once"
    return rows


def _limit(seconds: int) -> str:
    return f"{seconds} s" if seconds else "no limit"


def _warnings_of(task: TaskDefinition) -> list[str]:
    """Warnings of building the TaskDef."""
    from perago.tasks.taskdef import build_taskdef

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        build_taskdef(task)
    return [str(warning.message) for warning in caught]

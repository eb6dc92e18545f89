"""Perago: a typed Python runtime for Conductor workers whose tasks work on versioned lakeFS workspaces.

The public names, loaded when they are first used: importing this package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from perago._version import __version__

if TYPE_CHECKING:
    from perago.attempt.compat import run_workspace_task_attempt
    from perago.attempt.fence import assert_current_attempt_snapshot
    from perago.attempt.free import (
        invoke_workspace_free_task,
        invoke_workspace_task_body,
        run_workspace_free_task_attempt,
    )
    from perago.attempt.output import (
        build_workspace_free_task_output,
        build_workspace_task_output,
        result_for_exception,
    )
    from perago.engines.local import RunSummary, TaskSummary
    from perago.errors import (
        GuardrailViolation,
        HeadMovedError,
        PeragoError,
        PostGuardrailViolation,
        PreGuardrailViolation,
        PublishFenceError,
        RuntimeConfigError,
        StaleAttemptError,
        TaskCancelledError,
        TaskDefinitionError,
        TaskExecutionError,
        TaskFailed,
        TaskInputError,
        TaskTerminalError,
        WorkflowDefinitionError,
    )
    from perago.running.history import CommitSummary, TaskCommit
    from perago.running.python import CompletedRun, run
    from perago.running.reading import list_files, log, read_file, runs
    from perago.settings import ConductorConfig, LakeFSConfig, RuntimeConfig, load_runtime_config
    from perago.tasks.context import TaskContext
    from perago.tasks.controls import ExecutionLimits, PublishBudget, RetryPolicy, TaskControls, TimeoutPolicy
    from perago.tasks.declare import TaskDefinition, task
    from perago.tasks.guards import check_guardrails, forbid_glob, require_dir, require_file, require_glob
    from perago.tasks.load import load_module_task
    from perago.tasks.metrics import MetricRecorder, MetricSpec
    from perago.tasks.taskdef import build_taskdef, write_taskdef
    from perago.values.models import (
        RuntimeTaskResult,
        StagedWorkspace,
        WorkspaceInput,
        WorkspaceOutput,
        staging_branch_name,
    )
    from perago.values.spec import WorkspaceSpec
    from perago.workflows.declare import workflow
    from perago.workflows.definition import WorkflowDefinition
    from perago.workflows.flow import Flow

_HOMES = {
    "attempt.fence": ("assert_current_attempt_snapshot",),
    "attempt.free": ("invoke_workspace_free_task", "invoke_workspace_task_body", "run_workspace_free_task_attempt"),
    "attempt.output": ("build_workspace_free_task_output", "build_workspace_task_output", "result_for_exception"),
    "attempt.compat": ("run_workspace_task_attempt",),
    "engines.local": ("RunSummary", "TaskSummary"),
    "errors": (
        "GuardrailViolation",
        "HeadMovedError",
        "PeragoError",
        "PostGuardrailViolation",
        "PreGuardrailViolation",
        "PublishFenceError",
        "RuntimeConfigError",
        "StaleAttemptError",
        "TaskCancelledError",
        "TaskDefinitionError",
        "TaskExecutionError",
        "TaskFailed",
        "TaskInputError",
        "TaskTerminalError",
        "WorkflowDefinitionError",
    ),
    "running.history": ("CommitSummary", "TaskCommit"),
    "running.python": ("CompletedRun", "run"),
    "running.reading": ("list_files", "log", "read_file", "runs"),
    "settings": ("ConductorConfig", "LakeFSConfig", "RuntimeConfig", "load_runtime_config"),
    "tasks.context": ("TaskContext",),
    "tasks.controls": ("ExecutionLimits", "PublishBudget", "RetryPolicy", "TaskControls", "TimeoutPolicy"),
    "tasks.declare": ("TaskDefinition", "task"),
    "tasks.guards": ("check_guardrails", "forbid_glob", "require_dir", "require_file", "require_glob"),
    "tasks.load": ("load_module_task",),
    "tasks.metrics": ("MetricRecorder", "MetricSpec"),
    "tasks.taskdef": ("build_taskdef", "write_taskdef"),
    "values.models": (
        "RuntimeTaskResult",
        "StagedWorkspace",
        "WorkspaceInput",
        "WorkspaceOutput",
        "staging_branch_name",
    ),
    "values.spec": ("WorkspaceSpec",),
    "workflows.declare": ("workflow",),
    "workflows.definition": ("WorkflowDefinition",),
    "workflows.flow": ("Flow",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "CommitSummary",
    "CompletedRun",
    "ConductorConfig",
    "ExecutionLimits",
    "Flow",
    "GuardrailViolation",
    "HeadMovedError",
    "LakeFSConfig",
    "MetricRecorder",
    "MetricSpec",
    "PeragoError",
    "PostGuardrailViolation",
    "PreGuardrailViolation",
    "PublishBudget",
    "PublishFenceError",
    "RetryPolicy",
    "RunSummary",
    "RuntimeConfig",
    "RuntimeConfigError",
    "RuntimeTaskResult",
    "StagedWorkspace",
    "StaleAttemptError",
    "TaskCancelledError",
    "TaskCommit",
    "TaskContext",
    "TaskControls",
    "TaskDefinition",
    "TaskDefinitionError",
    "TaskExecutionError",
    "TaskFailed",
    "TaskInputError",
    "TaskSummary",
    "TaskTerminalError",
    "TimeoutPolicy",
    "WorkflowDefinition",
    "WorkflowDefinitionError",
    "WorkspaceInput",
    "WorkspaceOutput",
    "WorkspaceSpec",
    "__version__",
    "assert_current_attempt_snapshot",
    "build_taskdef",
    "build_workspace_free_task_output",
    "build_workspace_task_output",
    "check_guardrails",
    "forbid_glob",
    "invoke_workspace_free_task",
    "invoke_workspace_task_body",
    "list_files",
    "load_module_task",
    "load_runtime_config",
    "log",
    "read_file",
    "require_dir",
    "require_file",
    "require_glob",
    "result_for_exception",
    "run",
    "run_workspace_free_task_attempt",
    "run_workspace_task_attempt",
    "runs",
    "staging_branch_name",
    "task",
    "workflow",
    "write_taskdef",
]


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

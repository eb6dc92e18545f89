"""What `from perago import …` offers, and what importing it costs."""

import subprocess
import sys

import pytest

import perago

CONTRACT = sorted(
    [
        "task",
        "TaskDefinition",
        "load_module_task",
        "WorkspaceSpec",
        "require_file",
        "require_dir",
        "require_glob",
        "forbid_glob",
        "check_guardrails",
        "build_taskdef",
        "write_taskdef",
        "WorkspaceInput",
        "WorkspaceOutput",
        "TaskControls",
        "RetryPolicy",
        "TimeoutPolicy",
        "ExecutionLimits",
        "PublishBudget",
        "MetricSpec",
        "MetricRecorder",
        "run_workspace_task_attempt",
        "run_workspace_free_task_attempt",
        "invoke_workspace_task_body",
        "invoke_workspace_free_task",
        "build_workspace_task_output",
        "build_workspace_free_task_output",
        "StagedWorkspace",
        "RuntimeTaskResult",
        "result_for_exception",
        "assert_current_attempt_snapshot",
        "staging_branch_name",
        "TaskDefinitionError",
        "TaskInputError",
        "TaskExecutionError",
        "TaskFailed",
        "TaskTerminalError",
        "RuntimeConfigError",
        "GuardrailViolation",
        "PreGuardrailViolation",
        "PostGuardrailViolation",
        "StaleAttemptError",
        "PublishFenceError",
        "RuntimeConfig",
        "ConductorConfig",
        "LakeFSConfig",
        "load_runtime_config",
    ]
)

HEAVY = {
    "pygit2",
    "pydantic",
    "pydantic_settings",
    "rich",
    "click",
    "structlog",
    "psutil",
    "http.client",
    "urllib.request",
    "ssl",
    "asyncio",
    "perago.stores.git",
    "perago.engines.local",
    "perago.settings",
}


@pytest.mark.parametrize("name", CONTRACT)
def test_a_published_name_is_there(name):
    assert getattr(perago, name).__name__ == name
    assert name in dir(perago)


def test_every_name_in_all_is_there_and_knows_its_home():
    for name in perago.__all__:
        assert getattr(perago, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = perago.nonsense


def test_importing_perago_pulls_in_no_store_no_engine_and_no_client():
    loaded = subprocess.run(
        [sys.executable, "-c", "import perago, sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "perago" in loaded
    assert sorted(HEAVY & set(loaded)) == []
    assert [name for name in loaded if name.startswith("perago.")] == ["perago._version"]


@pytest.mark.parametrize(
    ("name", "caught_as"),
    [
        ("TaskDefinitionError", ValueError),
        ("TaskInputError", ValueError),
        ("RuntimeConfigError", ValueError),
        ("TaskExecutionError", RuntimeError),
        ("GuardrailViolation", RuntimeError),
        ("StaleAttemptError", RuntimeError),
        ("PublishFenceError", RuntimeError),
    ],
)
def test_errors_are_one_tree_and_still_caught_as_before(name, caught_as):
    error = getattr(perago, name)
    assert issubclass(error, perago.PeragoError)
    assert issubclass(error, caught_as)

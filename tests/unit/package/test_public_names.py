"""What `from perago import …` offers, and what importing it costs."""

import inspect
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

SIGNATURES = {
    "invoke_workspace_task_body": (["task", "input_data", "workspace_dir"], {"metrics": None}),
    "invoke_workspace_free_task": (["task", "input_data"], {"metrics": None}),
    "build_workspace_task_output": (["task", "input_workspace", "published_ref", "raw_result"], {}),
    "build_workspace_free_task_output": (["task", "raw_result"], {}),
    "run_workspace_free_task_attempt": (["task", "input_data"], {"metrics": None, "failure_reason_max_length": 500}),
    "assert_current_attempt_snapshot": (["task", "fresh"], {}),
    "result_for_exception": (["exc"], {"max_length": 500}),
    "check_guardrails": (["root", "guardrails", "phase"], {}),
    "build_taskdef": (["task"], {}),
    "write_taskdef": (["task", "output"], {}),
    "staging_branch_name": (["task"], {}),
    "load_runtime_config": (["module_target"], {"cwd": None, "process_env": None, "probe_roots": True}),
    "require_file": (["path"], {}),
    "require_dir": (["path"], {}),
    "require_glob": (["pattern"], {"min_count": 1, "max_count": None}),
    "forbid_glob": (["pattern"], {}),
}
"""Of the published functions: what is positional, by name, and what goes by keyword, with its default."""

HEAVY = {
    "pygit2",
    "pydantic",
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


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_published_function_takes_what_it_took_and_asks_for_no_more(name):
    positional, keywords = SIGNATURES[name]
    parameters = inspect.signature(getattr(perago, name)).parameters
    required = [word for word, parameter in parameters.items() if parameter.default is inspect.Parameter.empty]
    assert required == list(parameters)[: len(positional)] == positional
    assert {word: parameters[word].default for word in keywords} == keywords
    assert {parameters[word].kind for word in keywords} <= {inspect.Parameter.KEYWORD_ONLY}


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

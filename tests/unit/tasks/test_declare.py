"""What `@task` makes of a function that is declared as it should be."""

from __future__ import annotations

import functools
import inspect
import re
from pathlib import Path
from typing import Annotated, Generic, TypeVar

import pytest
from pydantic import BaseModel

import perago
from perago import (
    MetricRecorder,
    MetricSpec,
    PublishBudget,
    TaskContext,
    TaskControls,
    TaskDefinition,
    TaskDefinitionError,
    WorkspaceSpec,
    task,
)
from perago.tasks.declare import task_of
from perago.values.sandbox import SandboxSpec

Value = TypeVar("Value")


class Params(BaseModel):
    size: int = 0


class Result(BaseModel):
    size: int = 0


class Boxed(BaseModel, Generic[Value]):
    value: Value


BUDGET = PublishBudget(
    observed_merge_p99_seconds=1,
    safety_margin_seconds=1,
    publish_timeout_seconds=2,
    conductor_completion_timeout_seconds=1,
    worker_shutdown_grace_seconds=1,
    heartbeat_interval_seconds=1,
)
CONTEXT = TaskContext.for_test()


def declare(fn, **options):
    return task(**{"name": "t", "owner_email": "t@example.org", **options})(fn).__perago_task__


def test_the_decorated_function_is_the_function_itself_and_stays_callable():
    def build(params: Params) -> Result:
        return Result(size=params.size)

    decorated = task(name="t", owner_email="t@example.org")(build)
    assert decorated is build
    assert decorated(Params(size=3)) == Result(size=3)
    assert decorated.__perago_task__.fn is build


def test_a_definition_has_what_was_declared():
    controls = TaskControls(publish_budget=BUDGET)
    workspace = WorkspaceSpec(prefix="data")
    metrics = MetricSpec(attempts=False)

    @task(
        name="features.build",
        owner_email="team@example.org",
        description="Builds features.",
        workspace=workspace,
        metrics=metrics,
        controls=controls,
        strict_params=True,
    )
    def build(workspace: Path, params: Params, metrics: MetricRecorder) -> Result:
        return Result()

    definition = build.__perago_task__
    assert isinstance(definition, TaskDefinition)
    assert definition.name == "features.build"
    assert definition.owner_email == "team@example.org"
    assert definition.description == "Builds features."
    assert definition.params_model is Params
    assert definition.output_model is Result
    assert definition.workspace is workspace
    assert definition.has_workspace
    assert definition.metrics is metrics
    assert definition.controls is controls
    assert definition.strict_params
    with pytest.raises(AttributeError):
        definition.name = "other"


def test_what_is_left_out_has_its_default():
    def build(params: Params) -> Result: ...

    definition = declare(build)
    assert (definition.description, definition.workspace, definition.metrics) == (None, None, None)
    assert not definition.has_workspace
    assert not definition.strict_params
    assert definition.controls == TaskControls()
    assert declare(build, controls=None).controls == TaskControls()


def test_the_decorator_takes_keywords_only():
    assert {p.kind for p in inspect.signature(task).parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize(
    ("decorate", "fault"),
    [
        (lambda fn: task(fn), "too many positional arguments"),
        # Python 3.12 and later say "keyword-only argument".
        (lambda fn: task()(fn), "missing a required (keyword-only )?argument: 'name'"),
        (lambda fn: task(name="t")(fn), "missing a required (keyword-only )?argument: 'owner_email'"),
        (lambda fn: task(name="t", owner_email="t@example.org", retry=3)(fn), "unexpected keyword argument 'retry'"),
        (lambda fn: task("t", owner_email="t@example.org")(fn), "too many positional arguments"),
    ],
)
def test_wrong_arguments_of_the_decorator_are_told_of_the_function_with_the_mend(decorate, fault):
    def build(params: Params) -> Result: ...

    with pytest.raises(TaskDefinitionError) as caught:
        decorate(build)
    assert "build: @task has wrong arguments: " in str(caught.value)
    assert re.search(fault, str(caught.value))
    assert '@task(name="features.build", owner_email="team@example.org"' in str(caught.value)


def _free(params: Params) -> Result: ...
def _free_positional(params: Params, /) -> Result: ...
def _workspace(workspace: Path, params: Params) -> Result: ...
def _metrics(params: Params, metrics: MetricRecorder) -> Result: ...
def _all(workspace: Path, params: Params, metrics: MetricRecorder) -> Result: ...
def _context_last(params: Params, context: TaskContext) -> Result: ...
def _context_first(me: TaskContext, workspace: Path, params: Params) -> Result: ...
def _context_between(workspace: Path, metrics_of_mine: TaskContext, params: Params) -> Result: ...
def _all_and_context(workspace: Path, params: Params, metrics: MetricRecorder, ctx: TaskContext) -> Result: ...


@pytest.mark.parametrize(
    ("fn", "order"),
    [
        (_free, "p"),
        (_free_positional, "p"),
        (_workspace, "wp"),
        (_metrics, "pm"),
        (_all, "wpm"),
        (_context_last, "pc"),
        (_context_first, "cwp"),
        (_context_between, "wcp"),
        (_all_and_context, "wpmc"),
    ],
)
def test_each_parameter_gets_what_it_stands_for(fn, order):
    definition = declare(
        fn, workspace=WorkspaceSpec() if "w" in order else None, metrics=MetricSpec() if "m" in order else None
    )
    values = {"w": Path("/w"), "p": Params(), "m": MetricRecorder(), "c": CONTEXT}
    given = definition.arguments(values["w"], values["p"], values["m"], values["c"])
    assert [id(value) for value in given] == [id(values[letter]) for letter in order]


def test_metrics_that_nobody_takes_are_discarded():
    (_, recorder) = declare(_metrics, metrics=MetricSpec()).arguments(None, Params(), None, CONTEXT)
    assert type(recorder) is MetricRecorder  # which checks what it is given, and keeps nothing
    assert recorder.context is CONTEXT


def test_a_definition_that_is_made_by_hand_calls_in_the_standard_order():
    definition = TaskDefinition("t", "t@example.org", _workspace, Params, Result, workspace=WorkspaceSpec())
    assert definition.arguments(Path("/w"), Params(size=1), None, CONTEXT) == (Path("/w"), Params(size=1))


def test_async_functions_are_tasks():
    async def build(params: Params) -> Result:
        return Result()

    assert declare(build).is_async
    assert declare(build).output_model is Result
    assert not declare(_free).is_async


def test_annotations_that_name_local_classes_are_resolved():
    """All annotations of this file are text, by its first import."""

    class Outer(BaseModel):
        pass

    def declare_inside():
        class Inner(BaseModel):
            pass

        def build(params: Outer) -> Inner: ...

        return declare(build), Inner

    definition, inner = declare_inside()
    assert (definition.params_model, definition.output_model) == (Outer, inner)


def test_a_local_class_hides_one_of_the_module():
    class Result(BaseModel):
        pass

    def build(params: Params) -> Result: ...

    assert declare(build).output_model is Result


def test_what_is_inside_hides_what_is_outside():
    class Result(BaseModel):
        pass

    def declare_inside():
        class Result(BaseModel):
            pass

        def build(params: Params) -> Result: ...

        return declare(build).output_model is Result

    assert declare_inside()


def test_a_class_inside_a_class_is_resolved():
    class Group:
        class Inside(BaseModel):
            pass

        @staticmethod
        @task(name="t", owner_email="t@example.org")
        def build(params: Inside) -> Inside: ...

    assert task_of(Group.build).params_model is Group.Inside


def test_annotated_and_generic_models_are_models():
    def build(params: Annotated[Params, "said of it"]) -> Boxed[int]: ...

    definition = declare(build)
    assert definition.params_model is Params
    assert definition.output_model is Boxed[int]


def test_a_function_that_wraps_another_takes_over_its_signature():
    @functools.wraps(_workspace)
    def wrapper(*args, **kwargs):
        return _workspace(*args, **kwargs)

    assert declare(wrapper, workspace=WorkspaceSpec()).fn is wrapper


@pytest.mark.parametrize("name", ["features.build", "a b", "ünïcode", "a:b", "x" * 300, " padded "])
def test_names_that_engines_take_are_taken(name):
    assert declare(_free, name=name).name == name


def test_a_module_written_for_the_published_package_needs_no_change(tmp_path, monkeypatch):
    (tmp_path / "published_tasks.py").write_text(
        "from pathlib import Path\n"
        "from pydantic import BaseModel\n"
        "from perago import (ExecutionLimits, MetricRecorder, MetricSpec, PublishBudget, RetryPolicy, TaskControls,\n"
        "    TimeoutPolicy, WorkspaceSpec, forbid_glob, require_dir, require_file, require_glob, task)\n"
        "class P(BaseModel):\n    x: int\n"
        "class R(BaseModel):\n    y: int\n"
        "@task(name='features.build', owner_email='a@example.com', description='d', strict_params=True,\n"
        "    workspace=WorkspaceSpec(prefix='/a/b', pre=[require_file('x'), require_dir('d')],\n"
        "        post=[require_glob('*.csv', min_count=1, max_count=2), forbid_glob('*.tmp')], read_only=False),\n"
        "    metrics=MetricSpec(attempts=True, workspace_io=False, worker_capacity=True),\n"
        "    controls=TaskControls(retry=RetryPolicy(count=1, logic='EXPONENTIAL_BACKOFF', delay_seconds=5),\n"
        "        timeout=TimeoutPolicy(policy='RETRY', response_seconds=900),\n"
        "        limits=ExecutionLimits(concurrent_exec_limit=3)))\n"
        "def build(workspace: Path, params: P, metrics: MetricRecorder) -> R:\n"
        "    with metrics.timer('t', labels={'a': 'b'}):\n        return {'y': params.x}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    directory = tmp_path / "workspace"
    (directory / "d").mkdir(parents=True)
    for name in ("x", "rows.csv"):
        (directory / name).touch()
    definition = perago.load_module_task("published_tasks")
    workspace = {"repository": "r", "branch": "b", "refType": "commit", "ref": "c"}
    result = perago.invoke_workspace_task_body(definition, {"workspace": workspace, "params": {"x": 4}}, directory)
    assert result == {"result": {"y": 4}}


def test_a_budget_needs_a_workspace():
    controls = TaskControls(publish_budget=BUDGET)
    assert declare(_workspace, workspace=WorkspaceSpec(), controls=controls).controls is controls
    with pytest.raises(TaskDefinitionError, match="publish_budget"):
        declare(_free, controls=controls)


def test_a_task_asks_for_credentials_by_name():
    def build(params: Params) -> Result:
        return Result()

    assert declare(build).environment == ()
    assert declare(build, environment=["CONDUCTOR_AUTH_KEY"]).environment == ("CONDUCTOR_AUTH_KEY",)
    assert declare(build, environment=["AWS_SECRET_ACCESS_KEY"]).environment == ("AWS_SECRET_ACCESS_KEY",)
    with pytest.raises(TaskDefinitionError, match="'A=B', which is not the name of a variable"):
        declare(build, environment=["A=B"])
    with pytest.raises(TaskDefinitionError, match=r"environment is a str; write environment=\["):
        declare(build, environment="CONDUCTOR_AUTH_KEY")


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"sandbox": "enforced"}, "sandbox='enforced' is no mode; write 'enforce'"),
        ({"sandbox": "strict"}, "write one of 'enforce', 'report', 'off'"),
        ({"reads": "/models"}, r'reads is a str; write reads=\["/models/bert-base"\]'),
        ({"reads": ["models"]}, "reads has 'models', which is not an absolute path"),
        ({"writes": ["/a/../b"]}, "writes has '/a/../b', which is not an absolute path"),
        ({"network": "yes"}, "network is a str; write network=True or False"),
    ],
)
def test_a_sandbox_that_cannot_be_is_refused(options, fault):
    with pytest.raises(TaskDefinitionError, match=fault):
        declare(_free, **options)


def test_a_sandbox_is_declared_by_its_options():
    made = declare(_free, sandbox="enforce", reads=[Path("/models")], writes=["/out"], network=True).sandbox
    assert made == SandboxSpec(mode="enforce", reads=("/models",), writes=("/out",), network=True)
    assert declare(_free).sandbox == SandboxSpec()

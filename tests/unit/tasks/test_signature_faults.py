"""Wrong declarations: each fails when the function is decorated, with the function, the fault and the mend."""

from __future__ import annotations

import dataclasses
import functools
import re
import sys
from pathlib import Path
from typing import Optional

import pytest
from pydantic import BaseModel, RootModel

from perago import MetricRecorder, MetricSpec, TaskContext, TaskDefinitionError, WorkspaceSpec, task
from perago.tasks.load import load_module_task


class Params(BaseModel):
    size: int = 0


class Rows(RootModel[list[int]]):
    pass


@dataclasses.dataclass
class Plain:
    size: int = 0


WORKSPACE = {"workspace": WorkspaceSpec()}
METRICS = {"metrics": MetricSpec()}


def no_parameters() -> Params: ...
def workspace_only(workspace: Path) -> Params: ...
def free(params: Params) -> Params: ...
def with_workspace(workspace: Path, params: Params) -> Params: ...
def workspace_as_text(workspace: str, params: Params) -> Params: ...
def workspace_unannotated(workspace, params: Params) -> Params: ...
def workspace_renamed(directory: Path, params: Params) -> Params: ...
def params_renamed(p: Params) -> Params: ...
def metrics_renamed(params: Params, m: MetricRecorder) -> Params: ...
def unknown_parameter(params: Params, depth: int) -> Params: ...
def wrong_order(params: Params, workspace: Path) -> Params: ...
def metrics_first(metrics: MetricRecorder, params: Params) -> Params: ...
def with_metrics(params: Params, metrics: MetricRecorder) -> Params: ...
def metrics_unannotated(params: Params, metrics) -> Params: ...
def metrics_optional(params: Params, metrics: MetricRecorder | None) -> Params: ...
def with_default(params: Params = Params()) -> Params: ...  # noqa: B008 - the fault
def with_args(params: Params, *rest) -> Params: ...
def with_kwargs(params: Params, **rest) -> Params: ...
def keyword_only(*, params: Params) -> Params: ...
def params_unannotated(params) -> Params: ...
def params_a_dict(params: dict) -> Params: ...
def params_a_dataclass(params: Plain) -> Params: ...
def params_a_root_model(params: Rows) -> Params: ...
def params_the_base(params: BaseModel) -> Params: ...
def params_optional(params: Optional[Params]) -> Params: ...  # noqa: UP045 - the fault
def result_missing(params: Params): ...
def result_none(params: Params) -> None: ...
def result_a_root_model(params: Params) -> Rows: ...
def result_a_union(params: Params) -> Params | None: ...
def context_unannotated(params: Params, context) -> Params: ...
def context_optional(params: Params, ctx: TaskContext | None) -> Params: ...
def two_contexts(a: TaskContext, params: Params, b: TaskContext) -> Params: ...
def params_is_a_context(params: TaskContext) -> Params: ...
def unknown_name(params: NotImported) -> Params: ...  # noqa: F821 - the fault
def broken_annotation(params: "Params[") -> Params: ...  # noqa: F722 - the fault
def a_method(self, params: Params) -> Params: ...
def a_generator(params: Params) -> Params:
    yield Params()  # fmt: skip


async def an_async_generator(params: Params) -> Params:
    yield Params()


@pytest.mark.parametrize(
    ("fn", "options", "fault", "mend"),
    [
        (no_parameters, {}, "no parameter 'params'", "params: MyParams"),
        (workspace_only, WORKSPACE, "no parameter 'params'", "params: MyParams"),
        (free, WORKSPACE, "workspace=", "workspace: Path"),
        (with_workspace, {}, "no workspace=", "workspace=WorkspaceSpec()"),
        (workspace_as_text, WORKSPACE, "annotated str", "workspace: Path"),
        (workspace_unannotated, WORKSPACE, "not annotated", "workspace: Path"),
        (workspace_renamed, WORKSPACE, "'directory'", "rename it to 'workspace'"),
        (params_renamed, {}, "'p'", "rename it to 'params'"),
        (metrics_renamed, METRICS, "'m'", "rename it to 'metrics'"),
        (unknown_parameter, {}, "'depth'", "(params: Model)"),
        (wrong_order, WORKSPACE, "params, workspace", "workspace, params"),
        (metrics_first, METRICS, "metrics, params", "params, metrics"),
        (with_metrics, {}, "no metrics=", "metrics=MetricSpec()"),
        (free, METRICS, "metrics=", "metrics: MetricRecorder"),
        (metrics_unannotated, METRICS, "not annotated", "metrics: MetricRecorder"),
        (metrics_optional, METRICS, "MetricRecorder | None", "metrics: MetricRecorder"),
        (with_default, {}, "'params' has a default", "remove it"),
        (with_args, {}, "*rest", "(params: Model)"),
        (with_kwargs, {}, "**rest", "params model"),
        (keyword_only, {}, "keyword-only", "remove the '*'"),
        (params_unannotated, {}, "'params' is not annotated", "params: MyParams"),
        (params_a_dict, {}, "annotated dict", "params: MyParams"),
        (params_a_dataclass, {}, "annotated Plain", "class Plain(BaseModel)"),
        (params_a_root_model, {}, "RootModel Rows", "BaseModel with a field"),
        (params_the_base, {}, "BaseModel itself", "params: MyParams"),
        (params_optional, {}, "Params | None" if sys.version_info >= (3, 14) else "Optional", "params: MyParams"),
        (result_missing, {}, "return value is not annotated", "-> MyResult"),
        (result_none, {}, "return value is annotated None", "-> MyResult"),
        (result_a_root_model, {}, "RootModel Rows", "BaseModel with a field"),
        (result_a_union, {}, "Params | None", "-> MyResult"),
        (context_unannotated, {}, "'context' is not annotated", "context: TaskContext"),
        (context_optional, {}, "'ctx' is not annotated TaskContext", "ctx: TaskContext"),
        (two_contexts, {}, "more than one TaskContext", "keep one"),
        (params_is_a_context, {}, "no parameter 'params'", "params: MyParams"),
        (unknown_name, {}, "'NotImported'", "TYPE_CHECKING"),
        (broken_annotation, {}, "SyntaxError", "correct the annotation"),
        (a_method, {}, "method", "function of the module"),
        (a_generator, {}, "generator", "return the result"),
        (an_async_generator, {}, "generator", "return the result"),
        (free, {"name": ""}, "name=''", "features.build"),
        (free, {"name": " \t"}, "name=", "features.build"),
        (free, {"name": None}, "name=None", "features.build"),
        (free, {"name": "a/b"}, "path separator", "'.'"),
        (free, {"name": "a\\b"}, "path separator", "'.'"),
        (free, {"name": "a\nb"}, "control character", "remove it"),
        (free, {"owner_email": ""}, "owner_email=''", "team@example.org"),
        (free, {"owner_email": "  "}, "owner_email=", "team@example.org"),
        (free, {"owner_email": None}, "owner_email=None", "team@example.org"),
        (free, {"description": 5}, "description=5", "text"),
        (with_workspace, {"workspace": {"prefix": "/"}}, "workspace is a dict", "WorkspaceSpec(...)"),
        (with_metrics, {"metrics": True}, "metrics is a bool", "MetricSpec(...)"),
        (free, {"controls": {}}, "controls is a dict", "TaskControls(...)"),
        (free, {"strict_params": "yes"}, "strict_params is a str", "True or False"),
    ],
)
def test_a_wrong_declaration_names_the_function_the_fault_and_the_mend(fn, options, fault, mend):
    declaring = task(**{"name": "t", "owner_email": "t@example.org", **options})
    with pytest.raises(TaskDefinitionError) as caught:
        declaring(fn)
    function, _, said = str(caught.value).partition(": ")
    assert function == f"task function {fn.__module__}.{fn.__qualname__}"
    told, _, how = said.partition("; ")
    assert fault in told
    assert mend in how
    assert not hasattr(fn, "__perago_task__")


class Callable:
    def __call__(self, params: Params) -> Params: ...

    def method(self, params: Params) -> Params: ...


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (Params, "it is a class"),
        (Callable(), "of type Callable, not a function"),
        (Callable().method, "of type method, not a function"),
        (functools.partial(free), "of type partial, not a function"),
        (classmethod(free), "class method"),
        (len, "of type builtin_function_or_method, not a function"),
        (5, "of type int, not a function"),
    ],
)
def test_what_is_no_function_is_no_task(value, fault):
    with pytest.raises(TaskDefinitionError, match=re.escape(fault)):
        task(name="t", owner_email="t@example.org")(value)


def test_a_wrong_declaration_fails_at_import_with_its_module_and_name(tmp_path, monkeypatch):
    (tmp_path / "wrongly_declared.py").write_text(
        "from perago import task\n@task(name='t', owner_email='o')\ndef build(params: int) -> int: ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(TaskDefinitionError, match=r"wrongly_declared\.build: parameter 'params' is annotated int"):
        load_module_task("wrongly_declared")


def test_a_method_of_a_class_fails_with_the_class_in_its_name():
    with pytest.raises(TaskDefinitionError, match=r"Group\.build: it is a method"):

        class Group:
            @task(name="t", owner_email="t@example.org")
            def build(self, params: Params) -> Params: ...

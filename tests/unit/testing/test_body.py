"""A body alone: what goes in, what comes out, and that it is held to what an attempt holds it to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, Field, model_validator

import kit_tasks as tasks
from kit_tasks import Params, Result
from perago import (
    MetricRecorder,
    PostGuardrailViolation,
    PreGuardrailViolation,
    TaskCancelledError,
    TaskContext,
    TaskExecutionError,
    TaskFailed,
    TaskInputError,
    WorkspaceSpec,
    task,
)
from perago.errors import ObjectNameError, WorkspaceContentError
from perago.tasks.declare import TaskDefinition, task_of
from perago.testing import MemoryWorkflow, Metric, Progress, run_body


def test_result_changes_files_and_progress_come_out() -> None:
    run = run_body(tasks.copy, {"suffix": "!"}, {"in.txt": "hi", "old.txt": b"x", "out.txt": "", "sub/a.bin": b"\xff"})
    assert run.result == Result(text="hi!")
    assert (run.added, run.modified, run.deleted) == ((), ("out.txt",), ("old.txt",))
    assert run.files == {"in.txt": b"hi", "out.txt": b"hi!", "sub/a.bin": b"\xff"}
    assert run.progress == (Progress(1, 2, "copying"),)


def test_a_directory_is_copied_and_stays_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("hi")
    (tmp_path / "old.txt").write_text("old")
    (tmp_path / "run.sh").touch(mode=0o755)
    before = sorted(tmp_path.iterdir())
    run = run_body(tasks.copy, Params(), tmp_path)
    assert (run.added, run.modified, run.deleted) == (("out.txt",), (), ("old.txt",))
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "old.txt").read_text() == "old"


def test_a_directory_may_be_named_by_a_text(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("hi")
    assert run_body(tasks.copy, None, str(tmp_path)).files == {"in.txt": b"hi", "out.txt": b"hi"}
    with pytest.raises(WorkspaceContentError, match=r"^there is no directory '.*/nowhere'; give"):
        run_body(tasks.copy, None, str(tmp_path / "nowhere"))


@pytest.mark.parametrize("files", [{"in.txt": "hi"}, {"raw/in": b"x", "a.b": "c"}, Path("files"), "files"])
def test_files_in_the_place_of_params_are_refused(files: Any) -> None:
    with pytest.raises(TaskInputError, match=r"files instead of params; give them as workspace="):
        run_body(tasks.copy, files)


class Aliased(BaseModel):
    suffix: str = Field("", alias="out.suffix")


class Chosen(BaseModel):
    suffix: str = Field("", validation_alias=AliasChoices("suffix", AliasPath("all.of", 0), "out.suffix"))


class Deep(BaseModel):
    suffix: str = Field("", validation_alias=AliasPath("out.suffix", 0))


class Open(BaseModel, extra="allow"):
    suffix: str = ""


class Flattened(BaseModel):
    suffix: str = ""

    @model_validator(mode="before")
    @classmethod
    def _flatten(cls, given: dict[str, Any]) -> dict[str, Any]:
        return {name.removeprefix("out."): value for name, value in given.items()}


def task_with(model: type[BaseModel]) -> TaskDefinition:
    def fn(workspace: Path, params: Any) -> Result:
        return Result(text=params.suffix)

    fn.__annotations__ = {"workspace": Path, "params": model, "return": Result}
    declared = task_of(task(name="dotted", owner_email="t@example.org", workspace=WorkspaceSpec())(fn))
    assert declared is not None
    return declared


@pytest.mark.parametrize(
    ("model", "params", "suffix"),
    [
        (Aliased, {"out.suffix": "!"}, "!"),
        (Chosen, {"out.suffix": "!"}, "!"),
        (Chosen, {"all.of": ["!"]}, "!"),
        (Deep, {"out.suffix": ["!"]}, "!"),
        (Open, {"model.lr": 1}, ""),
        (Flattened, {"out.suffix": "!"}, "!"),
    ],
)
def test_params_whose_names_look_like_paths_are_params(model: Any, params: Any, suffix: str) -> None:
    assert run_body(task_with(model), params).result == Result(text=suffix)


@pytest.mark.parametrize(("model", "wrong"), [(Aliased, 1), (Chosen, 1), (Deep, [1])])
def test_params_whose_names_look_like_paths_are_told_what_is_wrong_with_them(model: Any, wrong: Any) -> None:
    with pytest.raises(TaskInputError, match="Input should be a valid string"):
        run_body(task_with(model), {"out.suffix": wrong})


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (["in.txt"], "are of type list; give a dict"),
        (b"dir", "are of type bytes; give a dict"),
        ({"a": 5}, "'a' is of type int; give the files"),
    ],
)
def test_files_that_are_none_are_told_what_they_should_be(files: Any, told: str) -> None:
    with pytest.raises(TaskInputError, match=told):
        run_body(tasks.copy, None, files)
    with pytest.raises(TaskInputError, match=told):
        MemoryWorkflow(files)


def test_the_executable_bit_of_a_directorys_files_is_copied(tmp_path: Path) -> None:
    (tmp_path / "run.sh").touch(mode=0o755)
    (tmp_path / "plain").touch(mode=0o644)

    @tasks.task(name="bits", owner_email="ada@example.org", workspace=tasks.WorkspaceSpec())
    def bits(workspace: Path, params: Params) -> Result:
        return Result(text=" ".join(sorted(path.name for path in workspace.iterdir() if path.stat().st_mode & 0o100)))

    assert run_body(bits, None, tmp_path).result.text == "run.sh"


def test_what_the_patterns_leave_out_is_not_laid_out() -> None:
    run = run_body(tasks.copy, None, {"in.txt": "", "private/key": "k"})
    assert set(run.files) == {"in.txt", "out.txt"}


def test_a_directory_that_is_not_there_or_holds_a_link_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceContentError, match="there is no directory"):
        run_body(tasks.look, None, tmp_path / "nowhere")
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(WorkspaceContentError, match="link"):
        run_body(tasks.look, None, tmp_path)


def test_guards_are_checked_unless_switched_off() -> None:
    with pytest.raises(PreGuardrailViolation, match=r"in\.txt"):
        run_body(tasks.copy, None, {"other.txt": ""})
    with pytest.raises(PostGuardrailViolation, match=r"left\.tmp"):
        run_body(tasks.copy, None, {"in.txt": "", "left.tmp": ""})
    run = run_body(tasks.copy, None, {"in.txt": "", "left.tmp": ""}, guards=False)
    assert "left.tmp" in run.files


@pytest.mark.parametrize("path", ["/etc/passwd", "../out", "a//b", "a/./b"])
def test_a_name_that_leads_out_is_refused(path: str) -> None:
    with pytest.raises(ObjectNameError):
        run_body(tasks.look, None, {path: ""})


def test_what_could_not_be_published_is_an_error() -> None:
    with pytest.raises(WorkspaceContentError, match="link"):
        run_body(tasks.link)
    with pytest.raises(ObjectNameError):
        run_body(tasks.leave, {"suffix": "back\\slash"})


def test_params_are_validated_as_in_an_attempt() -> None:
    with pytest.raises(TaskInputError, match=r"params\.sufix"):
        run_body(tasks.copy, {"sufix": "!"}, {"in.txt": ""})
    with pytest.raises(TaskInputError, match=r"params\.suffix"):
        run_body(tasks.free, {"suffix": 3})


def test_a_result_that_is_no_json_is_an_error() -> None:
    with pytest.raises(TaskExecutionError, match="result"):
        run_body(tasks.lie)


def test_what_the_body_raises_comes_as_it_is() -> None:
    with pytest.raises(TaskFailed, match="not this time"):
        run_body(tasks.copy, {"fail_on": [0]}, {"in.txt": ""})


def test_the_workspace_of_a_failed_body_stays_below_a_given_root_and_nothing_else_does(tmp_path: Path) -> None:
    run_body(tasks.copy, None, {"in.txt": ""}, root=tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(TaskFailed):
        run_body(tasks.copy, {"fail_on": [0]}, {"in.txt": ""}, root=tmp_path)
    assert [path.read_text() for path in tmp_path.glob("kept/*/*/half.txt")] == ["half done"]


def test_a_context_says_who_asks_and_whether_to_stop() -> None:
    told: list[object] = []
    context = TaskContext.for_test(is_cancelled=lambda: True, on_progress=lambda *progress: told.append(progress))
    with pytest.raises(TaskCancelledError):
        run_body(tasks.copy, None, {"in.txt": ""}, context=context)
    assert told == [(1, 2, "copying")]


def test_an_async_free_body_records_metrics_here_and_with_a_given_recorder() -> None:
    class Keep(MetricRecorder):
        def deliver(self, instrument: str, name: str, value: float, labels: object) -> None:
            kept.append((name, value))

    kept: list[object] = []
    run = run_body(tasks.free, Params(suffix="abc"), metrics=Keep())
    assert run.result.text == "ABC"
    assert run.metrics == (Metric("gauge", "letters", 3.0, {"of": "suffix"}),)
    assert kept == [("letters", 3.0)]
    assert run.files == {}


def test_a_read_only_body_publishes_nothing() -> None:
    run = run_body(tasks.look, None, {"b": "", "a": ""})
    assert run.result.text == "a b scratch"
    assert (run.added, run.modified, run.deleted) == ((), (), ())
    assert "scratch" in run.files


def test_a_definition_is_taken_too_and_what_is_no_task_is_refused() -> None:
    assert run_body(tasks.free.__perago_task__, {"suffix": "a"}).result == Result(text="A")
    with pytest.raises(TaskInputError, match="decorated with @task"):
        run_body(print)


def test_files_for_a_free_task_are_refused() -> None:
    with pytest.raises(TaskInputError, match="has no workspace"):
        run_body(tasks.free, None, {"in.txt": ""})

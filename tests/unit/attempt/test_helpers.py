"""The helpers around an attempt: the body phase alone, free tasks, outputs."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from perago import (
    PostGuardrailViolation,
    PreGuardrailViolation,
    TaskContext,
    TaskExecutionError,
    TaskFailed,
    TaskInputError,
    TaskTerminalError,
    WorkspaceSpec,
    build_workspace_free_task_output,
    build_workspace_task_output,
    invoke_workspace_free_task,
    invoke_workspace_task_body,
    require_file,
    result_for_exception,
    run_workspace_free_task_attempt,
    task,
)
from perago.attempt.phases import Phases
from perago.ports import Phase, SystemClock
from perago.values import redaction

REF = {"repository": "songs", "branch": "main", "ref_type": "commit", "ref": "a" * 40}


class Params(BaseModel):
    text: str = "hello"


class Result(BaseModel):
    said: str


@task(name="write", owner_email="ada@example.org", workspace=WorkspaceSpec())
def write(workspace: Path, params: Params) -> Result:
    (workspace / "out.txt").write_text(params.text)
    return Result(said=params.text)


async def go_boom():
    raise ValueError("it went boom")


@task(name="free", owner_email="ada@example.org")
async def free(params: Params, context: TaskContext) -> Result:
    await asyncio.sleep(0)
    if params.text == "exit":
        raise SystemExit(3)
    if params.text == "boom":
        raise ValueError("it went boom")
    if params.text == "group":
        async with asyncio.TaskGroup() as group:
            group.create_task(go_boom())
    context.progress(1, 2)
    return Result(said=f"{params.text} by {context.task_name}")


class Silent(TaskTerminalError):
    def __init__(self, code):
        self.code = code


class Numbered(TaskTerminalError):
    def __init__(self):
        self.reason = 5


class Unsayable(TaskTerminalError):
    def __init__(self):
        pass

    @property
    def reason(self):
        raise RuntimeError("no reason")

    def __str__(self):
        raise RuntimeError("no text")


WRITE, FREE = write.__perago_task__, free.__perago_task__


def test_the_body_of_a_workspace_task_is_invoked_alone_and_further_fields_are_passed_over(tmp_path):
    said = invoke_workspace_task_body(WRITE, {"workspace": REF, "params": {"text": "a"}, "more": 1}, tmp_path)
    assert said == {"result": {"said": "a"}}
    assert (tmp_path / "out.txt").read_text() == "a"


@task(
    name="of_a_shard",
    owner_email="ada@example.org",
    workspace=WorkspaceSpec(
        pre=[require_file("raw/{text}.txt")], include=["raw/{text}.txt"], outputs=["made/{text}/**"]
    ),
)
def of_a_shard(workspace: Path, params: Params) -> Result:
    (workspace / "made" / params.text / "out.txt").write_text("made")
    return Result(said=params.text)


def test_patterns_of_a_body_that_is_invoked_alone_are_filled(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.txt").touch()
    given = {"workspace": REF, "params": {"text": "a"}}
    assert invoke_workspace_task_body(of_a_shard.__perago_task__, given, tmp_path) == {"result": {"said": "a"}}
    assert (tmp_path / "made" / "a" / "out.txt").read_text() == "made"
    with pytest.raises(PreGuardrailViolation, match=r"raw/b\.txt"):
        invoke_workspace_task_body(of_a_shard.__perago_task__, {"workspace": REF, "params": {"text": "b"}}, tmp_path)


def test_the_body_of_a_free_task_is_invoked_alone():
    assert invoke_workspace_free_task(FREE, {"params": {"text": "a"}, "more": 1}) == {"result": {"said": "a by free"}}


def test_an_async_body_also_runs_where_a_loop_is_running_and_its_error_comes_out():
    async def notebook(text):
        return invoke_workspace_free_task(FREE, {"params": {"text": text}})

    assert asyncio.run(notebook("a")) == {"result": {"said": "a by free"}}
    with pytest.raises(ValueError, match="boom"):
        asyncio.run(notebook("boom"))


def test_the_error_of_an_async_body_has_no_context_of_perago_s():
    with pytest.raises(ValueError, match="boom") as raised:
        invoke_workspace_free_task(FREE, {"params": {"text": "boom"}})
    assert raised.value.__context__ is None


def test_a_failed_task_group_s_reason_names_what_failed_in_it():
    reason = run_workspace_free_task_attempt(FREE, {"params": {"text": "group"}}).reason_for_incompletion
    assert reason == "ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception): ValueError: it went boom"


def test_the_reason_of_a_group_names_some_errors_at_any_depth_each_cut_and_masked():
    inner = ExceptionGroup("of one", [TaskFailed("x" * 900), RuntimeError("token=hunter2")])
    result = result_for_exception(ExceptionGroup("all", [inner, KeyError("name")]), max_length=10_000)
    named = f"{'x' * 166}; RuntimeError: token=**********; KeyError: 'name'"
    assert result.reason_for_incompletion == f"ExceptionGroup: all (2 sub-exceptions): {named}"


@pytest.mark.parametrize("error", [ValueError, TaskFailed, lambda text: ExceptionGroup("all", [ValueError(text)])])
def test_a_reason_with_a_name_that_is_no_utf_8_can_be_sent(error):
    reason = result_for_exception(error(os.fsdecode(b"no caf\xe9.txt"))).reason_for_incompletion
    assert reason.endswith("no caf\\udce9.txt")
    reason.encode()


def test_the_reason_of_a_group_of_many_says_how_many_more_there_are():
    many = ExceptionGroup("all", [ValueError(number) for number in range(7)])
    assert (result_for_exception(many).reason_for_incompletion or "").endswith("; ValueError: 4; and 2 more")


@pytest.mark.parametrize(
    ("raised", "status", "reason"),
    [
        (lambda: TaskFailed(ValueError("no rows")), "FAILED", "no rows"),
        (lambda: TaskFailed(5), "FAILED", "5"),
        (lambda: TaskTerminalError(None), "FAILED_WITH_TERMINAL_ERROR", "None"),
        (lambda: TaskTerminalError({"a": 1}), "FAILED_WITH_TERMINAL_ERROR", "{'a': 1}"),
        (lambda: Silent(7), "FAILED_WITH_TERMINAL_ERROR", "7"),
        (lambda: Numbered(), "FAILED_WITH_TERMINAL_ERROR", "Numbered"),
        (lambda: Unsayable(), "FAILED_WITH_TERMINAL_ERROR", "Unsayable"),
    ],
)
def test_a_reason_that_is_no_text_is_told_as_one_and_the_status_is_kept(raised, status, reason):
    @task(name="raising", owner_email="ada@example.org")
    def raising(params: Params) -> Result:
        raise raised()

    told = run_workspace_free_task_attempt(raising.__perago_task__, {"params": {}})
    assert (told.status, told.reason_for_incompletion) == (status, reason)


def test_the_body_of_a_workspace_task_is_held_to_its_guards(tmp_path):
    @task(
        name="guarded",
        owner_email="ada@example.org",
        workspace=WorkspaceSpec(pre=[require_file("in.txt")], post=[require_file("out.txt")]),
    )
    def guarded(workspace: Path, params: Params) -> Result:
        (workspace / params.text).write_text("made")
        return Result(said=params.text)

    def invoke(name):
        return invoke_workspace_task_body(
            guarded.__perago_task__, {"workspace": REF, "params": {"text": name}}, tmp_path
        )

    with pytest.raises(PreGuardrailViolation, match=r"in\.txt"):
        invoke("in.txt")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "in.txt").write_text("given")
    with pytest.raises(PostGuardrailViolation, match=r"out\.txt"):
        invoke("other.txt")
    assert invoke("out.txt") == {"result": {"said": "out.txt"}}


@pytest.mark.parametrize("missing", ["workspace", "params"])
def test_what_is_missing_of_the_input_is_named(tmp_path, missing):
    given = {name: value for name, value in {"workspace": REF, "params": {}}.items() if name != missing}
    with pytest.raises(TaskInputError, match=missing):
        invoke_workspace_task_body(WRITE, given, tmp_path)


def test_a_helper_for_the_other_kind_of_task_is_named(tmp_path):
    with pytest.raises(TaskInputError, match="invoke_workspace_free_task"):
        invoke_workspace_task_body(FREE, {"params": {}}, tmp_path)
    with pytest.raises(TaskInputError, match="invoke_workspace_task_body"):
        invoke_workspace_free_task(WRITE, {"params": {}})
    with pytest.raises(TaskInputError, match="build_workspace_free_task_output"):
        build_workspace_task_output(FREE, REF, "b" * 40, {"said": "a"})
    with pytest.raises(TaskInputError, match="build_workspace_task_output"):
        build_workspace_free_task_output(WRITE, {"said": "a"})
    with pytest.raises(TaskInputError, match="run_workspace_task_attempt"):
        run_workspace_free_task_attempt(WRITE, {"params": {}})


def test_outputs_keep_repository_branch_and_the_spelling_that_came_in():
    output = build_workspace_task_output(WRITE, REF, "b" * 40, Result(said="a"))
    assert output == {"workspace": {**REF, "ref": "b" * 40}, "result": {"said": "a"}}
    assert build_workspace_free_task_output(FREE, {"said": "a"}) == {"result": {"said": "a"}}


@pytest.mark.parametrize("ref", ["", " ", None, 5])
def test_an_output_without_a_published_commit_is_refused(ref):
    with pytest.raises(TaskInputError, match=rf"published_ref {ref!r} is not a commit id"):
        build_workspace_task_output(WRITE, REF, ref, {"said": "a"})


def test_a_result_with_a_field_too_many_is_refused():
    with pytest.raises(TaskExecutionError, match="more"):
        build_workspace_free_task_output(FREE, {"said": "a", "more": 1})


@pytest.mark.parametrize(
    ("input_data", "status", "told"),
    [
        ({"params": {"text": "a"}}, "COMPLETED", None),
        ({"params": {"text": "a"}, "more": 1}, "COMPLETED", None),
        ({"params": {"text": "exit"}}, "FAILED", "sys.exit(3)"),
        ({"params": {"text": "boom"}}, "FAILED", "ValueError: it went boom"),
        ({"params": {"text": 1}}, "FAILED", "params.text"),
        ({}, "FAILED", "params"),
        ([], "FAILED", "object"),
    ],
)
def test_an_attempt_of_a_free_task_ends_in_a_result(input_data, status, told):
    result = run_workspace_free_task_attempt(FREE, input_data)
    assert result.status == status
    if told is None:
        assert result.output == {"result": {"said": "a by free"}}
    else:
        assert told in result.reason_for_incompletion


def test_secrets_in_what_a_body_tells_of_its_progress_are_masked_for_every_observer(monkeypatch):
    redaction.learn_of("attempt", ["hunter2-hunter2"])
    events = []
    with Phases(events.append, SystemClock(), execution_id="e", task_id="t")(Phase.BODY) as span:
        span.report_progress(1, 2, "logged in with hunter2-hunter2")
        span.report_progress(2, 2, None)
    told = [event.attributes["message"] for event in events if event.kind == "progress"]
    assert told == [f"logged in with {redaction.MASK}", None]


def test_a_command_loads_no_asyncio_for_bodies_that_do_not_use_it():
    modules = "perago.cli.commands.run, perago.running.workflow, perago.attempt.cached, perago.stores.git.store"
    code = f"import sys, {modules}; print({{'asyncio', 'aiohttp'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "set()\n"

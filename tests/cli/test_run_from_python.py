"""`perago.run`: the runs of `perago run`, called from Python."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading

import pytest
from pydantic import SecretStr

import perago as package
from perago import CompletedRun, PreGuardrailViolation, PublishFenceError, TaskDefinitionError, TaskExecutionError
from perago.errors import BranchNotFoundError, TaskInputError, WorkflowDefinitionError
from perago.values.models import Changes
from servers.machine import slowness


@pytest.fixture
def bodies(repository):
    """The tasks of `cli_bodies`; its directory is on the path."""
    import cli_bodies

    return cli_bodies


@pytest.fixture
def workflows(repository, monkeypatch, tmp_path):
    monkeypatch.setenv("CLI_GATE", str(tmp_path / "gate"))
    import cli_workflow

    return cli_workflow


PLACE = {"repo": "data.git", "branch": "main"}


def test_a_task_gives_its_result_as_its_model_its_commit_and_what_changed(perago, repository, bodies):
    done = package.run(bodies.replace_all, {"text": "new"}, **PLACE)
    assert isinstance(done, CompletedRun)
    assert (type(done.result).__name__, done.result.length) == ("Result", 3)
    assert done.commit == repository.head()
    assert done.changes == Changes(added=("in/new.txt",), modified=("in/a.txt",), deleted=("in/b.txt",))
    (listed,) = perago("runs", "--repo", "data.git", "--json").json
    assert (listed["run_id"], listed["target"]) == (done.run_id, "cli_bodies:replace_all")


@pytest.mark.parametrize("how", ["function", "definition", "text"])
def test_a_free_task_runs_in_a_process_of_its_own_however_it_is_named(bodies, how):
    named = {"function": bodies.add, "definition": bodies.add.__perago_task__, "text": "cli_bodies:add"}[how]
    done = package.run(named, {"numbers": [1, 2]})
    assert done.result.total == 3
    assert (done.commit, done.changes) == (None, Changes())


def test_params_are_a_model_too_and_its_secrets_reach_the_body(bodies, repository):
    done = package.run(bodies.write, bodies.Params(text="x", password=SecretStr("open sesame")), **PLACE)
    assert done.result.length == 1
    record = next((repository.repo / "perago" / "runs").rglob("*.json")).read_text()
    assert "open sesame" not in record


def test_a_workflow_gives_the_changes_of_the_whole_run(perago, repository, workflows):
    before = repository.head()
    done = package.run(workflows.plain, {"words": ["a", "b", "c"]}, **PLACE)
    assert done.result.model_dump() == {"written": 3, "read": 3}
    assert (done.changes.added, done.changes.modified) == (("words.txt",), ())
    assert done.commit == repository.head() != before
    (listed,) = perago("runs", "--repo", "data.git", "--json").json
    assert (listed["run_id"], listed["kind"]) == (done.run_id, "workflow")


def test_a_workflow_that_ends_with_writers_beside_each_other_has_the_newest_commit(repository, workflows):
    done = package.run(workflows.writers, **PLACE)
    assert done.commit == repository.head()
    assert done.changes.added == ("one.txt", "two.txt")


def test_it_is_silent_unless_asked_but_for_what_bodies_print(repository):
    def run(more):
        params = "{'words': ['a']}, repo='data.git', branch='main'"
        code = f"import perago, cli_workflow; perago.run(cli_workflow.plain, {params}{more})"
        command = [sys.executable, "-c", code]
        environment = repository.environment
        return subprocess.run(command, cwd=repository.path, env=environment, capture_output=True, text=True, check=True)

    said = run("")
    assert (said.stdout, said.stderr) == ("written\n", "")
    said = run(", progress=True")
    assert said.stdout == ""
    assert "cli_write: COMPLETED in" in said.stderr
    assert "cli_write: written" in said.stderr


def test_a_failed_body_is_raised_with_its_text_its_frames_and_how_to_go_on(bodies):
    with pytest.raises(TaskExecutionError, match="ValueError: evil") as caught:
        package.run(bodies.fail, {"kind": "bug"}, **PLACE)
    notes = "\n".join(caught.value.__notes__)
    assert "cli_bodies.py" in notes
    assert "perago run --resume" in notes
    assert "worker/body" not in notes


def test_a_failed_guard_of_the_input_has_no_note_to_resume(bodies):
    with pytest.raises(PreGuardrailViolation) as caught:
        package.run(bodies.needs_more, **PLACE)
    notes = "\n".join(caught.value.__notes__)
    assert " ended." in notes
    assert "--resume" not in notes


def test_the_error_of_a_failed_workflow_is_that_of_its_task(workflows):
    with pytest.raises(TaskExecutionError, match="the gate is closed") as caught:
        package.run(workflows.gated, {"words": ["a"]}, **PLACE, fast_retries=True)
    notes = "\n".join(caught.value.__notes__)
    assert "task 'cli_gate' is FAILED: the gate is closed" in notes
    assert "perago run --resume" in notes


def test_retries_are_those_that_are_given(perago, repository, bodies, workflows, tmp_path):
    done = package.run(bodies.fail_once, {"text": "x", "touch": str(tmp_path / "once")}, **PLACE, retries=1)
    assert done.result.length == 1
    with pytest.raises(TaskExecutionError, match="the gate is closed"):
        package.run(workflows.gated, {"words": ["a"]}, **PLACE, retries=0)
    of_workflow, of_task = perago("runs", "--repo", "data.git", "--json").json
    assert (of_task["tries"], [task["tries"] for task in of_workflow["tasks"]]) == (2, [1, 1])
    with pytest.raises(TaskInputError, match="retries=-1 is not in the range 0 to 100"):
        package.run(bodies.write, **PLACE, retries=-1)


def test_a_violated_guard_and_a_refused_publication_are_raised_as_what_they_are(repository, bodies):
    with pytest.raises(PreGuardrailViolation):
        package.run(bodies.needs_more, **PLACE)
    old = repository.head()
    package.run(bodies.write, **PLACE)
    with pytest.raises(PublishFenceError):
        package.run(bodies.write, {"text": "late"}, **PLACE, ref=old)


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({}, TaskInputError, "repo= is missing"),
        ({"repo": "data.git"}, TaskInputError, "branch= is missing"),
        ({**PLACE, "branch": "none"}, BranchNotFoundError, "no branch 'none'"),
        ({**PLACE, "params": {"text": 1}}, TaskInputError, "params.text"),
        ({**PLACE, "params": object()}, TaskInputError, "params is a object"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_begun(perago, bodies, given, error, text):
    with pytest.raises(error, match=text):
        package.run(bodies.write, **given)
    assert perago("runs", "--repo", "data.git", "--json").json == []


def test_what_is_no_task_is_refused(bodies, workflows):
    with pytest.raises(TaskDefinitionError, match="neither a task nor a workflow"):
        package.run(len)
    with pytest.raises(TaskInputError, match="leave branch= and ref= out"):
        package.run(bodies.add, {"numbers": [1]}, branch="main")
    with pytest.raises(WorkflowDefinitionError, match=r"params\.words"):
        package.run(workflows.plain, {"words": 1}, **PLACE)


def test_it_runs_within_a_running_event_loop_and_in_another_thread(bodies):
    async def call():
        return package.run(bodies.add, {"numbers": [1]}).result.total

    assert asyncio.run(call()) == 1
    found = []
    thread = threading.Thread(target=lambda: found.append(package.run(bodies.add, {"numbers": [2]}).result.total))
    thread.start()
    thread.join(60)
    assert found == [2]


SCRIPT = """
import os, sys
from pydantic import BaseModel
import perago
from perago import Flow, TaskContext, task, workflow

class Nothing(BaseModel): ...
class Process(BaseModel):
    pid: int

@task(name="here", owner_email="tests@example.org")
def here(params: Nothing) -> Process:
    return Process(pid=os.getpid())

@task(name="waits", owner_email="tests@example.org")
def waits(params: Nothing, context: TaskContext) -> Process:
    import pathlib, time
    pathlib.Path("begun").touch()
    time.sleep(600)
    return Process(pid=os.getpid())

@workflow(name="flow", owner_email="tests@example.org")
def flow(flow: Flow) -> Process:
    with flow.parallel():
        first = flow.run(here)
        flow.run(here, ref_="beside")
    return first

GUARD:
    OF
"""


def _python(project, body, *, guard='if __name__ == "__main__"', file="script.py"):
    text = SCRIPT.replace("GUARD", guard).replace("OF", body)
    if file is None:
        command = [sys.executable, "-c", text]
    else:
        (project.path / file).write_text(text)
        command = [sys.executable, file]
    return subprocess.Popen(
        command,
        cwd=project.path,
        env=project.environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_task_of_a_script_runs_in_a_process_of_its_own(perago, project):
    process = _python(project, "print(perago.run(here).result.pid, os.getpid())")
    out, err = process.communicate(timeout=60 * slowness())
    assert process.returncode == 0, err
    body, caller = out.split()
    assert body != caller
    assert err == ""
    (listed,) = perago("runs", "--json").json
    assert listed["target"] == "script:here"


def test_a_script_that_runs_itself_when_it_is_imported_is_told_so(project):
    process = _python(project, "perago.run(here)", guard="if True")
    _, err = process.communicate(timeout=60 * slowness())
    assert process.returncode == 1
    assert "Put the call below" in err


@pytest.mark.parametrize("target", ["here", "flow"])
def test_tasks_without_a_module_run_in_this_process_which_is_told_once(project, target):
    twice = f"print(*[perago.run({target}).result.pid for _ in range(2)], os.getpid())"
    process = _python(project, twice, file=None)
    out, err = process.communicate(timeout=60 * slowness())
    assert process.returncode == 0, err
    assert len(set(out.split())) == 1
    assert err.count("Such a body runs in this process") == 1


def test_ctrl_c_ends_a_body_in_this_process_at_once(perago, project):
    process = _python(project, "perago.run(waits)", file=None)
    project.wait_for(project.path / "begun")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60 * slowness())
    assert "KeyboardInterrupt" in err
    assert perago("runs", "--json").json[0]["status"] == "CANCELED"


@pytest.mark.parametrize("target", ["waits", "flow"])
def test_ctrl_c_ends_a_run_whole(perago, repository, target):
    """The body's process is gone when KeyboardInterrupt is raised, and the run is recorded as cancelled."""
    module, name = {"waits": ("cli_bodies", "write"), "flow": ("cli_workflow", "waiting")}[target]
    there = repository.path / "there"
    params = {"touch": str(there), "wait_for": "never"} if target == "waits" else {"words": ["a"]}
    code = (
        f"import perago, {module}\n"
        f"try: perago.run({module}.{name}, {params!r}, repo='data.git', branch='main')\n"
        f"except KeyboardInterrupt as exc: print('interrupted', *exc.__notes__)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=repository.path,
        env=repository.environment | {"CLI_GATE": str(there)},
        text=True,
        stdout=subprocess.PIPE,
    )
    body = repository.wait_for(there)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60 * slowness())
    assert "interrupted Run " in out
    assert "perago run --resume" in out
    if target == "waits":
        with pytest.raises(ProcessLookupError):
            os.kill(int(body), 0)
    (listed,) = perago("runs", "--repo", "data.git", "--json").json
    assert listed["status"] == ("CANCELED" if target == "waits" else "TERMINATED")


def test_importing_perago_imports_neither_ipython_nor_what_runs(project):
    heavy = ("IPython", "perago.running", "pydantic")
    code = f"import perago, sys; print(*[name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=project.environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("name", ["task", "workflow"])
def test_it_works_on_lakefs(songs, name):
    import cli_bodies
    import cli_workflow

    place = {"repo": songs.on_main[1], "branch": "main"}
    if name == "task":
        done = package.run(cli_bodies.replace_all, {"text": "new"}, **place)
        assert done.changes == Changes(added=("in/new.txt",), modified=("in/a.txt",), deleted=("in/b.txt",))
    else:
        done = package.run(cli_workflow.plain, {"words": ["a"]}, **place)
        assert done.changes == Changes(added=("words.txt",))
    assert done.commit == songs.head()


MULTIPLYING = """
from pydantic import BaseModel, Field, field_validator
from perago import Flow, task, workflow

class Given(BaseModel):
    x: int

class Tenfold(BaseModel):
    x: int = Field(lt=100)

    @field_validator("x")
    @classmethod
    def multiply(cls, value: int) -> int:
        return value * 10

@task(name="tenfold", owner_email="t@example.org")
def tenfold(params: Given) -> Tenfold:
    return Tenfold(x=params.x)

@workflow(name="tens", owner_email="t@example.org")
def tens(flow: Flow, params: Given) -> Tenfold:
    return flow.run(tenfold, x=params.x)
"""


@pytest.mark.parametrize("target", ["multiplying:tenfold", "multiplying:tens"])
def test_a_result_is_not_validated_again_when_it_is_read_back(perago, project, monkeypatch, target):
    monkeypatch.syspath_prepend(project.path)
    (project.path / "multiplying.py").write_text(MULTIPLYING)
    for given in (3, 30):
        done = package.run(target, {"x": given})
        assert type(done.result).__name__ == "Tenfold"
        assert done.result.x == perago("run", target, "--param", f"x={given}").json["x"] == given * 10

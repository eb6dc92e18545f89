"""Code that changes while `perago run` is at work: a retry takes it up, and its stamp says which code ran."""

from __future__ import annotations

import pytest

from perago import run as run_from_python
from perago.errors import TaskExecutionError

HEAD = """
from pathlib import Path
from pydantic import BaseModel
from perago import *
import help_changing

OWNER = "a@example.org"
HERE = Path(__file__).parent

class Number(BaseModel):
    number: int = 0

@workflow(name="changing", owner_email=OWNER)
def both(flow: Flow) -> Number:
    flow.run(change)
    return flow.run(after)

@task(name="after", owner_email=OWNER, workspace=WorkspaceSpec())
def after(workspace: Path, params: Number) -> Number:
    (workspace / "after.txt").write_text(VERSION)
    return Number(number=len(VERSION))
"""

CHANGE = """
@task(name="change", owner_email=OWNER, workspace=WorkspaceSpec(post=[{guard}]),
      controls=TaskControls(retry=RetryPolicy(count=1, delay_seconds=0)))
def change(workspace: Path, params: Number) -> Number:
    (workspace / "version.txt").write_text(VERSION + help_changing.HELP)
    for file in HERE.glob("*.next"):
        file.rename(file.with_suffix(".py"))
    {then}
    return Number(number=len(VERSION))
"""

FAILS = 'raise TaskFailed(f"of {VERSION}")'
ON = ("--repo", "data.git", "--branch", "main")


def module(version: str, *, then: str = "pass", guard: str = "") -> str:
    workflow_last = HEAD.split("@workflow")
    work, after = workflow_last[1].split("@task")
    return "".join(
        [
            workflow_last[0],
            f'VERSION = "{version}"\n@task',
            after,
            CHANGE.format(then=then, guard=guard),
            f"\n@workflow{work}",
        ]
    )


@pytest.fixture
def changing(repository, monkeypatch):
    """Writes the module, and the files that the body of its task `change` replaces others with."""

    def write(first: str, **following: str):
        (repository.path / "changing.py").write_text(first)
        (repository.path / "help_changing.py").write_text('HELP = ""\n')
        for name, text in following.items():
            (repository.path / f"{name}.next").write_text(text)
        return repository

    monkeypatch.syspath_prepend(repository.path)
    return write


@pytest.fixture
def digest(perago):
    """The code digest in the stamp of the newest commit."""

    def read() -> str:
        (newest,) = perago("log", *ON, "-n", "1", "--json").json
        return newest["stamp"]["code_digest"]

    return read


def test_a_retry_runs_what_its_file_has_become_and_its_stamp_says_so(perago, changing, digest):
    project = changing(module("one", then=FAILS), changing=module("the second"))
    said = perago("run", "changing:change", *ON, "--retries", "1")
    assert said.code == 0, said.err
    assert "try 1 failed: of one" in said.err
    assert "Changed since the tasks were loaded: changing.py. The tasks are loaded anew." in said.err
    assert (project.show("version.txt"), said.json) == ("the second", {"number": 10})
    of_the_retry = digest()
    project.git("update-ref", "refs/heads/main", "refs/heads/main~1")
    assert perago("run", "changing:change", *ON).code == 0
    assert digest() == of_the_retry


def test_a_change_of_a_module_beside_is_taken_up_too(perago, changing):
    project = changing(module("one", then='if not help_changing.HELP: raise TaskFailed("help")'))
    (project.path / "help_changing.next").write_text('HELP = " with help"\n')
    said = perago("run", "changing:change", *ON, "--retries", "1")
    assert said.code == 0, said.err
    assert "loaded: help_changing.py. The tasks are loaded anew." in said.err
    assert project.show("version.txt") == "one with help"


def test_the_declaration_is_that_of_the_new_code(perago, changing):
    project = changing(module("one", then=FAILS), changing=module("the second", guard='require_file("not-there.txt")'))
    before = project.head()
    said = perago("run", "changing:change", *ON, "--retries", "1")
    assert said.code == 1
    assert "not-there.txt" in said.err
    assert project.head() == before


def test_code_that_cannot_be_loaded_fails_the_try_and_the_run_goes_on_with_mended_code(perago, changing):
    project = changing(module("one", then=FAILS), changing="this is no Python\n")
    said = perago("run", "changing:both", *ON, "--fast-retries", "--json")
    assert (said.code, said.json["tasks"][0]["tries"]) == (1, 2)
    assert "changing.py" in said.json["reason"]
    (project.path / "changing.py").write_text(module("the third version"))
    again = perago("run", "--resume", said.json["run_id"], "--repo", "data.git")
    assert (again.code, again.json) == (0, {"number": 17}), again.err


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_in_a_workflow_what_follows_a_retry_runs_the_new_code_too(perago, changing, digest, jobs):
    project = changing(module("one", then=FAILS), changing=module("the second"))
    said = perago("run", "changing:both", *ON, "--fast-retries", "-j", jobs)
    assert said.code == 0, said.err
    assert said.err.count("The tasks are loaded anew") == 1
    assert (project.show("version.txt"), project.show("after.txt")) == ("the second", "the second")
    assert perago("run", "changing:after", *ON).code == 0
    assert digest_of_each(perago) == {digest()}


def test_without_a_retry_an_edit_on_the_side_changes_nothing(perago, changing, digest):
    project = changing(module("one"))
    assert perago("run", "changing:after", *ON).code == 0
    of_the_first = digest()
    (project.path / "changing.next").write_text(module("the second"))
    said = perago("run", "changing:both", *ON)
    assert said.code == 0, said.err
    assert (project.show("version.txt"), project.show("after.txt")) == ("one", "one")
    assert digest_of_each(perago) == {of_the_first}


def test_perago_run_from_python_keeps_the_code_that_its_caller_holds_and_says_so(perago, changing, capsys):
    project = changing(module("one", then=FAILS), changing=module("the second"))
    before = project.head()
    with pytest.raises(TaskExecutionError, match="of one"):
        run_from_python("changing:both", repo="data.git", branch="main", fast_retries=True, progress=True)
    assert "changing.py. This run continues with its old code" in capsys.readouterr().err
    assert project.head() == before


def test_a_run_from_python_stamps_the_code_on_disk_which_its_bodies_load(changing, digest):
    project = changing(module("one"))
    run_from_python("changing:after", repo="data.git", branch="main")
    of_the_first = digest()
    (project.path / "changing.py").write_text(module("the second"))
    run_from_python("changing:after", repo="data.git", branch="main")
    assert project.show("after.txt") == "the second"
    of_the_second = digest()
    project.git("update-ref", "refs/heads/main", "refs/heads/main~1")
    assert project.run("run", "changing:after", *ON).code == 0
    assert of_the_first != of_the_second == digest()


def digest_of_each(perago) -> set[str]:
    """The code digests in the stamps of all commits of the module's tasks."""
    stamps = [entry.get("stamp") for entry in perago("log", *ON, "-n", "10", "--json").json]
    return {stamp["code_digest"] for stamp in stamps if stamp}

"""`perago check` and `perago extract`, and how a task module is found."""

from __future__ import annotations

import json

import pytest

from perago.worker.body.sandbox import ability

TASK = """
from pathlib import Path
from pydantic import BaseModel, SecretStr
from perago import *

class Params(BaseModel):
    rows: int
    token: SecretStr = SecretStr("hunter2")

class Result(BaseModel):
    read: int
"""
INNER = """
class Inner(BaseModel):
    depth: int = 2
    name: str = "tree"
    secret: SecretStr = SecretStr("hunter2")

"""
BUILD = """
@task(name="{name}", owner_email="a@example.org", workspace=WorkspaceSpec(prefix="data", pre=[require_file("a.csv")]),
      controls=TaskControls(retry=RetryPolicy(count=2)){more})
def {name}(workspace: Path, params: Params) -> Result:
    return Result(read=params.rows)
"""
TWINS = BUILD.format(name="one", more="") + BUILD.format(name="one", more="").replace("def one", "def two")
SHORT = """
budget = PublishBudget(observed_merge_p99_seconds=1, safety_margin_seconds=1, lakefs_merge_timeout_seconds=600,
    conductor_completion_timeout_seconds=60, worker_shutdown_grace_seconds=60, heartbeat_interval_seconds=5)

@task(name="short", owner_email="a@example.org", workspace=WorkspaceSpec(),
      controls=TaskControls(publish_budget=budget))
def short(workspace: Path, params: Params) -> Result:
    return Result(read=params.rows)
"""


@pytest.fixture
def module(project):
    """Write a module into the project's directory, which is not on PYTHONPATH."""

    def write(name: str, *parts: str) -> None:
        (project.path / f"{name}.py").write_text("".join(parts))

    return write


def test_check_shows_the_task_of_a_module_and_the_settings(module, perago, project):
    module("check_one", TASK, BUILD.format(name="build", more=""))
    said = perago("check", "check_one")
    assert said.code == 0
    for line in (
        "Task check_one:build",
        "  name         build",
        "  signature    (workspace: Path, params: Params) -> Result",
        "  params       rows: int",
        "               token: SecretStr (optional)",
        "  workspace    data (read and write, serializable)",
        "  guards       before: require_file a.csv",
        "  retries      2, FIXED, 60 s apart",
        f"  workspaces   {project.workspace_root}",
        "  conductor    not configured",
    ):
        assert line in said.out.splitlines()
    assert said.err == ""
    assert "hunter2" not in said.out


def test_check_tells_the_tasks_of_one_factory_apart_and_what_each_is_warned_of(module, perago):
    factory = """
def make(name, **options):
    @task(name=name, owner_email="a@example.org", **options)
    def made(workspace: Path, params: Params) -> Result:
        return Result(read=params.rows)
    return made
"""
    budget = SHORT.partition("\n\n@task")[0]
    kept = (
        "\nTASKS = [make('short', workspace=WorkspaceSpec(), controls=TaskControls(publish_budget=budget)),"
        " make('long', workspace=WorkspaceSpec())]\n"
    )
    module("check_made", TASK, factory, budget, kept)
    short, long = perago("check", "check_made", "--json").json["tasks"]
    assert [short["name"], len(short["warnings"]), long["name"], long["warnings"]] == ["short", 1, "long", []]
    said = perago("check", "check_made")
    assert [line for line in said.out.splitlines() if line.startswith("Task ")] == [
        "Task check_made:short",
        "Task check_made:long",
    ]
    assert said.err.count("warning: ") == 1
    assert perago("check", "check_made:long").out.startswith("Task check_made:long\n  name         long\n")


def test_check_shows_every_task_of_a_module_or_the_one_that_is_named(module, perago):
    module("check_two", TASK, BUILD.format(name="one", more=""), BUILD.format(name="two", more=""))
    assert [task["name"] for task in perago("check", "check_two", "--json").json["tasks"]] == ["one", "two"]
    assert [task["name"] for task in perago("check", "check_two:two", "--json").json["tasks"]] == ["two"]


def test_check_takes_several_modules(module, perago):
    module("check_two", TASK, BUILD.format(name="one", more=""), BUILD.format(name="two", more=""))
    module("check_three", TASK, BUILD.format(name="three", more=""), SHORT)
    said = perago("check", "check_two", "check_three:three", "check_three", "check_two:one")
    assert said.code == 0, said.err
    assert [line for line in said.out.splitlines() if line.startswith(("Task", "Settings"))] == [
        "Task check_two:one",
        "Task check_two:two",
        "Task check_three:three",
        "Task check_three:short",
        "Settings",
    ]
    assert said.err.count("warning: task 'short'") == 1
    told = perago("check", "check_two", "check_three", "--json").json
    assert [task["name"] for task in told["tasks"]] == ["one", "two", "three", "short"]
    module("check_rival", TASK, BUILD.format(name="one", more=""))
    rivals = perago("check", "check_two", "check_rival")
    assert (rivals.code, "check_two:one and check_rival:one are both named 'one'" in rivals.err) == (2, True)


def test_check_warns_of_a_response_timeout_that_is_too_short(module, perago):
    module("check_short", TASK, SHORT)
    said = perago("check", "check_short")
    assert said.code == 0
    assert said.err.startswith("warning: task 'short': timeout.response_seconds=600 is shorter than its publish_budget")
    assert "725 s" in perago("check", "check_short", "--json").json["tasks"][0]["warnings"][0]


def test_check_tells_of_settings_that_are_wrong(module, perago, project):
    module("check_settings", TASK, BUILD.format(name="build", more=""))
    (project.path / "perago.toml").write_text('fence = "loose"\nlog_rot = "x"\n')
    said = perago("check", "check_settings")
    assert said.code == 2
    assert "PERAGO_FENCE (`fence` in perago.toml) must be 'exact' or 'cooperative'" in said.err
    assert "did you mean `log_root`?" in said.err
    assert said.out == ""


def test_check_shows_bounds_and_those_defaults_that_are_no_secrets(module, perago):
    fields = (
        "share: float = Field(0.5, gt=0, le=1)\n    on: bool = True\n    last: int | None = None\n"
        "    rows: int = Field(ge=1)\n    few: conint(ge=1, le=9) = 3\n"
        "    user: str = 'ada'\n    mode: Literal['a', 'b'] = 'a'\n    password: int = 12345\n"
        "    many: list[int] = []\n"
        "    where: Path = Path('in/raw')\n    url: str = 'https://ada:hunter2@example.org/x'\n"
        "    inner: Inner = Inner()\n    made: list[str] = Field(default_factory=list)\n"
        "    long: str = 'x' * 500\n    odd: str = '\\x1b[2J\\u202e'\n    other: object = object()"
    )
    module(
        "check_fields",
        TASK.replace("class Params", "from typing import Literal\n" + INNER + "class Params")
        .replace("rows: int", fields, 1)
        .replace("SecretStr\n", "SecretStr, Field, conint\n"),
        BUILD.format(name="b", more=""),
    )
    assert perago("check", "check_fields", "--json").json["tasks"][0]["params"] == [
        "share: float (default 0.5, > 0, <= 1)",
        "on: bool (default true)",
        "last: int | None (default null)",
        "rows: int (>= 1)",
        "few: int (default 3, >= 1, <= 9)",
        'user: str (default "ada")',
        "mode: Literal['a', 'b'] (default \"a\")",
        "password: int (optional)",
        "many: list[int] (default [])",
        'where: Path (default "in/raw")',
        'url: str (default "https://**********@example.org/x")',
        'inner: Inner (default {"depth": 2, "name": "tree", "secret": "**********"})',
        "made: list[str] (default list())",
        f'long: str (default "{"x" * 58}…)',
        r'odd: str (default "\u001b[2J\u202e")',
        "other: object (optional)",
        "token: SecretStr (optional)",
    ]


def test_check_says_what_the_workers_of_a_module_are_like(module, perago):
    module("check_workers", TASK, BUILD.format(name="build", more=""))
    said = perago("check", "check_workers").out.splitlines()
    assert "  workers      ids begin with checkworkers; bodies run in processes of their own" in said


def test_check_makes_no_directory_and_tells_where_none_can_be_made(module, perago, project, monkeypatch):
    module("check_roots", TASK, BUILD.format(name="build", more=""))
    monkeypatch.setenv("PERAGO_LOG_ROOT", str(project.path / "new/logs"))
    assert perago("check", "check_roots").code == 0
    assert not project.workspace_root.exists()
    assert not (project.path / "new").exists()
    (project.path / "new").write_text("in the way")
    said = perago("check", "check_roots")
    assert said.code == 2
    root = f"{project.path}/new/logs"
    fault = f"PERAGO_LOG_ROOT (the environment) is {root}, which cannot be written: Not a directory. Give a directory"
    assert fault in said.err


def test_check_tells_of_directories_that_cannot_even_be_looked_at(module, perago, project, monkeypatch):
    module("check_unseen", TASK, BUILD.format(name="build", more=""))
    (project.path / "dangling").symlink_to("nowhere")
    for name, why in (("x" * 300, "File name too long"), ("dangling", "No such file or directory")):
        monkeypatch.setenv("PERAGO_WORKSPACE_ROOT", str(project.path / name))
        said = perago("check", "check_unseen")
        root = project.path / name
        assert said.code == 2
        assert f"PERAGO_WORKSPACE_ROOT (the environment) is {root}, which cannot be written: {why}. Give" in said.err
        assert said.out == ""


def test_check_shows_whether_this_host_can_enforce_a_sandbox(module, perago):
    module("check_servers", TASK, BUILD.format(name="build", more=""))
    for said in (perago("check", "check_servers"), perago("check", "check_servers", "--json")):
        assert f"off; {ability()}" in " ".join(said.out.split())


def test_check_shows_servers_without_their_secrets(module, perago, project):
    module("check_servers", TASK, BUILD.format(name="build", more=""))
    (project.path / ".env").write_text(
        "CONDUCTOR_SERVER_URL=http://user:hunter2@conductor/api\nLAKECTL_SERVER_ENDPOINT_URL=http://lakefs\n"
        "LAKECTL_CREDENTIALS_ACCESS_KEY_ID=AKIA\nLAKECTL_CREDENTIALS_SECRET_ACCESS_KEY=hunter2\n"
    )
    for said in (perago("check", "check_servers"), perago("check", "check_servers", "--json")):
        assert said.code == 0
        assert "conductor/api" in said.out
        assert "http://lakefs" in said.out
        assert "LAKECTL_CREDENTIALS_ACCESS_KEY_ID (.env)" in said.out
        assert "hunter2" not in said.out + said.err


@pytest.mark.parametrize("command", [("check",), ("extract", "-o", "out.json")])
@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("check_nowhere", "there is no module 'check_nowhere'"),
        ("check_broken", "check_broken.py, line 1: ZeroDivisionError"),
        ("check_none", "module 'check_none' declares no task"),
        ("check_pair:three", "module 'check_pair' has no 'three'; its tasks are check_pair:one, check_pair:two"),
        ("check_bad", "owner_email"),
        ("check_twins:two", "check_twins:one and check_twins:two are both named 'one'"),
        ("check_pair.py", "is a file path. Use a module name: check_pair or"),
    ],
)
def test_a_module_that_is_wrong_exits_with_2_and_writes_nothing(module, perago, project, command, target, said):
    module("check_broken", "1 / 0")
    module("check_none", TASK)
    module("check_pair", TASK, BUILD.format(name="one", more=""), BUILD.format(name="two", more=""))
    module(
        "check_twins",
        TASK,
        BUILD.format(name="one", more=""),
        BUILD.format(name="one", more="").replace("def one", "def two"),
    )
    module("check_bad", TASK, BUILD.format(name="build", more="").replace("a@example.org", " "))
    done = perago(command[0], target, *command[1:])
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert said in done.err
    assert not (project.path / "out.json").exists()


def test_check_refuses_two_tasks_of_one_name(module, perago):
    module(
        "check_same",
        TASK,
        BUILD.format(name="one", more=""),
        BUILD.format(name="one", more="").replace("def one", "def two"),
    )
    said = perago("check", "check_same")
    assert said.code == 2
    assert "check_same:one and check_same:two are both named 'one'" in said.err
    assert "Rename one of them" in said.err


def test_extract_writes_the_taskdef(module, perago, project):
    module("extract_one", TASK, BUILD.format(name="build", more=', description="Builds."'))
    said = perago("extract", "extract_one", "-o", "out/build.json")
    assert said.code == 0
    assert said.out == "Wrote the TaskDef of task build to out/build.json\n"
    taskdef = json.loads((project.path / "out" / "build.json").read_text())
    assert (taskdef["name"], taskdef["retryCount"]) == ("build", 2)
    assert perago("extract", "extract_one", "-o", "x.json", "--json").json == {"task": "build", "output": "x.json"}


def test_extract_wants_one_task_and_lists_them_where_there_are_several(module, perago):
    module("extract_two", TASK, BUILD.format(name="one", more=""), BUILD.format(name="two", more=""))
    said = perago("extract", "extract_two", "-o", "out.json")
    assert said.code == 2
    assert "declares 2 tasks; name one of them: extract_two:one, extract_two:two" in said.err
    assert perago("extract", "extract_two:two", "-o", "out.json").code == 0


def test_extract_warns_without_file_and_line(module, perago):
    module("extract_short", TASK, SHORT)
    said = perago("extract", "extract_short", "-o", "out.json")
    assert said.code == 0
    assert said.err.startswith("warning: task 'short':")
    assert ".py" not in said.err


@pytest.mark.parametrize(("output", "said"), [("out.txt", ".json"), ("file/out.json", "cannot be written")])
def test_extract_needs_a_file_that_can_be_written(module, perago, project, output, said):
    module("extract_one_more", TASK, BUILD.format(name="build", more=""))
    (project.path / "file").write_text("")
    done = perago("extract", "extract_one_more", "-o", output)
    assert done.code == 2
    assert said in done.err


def test_the_installed_program_finds_modules_in_the_current_directory(module, project):
    module("check_here", TASK, BUILD.format(name="build", more=""))
    assert project.run("check", "check_here", env={"PYTHONPATH": ""}).code == 0

"""Finding a task by its module's import path."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import re
import sys
import textwrap
import traceback
from pathlib import Path

import pytest

from perago import TaskDefinitionError, invoke_workspace_free_task, load_module_task
from perago.tasks import declare
from perago.tasks.load import load_module_tasks, module_tasks

_numbers = itertools.count()

HEAD = "from pydantic import BaseModel\nfrom perago import task\nclass P(BaseModel):\n    x: int = 0\n"
TASK = "@task(name={0!r}, owner_email='t@example.org')\ndef {0}(params: P) -> P:\n    return params\n"


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a module, and give the unique name that it can be imported by."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write_module(*tasks, code="", before="", package=None, name=None):
        name = name or f"load_case_{next(_numbers)}"
        folder = tmp_path if package is None else tmp_path / package
        text = HEAD + textwrap.dedent(before) + "".join(TASK.format(task) for task in tasks) + textwrap.dedent(code)
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(text)
        return name if package is None else f"{package}.{name}"

    return write_module


def fault_of(target):
    with pytest.raises(TaskDefinitionError) as caught:
        load_module_task(target)
    return str(caught.value)


def test_the_one_task_of_a_module_is_found(write):
    module = write("build")
    assert load_module_task(module).name == "build"
    assert load_module_task(module).target == f"{module}:build"


def test_a_module_in_a_package_without_init_is_found(write):
    assert load_module_task(write("build", package="load_case_package")).name == "build"


def test_each_task_of_a_module_is_found_by_its_function(write):
    module = write("build", "check")
    assert load_module_task(f"{module}:build").name == "build"
    assert load_module_task(f"{module}:check").name == "check"


def test_a_task_with_two_names_in_its_module_is_one(write):
    assert load_module_task(write("build", code="alias = build")).name == "build"


def test_several_tasks_are_listed_as_one_would_name_them(write):
    module = write("build", "check")
    assert fault_of(module) == (f"module {module!r} declares 2 tasks; name one of them: {module}:build, {module}:check")


def test_a_module_without_a_task_says_how_to_declare_one(write):
    module = write()
    assert fault_of(module) == f"module {module!r} declares no task; decorate a function with @perago.task(...)"


def test_an_imported_task_counts_where_it_is_defined(write):
    home = write("build")
    mixed = write("check", before=f"from {home} import build\n")
    assert load_module_task(mixed).name == "check"
    assert load_module_task(f"{mixed}:build").name == "build"


def test_a_module_that_only_imports_tasks_says_where_they_are(write):
    home = write("build")
    importing = write(before=f"from {home} import build\n")
    assert load_module_task(f"{importing}:build").name == "build"
    fault = fault_of(importing)
    assert f"from {home}" in fault
    assert f"{importing}:build" in fault


def test_module_tasks_are_all_that_a_module_has(write):
    home = write("build")
    mixed = write("check", before=f"from {home} import build\n")
    definition = load_module_task(mixed)
    module = __import__(mixed)
    assert {name: task.name for name, task in module_tasks(module).items()} == {"build": "build", "check": "check"}
    assert module_tasks(module)["check"] is definition


STATIC = """
class Tasks:
    class Inner:
        pass
    {0}
    {1}
    def build(params: P) -> P:
        return params
Tasks.Inner.home = Tasks
"""
DECORATORS = ["@staticmethod", "@task(name='build', owner_email='t@example.org')"]


@pytest.mark.parametrize("decorators", [DECORATORS, DECORATORS[::-1], ["", DECORATORS[1]]])
def test_a_static_method_of_a_class_is_found_by_its_module_and_by_its_name(write, decorators):
    module = write(code=STATIC.format(*decorators))
    definition = load_module_task(module)
    assert definition.target == f"{module}:Tasks.build"
    assert load_module_task(definition.target) is definition
    assert [found.target for found in load_module_tasks(module)] == [definition.target]
    assert invoke_workspace_free_task(definition, {"params": {"x": 3}}) == {"result": {"x": 3}}
    assert __import__(module).Tasks.build.__perago_task__ is definition


def test_a_static_method_counts_among_a_module_s_tasks_and_once(write):
    module = write("check", code=STATIC.format(*DECORATORS) + "build = Tasks.build\n")
    assert fault_of(module).endswith(f"declares 2 tasks; name one of them: {module}:Tasks.build, {module}:check")
    assert load_module_task(f"{module}:build").target == f"{module}:Tasks.build"
    assert fault_of(f"{module}:Tasks.bild").startswith(f"module {module!r} has no 'Tasks.bild'; its tasks are ")
    assert fault_of(f"{module}:Tasks").startswith(f"{module}:Tasks is not a task; ")
    assert fault_of(f"{module}:check.more").startswith(f"module {module!r} has no 'check.more'; ")


def test_the_class_of_another_module_counts_there(write):
    home = write(code=STATIC.format(*DECORATORS))
    importing = write("check", before=f"from {home} import Tasks\n")
    assert load_module_task(importing).name == "check"


def test_the_target_is_called_by_its_published_name(write):
    assert load_module_task(module_target=write("build")).name == "build"


def test_a_function_that_is_not_there_or_no_task_is_told_from_each_other(write):
    module = write("build", code="def helper(): ...\n")
    assert (
        fault_of(f"{module}:bild")
        == f"module {module!r} has no 'bild'; its tasks are {module}:build; did you mean {module}:build?"
    )
    assert fault_of(f"{module}:helper") == (
        f"{module}:helper is not a task; decorate it with @perago.task(...); its tasks are {module}:build"
    )
    assert fault_of(f"{write()}:x").endswith("it has no tasks")


def test_looking_for_tasks_runs_nothing_of_the_module_s_values(write):
    module = write(
        "build",
        code="""
        class Lazy:
            def __getattr__(self, name):
                raise RuntimeError("looked at")
        lazy = Lazy()
        """,
    )
    assert load_module_task(module).name == "build"


KEPT_ELSEWHERE = {
    "dict": "TASKS = {'build': make('build')}",
    "list": "TASKS = [make('build')]",
    "namespace": "import types\nTASKS = types.SimpleNamespace(build=make('build'))",
    "instance": "class Service:\n    def __init__(self):\n        self.run = make('build')\nSERVICE = Service()",
    "dropped": "make('build')",
    "deleted": TASK.format("build") + "del build",
    "rebound": TASK.format("build") + "build = len",
    "wrapped": "def shout(fn):\n    return lambda *given: fn(*given)\n@shout\n" + TASK.format("build"),
    "wrapped by an instance": (
        "class Timed:\n    def __init__(self, fn):\n        self.timed = fn\n    def __call__(self, *given):\n"
        "        return self.timed(*given)\n@Timed\n" + TASK.format("build")
    ),
}
FACTORY = (
    "def make(name):\n    @task(name=name, owner_email='t@example.org')\n    def made(params: P) -> P:\n"
    "        return params\n    return made\n"
)


@pytest.mark.parametrize("code", KEPT_ELSEWHERE.values(), ids=KEPT_ELSEWHERE)
def test_a_task_that_a_module_keeps_elsewhere_than_under_a_name_is_found_as_in_0_6(write, code):
    module = write(code=FACTORY + code + "\n")
    definition = load_module_task(module)
    assert definition.name == "build"
    assert load_module_tasks(module) == [definition]
    assert load_module_task(definition.target) is definition
    assert invoke_workspace_free_task(definition, {"params": {"x": 3}}) == {"result": {"x": 3}}


def test_several_tasks_of_one_factory_are_found_by_the_names_of_the_tasks(write):
    module = write(code=FACTORY + "TASKS = [make('build-all'), make('check')]\n")
    assert fault_of(module) == (
        f"module {module!r} declares 2 tasks; name one of them: {module}:build-all, {module}:check"
    )
    assert [found.name for found in load_module_tasks(module)] == ["build-all", "check"]
    assert load_module_task(f"{module}:build-all").name == "build-all"
    assert load_module_task(f"{module}:check").name == "check"
    assert f"module {module!r} has no 'build'" in fault_of(f"{module}:build")


def test_a_task_under_a_name_of_its_module_is_found_before_those_kept_elsewhere(write):
    module = write("build", code=FACTORY + "make('made')\n" + TASK.format("old") + "del old\n")
    assert load_module_task(module).name == "build"
    assert load_module_task(f"{module}:old").name == "old"
    assert load_module_task(f"{module}:make.<locals>.made").name == "made"


def test_a_task_that_a_module_has_declared_anew_is_found_as_it_is_now(write, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # it would be taken for that of the new source
    module = write(code=FACTORY + "make('build')\n")
    first = load_module_task(module)
    again = importlib.reload(sys.modules[module])
    assert load_module_task(module) is not first
    assert load_module_task(module).fn.__globals__ is vars(again)
    del sys.modules[module]
    (tmp_path / f"{module}.py").write_text(HEAD + "# without it\n")
    importlib.invalidate_caches()
    assert fault_of(module).startswith(f"module {module!r} declares no task")


def test_what_a_module_keeps_of_another_module_s_counts_there(write):
    home = write("build")
    keeping = write(before=f"from {home} import build\n", code="TASKS = [build]\ndel build\n")
    assert fault_of(keeping).startswith(f"module {keeping!r} declares no task")


def test_no_task_is_lost_where_a_function_is_named_as_a_task_of_a_factory(write):
    named = TASK.format("a").replace("name='a'", "name='x'")
    module = write(code=FACTORY + named + "TASKS = [a, make('a'), make('b')]\ndel a\n")
    assert names_in(module) == ["x", "a", "b"]
    for name in ("x", "a", "b"):
        assert load_module_task(f"{module}:{name}").name == name
    for found in load_module_tasks(module):
        assert load_module_task(found.target) is found
    assert fault_of(module).endswith(f"{module}:a, {module}:b, {module}:x")


def test_two_tasks_that_nothing_tells_apart_are_both_found_and_refused_by_their_name(write):
    other = FACTORY.replace("make(", "other(")
    module = write(code=FACTORY + other + "TASKS = [make('a'), make('b'), other('a'), other('c')]\n")
    assert names_in(module) == ["a", "b", "a", "c"]
    assert load_module_task(f"{module}:b").name == "b"
    assert fault_of(f"{module}:a") == (
        f"module {module!r} declares 2 tasks with the address {module}:a; rename one of them"
    )


def test_the_target_of_each_task_of_one_factory_finds_that_task(write):
    module = write(code=FACTORY + "first = make('build')\nTASKS = [make('check')]\n")
    first = load_module_task(f"{module}:first")
    assert first.target == f"{module}:build"
    assert load_module_task(first.target) is first
    kept = write(code=FACTORY + "TASKS = [make('build-all'), make('check')]\n")
    found = load_module_tasks(kept)
    assert [one.target for one in found] == [f"{kept}:build-all", f"{kept}:check"]
    assert [load_module_task(one.target) for one in found] == found


def names_in(module):
    return [found.name for found in load_module_tasks(module)]


@pytest.mark.parametrize("first", [load_module_tasks, importlib.import_module], ids=["loaded", "imported"])
def test_a_module_declares_what_it_does_while_it_is_imported_whatever_others_make_by_it(write, first):
    home = write(code=FACTORY + "TASKS = [make('build'), make('check')]\n")
    other = write(before=f"from {home} import make\n", code="made = make('other')\n")
    first(home)
    importlib.import_module(other)
    assert names_in(home) == ["build", "check"]
    assert load_module_task(f"{other}:made").name == "other"


def test_a_module_declares_the_same_whether_it_or_one_that_it_imports_comes_first(write):
    for home_first in (True, False):
        user = write()
        home = write(code=FACTORY + f"TASKS = [make('build')]\nimport {user}\nTASKS.append(make('check'))\n")
        path = Path(importlib.util.find_spec(user).origin)
        path.write_text(path.read_text() + f"from {home} import make\nmade = make('other')\n")
        importlib.import_module(home if home_first else user)
        assert names_in(home) == ["build", "check"]


def test_a_module_remembers_a_bounded_number_of_declarations(write, monkeypatch):
    monkeypatch.setattr(declare, "MAX_DECLARED", 2)
    module = write(code=FACTORY + "for number in range(4):\n    make(f'task{number}')\n")
    assert [found.name for found in load_module_tasks(module)] == ["task2", "task3"]


@pytest.mark.parametrize(
    ("target", "example"),
    [
        ("app/features.py", "app.features"), ("./app/features.py", "app.features"),
        ("/app/features.py", "app.features"),
        ("features.py", "features"), ("app/features", "app.features"), ("app\\features.py", "app.features"),
        ("app/features.py:build", "app.features"), ("", "app.features"), (" ", "app.features"),
        ("app.features ", "app.features"), (".features", "app.features"), ("app..features", "app.features"),
        ("1app", "app.features"), ("app:build:more", "app"), ("app:", "app"), ("app-1", "app.features"),
    ],
)  # fmt: skip
def test_what_is_no_import_path_is_told_how_one_looks(target, example):
    kind = "is a file path" if re.search(r"[/\\]|\.py", target) else "is not a module name"
    assert fault_of(target) == f"{target!r} {kind}. Use a module name: {example} or {example}:function"


@pytest.mark.parametrize("target", ["exp.ipynb:f", "exp.ipynb", "./deep/exp.ipynb:f", "/deep/exp.ipynb"])
def test_a_notebook_is_told_what_to_do_instead(target):
    fault = fault_of(target)
    file = target.partition(":")[0]
    assert fault.startswith(f"{file!r} is a notebook, which cannot be imported. Put the task into a module")
    assert f"`jupyter nbconvert --to script {file}`" in fault
    assert fault.endswith(", and use exp or exp:function")
    assert "\n" not in fault


def test_a_notebook_is_quoted_for_the_shell():
    assert "nbconvert --to script 'my exp; x.ipynb'`" in fault_of("my exp; x.ipynb")


def test_a_module_that_is_called_like_a_notebook_is_imported(write):
    module = write("build", package="load_case_notebook", name="ipynb")
    assert module.endswith(".ipynb")
    assert load_module_task(module).name == "build"


def test_an_unknown_module_says_where_python_looked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "first"))
    fault = fault_of("no_such_package.tasks")
    assert fault.startswith("there is no module 'no_such_package'.")
    assert f"Python looked in {tmp_path / 'first'}" in fault
    assert f"the current directory is {tmp_path}" in fault
    assert "PYTHONPATH" in fault


def test_an_unknown_module_in_a_known_package_is_named_whole(write):
    module = write("build", package="load_case_known")
    assert fault_of("load_case_known.zzz").startswith("there is no module 'load_case_known.zzz'.")
    assert f"write {module}:build." in fault_of(f"{module}.build")


def test_a_missing_module_that_the_module_imports_is_told_from_a_missing_module(write):
    module = write("build", before="import no_such_library\n")
    with pytest.raises(TaskDefinitionError) as caught:
        load_module_task(module)
    assert re.search(rf"importing it failed at \S*{module}\.py, line \d+: ModuleNotFoundError", str(caught.value))
    assert "no_such_library" in str(caught.value)
    cause = caught.value.__cause__
    assert isinstance(cause, ModuleNotFoundError)
    assert "import no_such_library" in "".join(traceback.format_exception(cause))


@pytest.mark.parametrize(
    ("code", "error", "said"),
    [
        ("from os import no_such_name", ImportError, "no_such_name"),
        ("1 / 0", ZeroDivisionError, "division by zero"),
        ("raise RuntimeError", RuntimeError, "RuntimeError"),
        ("def f(:", SyntaxError, "invalid syntax"),
        ("raise SystemExit(3)", SystemExit, "SystemExit: 3"),
    ],
)
def test_whatever_a_module_raises_is_the_cause(write, code, error, said):
    module = write("build", code=code)
    with pytest.raises(TaskDefinitionError, match=f"module '{module}' exists, but importing it failed") as caught:
        load_module_task(module)
    assert isinstance(caught.value.__cause__, error)
    assert said in str(caught.value)
    line = len((HEAD + TASK).splitlines()) + 1
    assert re.search(rf"failed at \S*{module}\.py, line {line}: ", str(caught.value))


@pytest.mark.parametrize(
    ("code", "error"),
    [("import json\njson.loads('no')", "JSONDecodeError"), ("import ast\nast.literal_eval('1 +')", "SyntaxError")],
)
def test_a_library_that_a_module_calls_is_not_the_place_of_its_error(write, code, error):
    module = write(code=code)
    line = len(HEAD.splitlines()) + 2
    assert re.search(rf"failed at \S*{module}\.py, line {line}: {error}", fault_of(module))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "WorkspaceSpec(prefix='a//b')",
            "WorkspaceSpec argument 'prefix': a prefix 'a//b' must",
        ),
        ("WorkspaceSpec(prefx='a')", "WorkspaceSpec has no argument 'prefx'. Did you mean 'prefix'?"),
        ("RetryPolicy(xyz=1)", "RetryPolicy has no argument 'xyz'"),
        (
            "TimeoutPolicy(seconds=-1, policy='X')",
            "'policy': Input should be 'TIME_OUT_WF', 'RETRY' or 'ALERT_ONLY'; TimeoutPolicy argument 'seconds': ",
        ),
        ("PublishBudget(observed_merge_p99_seconds=1)", "PublishBudget needs the argument 'safety_margin_seconds'; "),
        ("ExecutionLimits(rate_limit_per_frequency=1)", "ExecutionLimits: give rate_limit_frequency_in_seconds and"),
    ],
)
def test_wrong_arguments_are_told_with_their_line_and_in_plain_words(write, code, said):
    module = write(code=f"from perago import *\nmade = {code}\n")
    fault = fault_of(module)
    assert said in fault
    assert re.search(rf"importing it failed at \S*{module}\.py, line {len(HEAD.splitlines()) + 2}: ", fault)
    assert "validation error" not in fault
    assert "https://" not in fault


def test_a_secret_in_what_a_module_raises_is_masked(write):
    module = write(code="raise RuntimeError('cannot reach https://me:hunter2@host/')")
    assert "hunter2" not in fault_of(module)


def test_a_wrong_declaration_is_passed_on_as_it_is(write):
    module = write(code="@task(name='', owner_email='x')\ndef build(params: P) -> P: ...\n")
    assert fault_of(module).startswith(f"task function {module}.build: name=''")

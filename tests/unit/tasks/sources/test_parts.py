"""The code that results depend on: the same parts where the code does the same, others where it may not."""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import importlib.util
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
import types
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from perago.tasks.declare import TaskDefinition
from perago.tasks.sources import libraries, package_data
from perago.tasks.sources.parts import code_parts, files_beyond, forget_parts
from perago.values.cache import CodeParts, Untold
from servers.machine import slowness

HEAD = """
from pydantic import BaseModel
from perago import task
class P(BaseModel):
    x: int = 0
"""
TASK = """
@task(name='t', owner_email='t@example.org')
def build(params: P) -> P:
    return params
"""
_NAMES = (f"project{number}" for number in itertools.count())


class Project:
    """A folder on `sys.path` with a package that no other test uses. `APP` in a text stands for the package's name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.app = next(_NAMES)
        self.write("APP/__init__.py", "")
        self.write("APP/tasks.py", HEAD + TASK)

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.folder / name.replace("APP", self.app)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.replace("APP", self.app).encode())
        return path

    def tasks(self, code: str, before: str = "") -> None:
        """Write the module of the task, with code in its function."""
        body = TASK.replace("    return", "".join(f"    {line}\n" for line in code.splitlines()) + "    return")
        self.write("APP/tasks.py", before + HEAD + body)

    def task(self, module: str = "APP.tasks", function: str = "build") -> TaskDefinition:
        __import__(module.replace("APP", self.app))
        found = getattr(sys.modules[module.replace("APP", self.app)], function).__perago_task__
        assert isinstance(found, TaskDefinition)
        return found

    def told(self, *depends: str, module: str = "APP.tasks", function: str = "build") -> CodeParts | Untold:
        """The parts as the files are now."""
        forget_parts()
        return code_parts(self.task(module, function), [each.replace("APP", self.app) for each in depends])

    def parts(self, *depends: str, module: str = "APP.tasks", function: str = "build") -> CodeParts:
        found = self.told(*depends, module=module, function=function)
        assert isinstance(found, CodeParts), found
        return found

    def why(self, *depends: str) -> str:
        found = self.told(*depends)
        assert isinstance(found, Untold), found
        return found.why.replace(self.app, "APP")

    def sources(self, *depends: str) -> set[str]:
        """The names of all sources."""
        return {name.replace(self.app, "APP") for name in self.parts(*depends).sources}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    monkeypatch.syspath_prepend(str(tmp_path / "home"))
    before = set(sys.modules)
    yield Project(tmp_path / "home")
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", None) or tmp_path):
            del sys.modules[name]
    forget_parts()


@pytest.fixture(scope="module")
def installed_packages() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


@pytest.fixture(autouse=True)
def _look_once(request: pytest.FixtureRequest, monkeypatch, installed_packages) -> None:
    """What the tests' environment has is looked for once, except by tests that install something."""
    if "installed" not in request.fixturenames:
        monkeypatch.setattr(libraries, "packages_distributions", lambda: installed_packages)


class Installed:
    """A directory of installed packages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, name: str, version: str, *requires: str, files: dict[str, str] | None = None) -> Path:
        """Install a distribution with a module of its name, or with these files."""
        for notes in self.folder.glob(f"{name}-*.dist-info"):
            shutil.rmtree(notes)
        written = files if files is not None else {f"{name}.py": "x = 1\n"}
        for path, text in written.items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_text(text)
        notes = self.folder / f"{name}-{version}.dist-info"
        notes.mkdir(parents=True)
        lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {each}" for each in requires)]
        (notes / "METADATA").write_text("Metadata-Version: 2.1\n" + "\n".join(lines) + "\n")
        (notes / "RECORD").write_text("".join(f"{path},sha256=abc,1\n" for path in written))
        return notes


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installed:
    folder = tmp_path / "lib" / "site-packages"
    folder.mkdir(parents=True)
    monkeypatch.syspath_prepend(str(folder))
    return Installed(folder)


# ---------------------------------------------------------------- the normal form of a file


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", "# a comment\n\n\n"),
        ("    return params", "    return (params)  # so"),
        ("    return params", '    """What it does."""\n    return params'),
        ("    x: int = 0", '    """The params."""\n    x: int = 0'),
        ("'t@example.org'", "'u@example.org'"),
        ("owner_email='t@example.org'", "owner_email='t@example.org', description='New.'"),
        ("owner_email='t@example.org'", "owner_email='t@example.org', controls=Controls()"),
        ("owner_email='t@example.org'", "owner_email='t@example.org', cache=True, max_age=5"),
        ("\n", "\r\n"),
    ],
)
def test_what_changes_no_result_changes_no_part(project, old, new):
    before = project.parts()
    project.write("APP/tasks.py", (HEAD + TASK).replace(old, new) if old else new + HEAD + TASK)
    assert project.parts() == before


def test_docstrings_of_modules_and_coroutines_count_no_more_than_others(project):
    project.write("APP/more.py", "async def f():\n    'One.'\n    return 1\n")
    project.tasks("from APP import more")
    before = project.parts()
    project.write("APP/more.py", "'A module.'\nasync def f():\n    'Another one.'\n    return 1\n")
    assert project.parts() == before


@pytest.mark.parametrize("use", ["print(__doc__)", "import inspect; inspect.getdoc(f)", "f.__doc__"])
def test_docstrings_of_a_module_that_reads_them_count(project, use):
    text = "'One.'\ndef f(): pass\n"
    project.write("APP/more.py", text + use)
    project.tasks("from APP import more")
    before = project.parts()
    project.write("APP/more.py", text.replace("One", "Two") + use)
    assert project.parts() != before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return params", "return P()"),
        ("x: int = 0", "x: int = 1"),
        ("name='t'", "name='t', strict_params=True"),
        ("name='t'", "name='t', sandbox='enforce'"),
        ("name='t'", "name='t', metrics=None"),
        ("    return params", "    'One.'.upper()\n    return params"),
    ],
)
def test_what_may_change_a_result_changes_the_module_s_digest(project, old, new):
    before = project.parts()
    project.write("APP/tasks.py", (HEAD + TASK).replace(old, new))
    after = project.parts()
    assert after.sources[f"{project.app}.tasks"] != before.sources[f"{project.app}.tasks"]
    assert after.sources[project.app] == before.sources[project.app]


def test_only_the_content_counts_and_not_the_time(project):
    before = project.parts()
    os.utime(project.folder / project.app / "tasks.py", (1, 1))
    assert project.parts() == before


@pytest.mark.parametrize(
    ("imports", "decorator", "is_perago_s"),
    [
        ("from perago import task", "task", True),
        ("from perago import task as t", "t", True),
        ("import perago", "perago.task", True),
        ("import perago as p", "p.task", True),
        ("import perago.errors", "perago.task", True),
        ("from celery import task", "task", False),
        ("from .perago import task", "task", False),
        ("from perago import task\nfrom celery import task", "task", False),
        ("from perago import task\ndef task(**options): ...", "task", False),
        ("from perago import task\ntask = 1", "task", False),
        ("from perago import task\ndef f(task): ...", "task", False),
        ("from perago import task\nfrom celery import *", "task", False),
        ("import perago as p\nimport celery as p", "p.task", False),
        ("import celery as perago", "perago.task", False),
        ("import perago", "perago.other.task", False),
        ("from perago import task", "task.other", False),
    ],
)
def test_the_options_of_somebody_else_s_task_count(project, imports, decorator, is_perago_s):
    def text(owner: str) -> str:
        return f"{imports}\n@{decorator}(owner_email='{owner}')\ndef f(): ...\n"

    project.tasks("from APP import others")
    project.write("APP/others.py", text("a"))
    before = project.parts()
    project.write("APP/others.py", text("b"))
    assert (project.parts() == before) is is_perago_s


def test_a_file_with_a_syntax_error_is_untold(project):
    project.tasks("from APP import broken")
    project.write("APP/broken.py", "x = 1\ny =\n")
    assert project.why() == "module 'APP.broken' has a syntax error: invalid syntax (line 2)"


def test_a_file_with_zeros_is_untold(project):
    project.tasks("from APP import broken")
    project.write("APP/broken.py", b"x = '\0'\n")
    assert "module 'APP.broken'" in project.why()


def test_a_file_that_is_nested_too_deeply_is_untold(project):
    project.tasks("from APP import deep")
    project.write("APP/deep.py", "x = " + " + ".join(["1"] * 3000))
    assert "module 'APP.deep'" in project.why()


def test_a_number_that_cannot_be_written_out_is_untold(project):
    project.tasks("from APP import large")
    project.write("APP/large.py", "x = 0x" + "f" * 10_000)
    assert "module 'APP.large' cannot be compared" in project.why()


def test_a_file_that_cannot_be_read_is_untold(project):
    project.tasks("import helper")
    helper = project.write("helper.py", "")
    project.parts()
    __import__("helper")  # so that it is not simply absent
    helper.unlink()
    assert "module 'helper' cannot be read" in project.why()


def test_a_file_that_warns_is_read_in_silence(project):
    project.tasks("from APP import warns")
    project.write("APP/warns.py", r"x = '\d'")
    assert "APP.warns" in project.sources()


# ---------------------------------------------------------------- what is imported


@pytest.mark.parametrize(
    "statement",
    [
        "import APP.sub.other",
        "import APP.sub.other as o",
        "from APP.sub import other",
        "from APP.sub.other import value",
        "from .sub import other",
        "from . import sub\nfrom .sub import other",
        "if TYPE_CHECKING:\n    import APP.sub.other",
        "try:\n    import APP.sub.other\nexcept ImportError:\n    pass",
        "class C:\n    from .sub import other",
        "async def f():\n    from .sub import other",
        "__import__('APP.sub.other')",
        "import importlib\nimportlib.import_module('APP.sub.other')",
        "import importlib as i\ni.import_module('APP.sub.other')",
        "from importlib import import_module\nimport_module('APP.sub.other')",
        "from importlib import import_module as f\nf('APP.sub.other')",
        "import runpy\nrunpy.run_module('APP.sub.other', run_name='x')",
        "from importlib.resources import files\nfiles('APP.sub.other')",
        "import pkgutil\npkgutil.get_data('APP.sub.other', 'x')",
    ],
)
def test_whatever_a_file_imports_counts_with_its_parents(project, statement):
    project.tasks(statement)
    project.write("APP/sub/__init__.py", "")
    project.write("APP/sub/other.py", "value = 1\n")
    project.write("APP/unused.py", "")
    before = project.parts()
    named = {"APP", "APP.tasks", "APP.sub", "APP.sub.other"}
    assert {name.replace(project.app, "APP") for name in before.sources} == named
    project.write("APP/sub/other.py", "value = 2\n")
    assert project.parts() != before


@pytest.mark.parametrize(
    ("before", "code"),
    [("from APP.sub.other import *", ""), ("from importlib import *", "import_module('APP.sub.other')")],
)
def test_what_a_star_imports_counts(project, before, code):
    project.tasks(code, before=f"{before}\n")
    project.write("APP/sub/other.py", "")
    assert project.sources() == {"APP", "APP.tasks", "APP.sub.other"}


def test_what_nothing_imports_does_not_count(project):
    before = project.parts()
    project.write("APP/unused.py", "x = 1\n")
    project.write("beside.py", "x = 1\n")
    assert project.parts() == before


def test_imports_are_followed_through_files_that_nothing_has_loaded(project):
    project.tasks("import APP.a.b.first")
    project.write("APP/a/__init__.py", "")
    project.write("APP/a/b/first.py", "from ...c import second\n")
    project.write("APP/c/__init__.py", "from . import third\n")
    project.write("APP/c/second.py", "")
    project.write("APP/c/third.py", "")
    cold = project.sources()
    assert cold == {"APP", "APP.tasks", "APP.a", "APP.a.b.first", "APP.c", "APP.c.second", "APP.c.third"}
    assert f"{project.app}.a" not in sys.modules
    __import__(f"{project.app}.a.b.first")
    assert project.sources() == cold


def test_files_that_import_each_other_are_read_once(project):
    project.tasks("from APP import a")
    project.write("APP/a.py", "from . import b\n")
    project.write("APP/b.py", "from . import a, tasks\n")
    assert project.sources() == {"APP", "APP.tasks", "APP.a", "APP.b"}


def test_submodules_that_a_package_exports_count(project):
    project.tasks("pass", before="from APP.sub import *\n")
    project.write("APP/sub/__init__.py", "__all__ = ['one', 'two']\n__all__ += ['three']\nx = 'four'\n")
    for name in ("one", "three", "four"):
        project.write(f"APP/sub/{name}.py", "")
    project.write("APP/sub/two.py", "")
    assert project.sources() == {"APP", "APP.tasks", "APP.sub", "APP.sub.one", "APP.sub.two", "APP.sub.three"}


def test_a_package_without_init_is_followed(project):
    project.tasks("import spread.deeper.module, spread.module")
    project.write("spread/deeper/module.py", "")
    project.write("spread/module.py", "from .deeper import other\n")
    project.write("spread/deeper/other.py", "")
    found = {"spread.deeper.module", "spread.module", "spread.deeper.other"}
    assert project.sources() == {"APP", "APP.tasks", *found}


def test_a_module_beside_the_package_counts_by_its_own_file(project):
    project.tasks("import helper")
    project.write("helper.py", "x = 1\n")
    project.write("notes.txt", "one")
    before = project.parts()
    assert "helper" in before.sources
    assert not any("notes" in name for name in before.sources)
    project.write("notes.txt", "two")
    assert project.parts() == before


def test_a_task_in_a_module_that_is_no_package(project):
    project.write("alone.py", HEAD + TASK)
    assert {*project.parts(module="alone").sources} == {"alone"}


def test_a_module_that_is_not_there_counts_as_absent_until_it_appears(project):
    project.tasks("try:\n    import accelerated\nexcept ImportError:\n    pass")
    before = project.parts()
    assert before.sources["accelerated"] == "absent"
    project.write("accelerated.py", "")
    assert project.parts().sources["accelerated"].startswith("sha256:")


def test_a_missing_submodule_is_absent_but_a_name_is_none(project):
    project.tasks("import APP.missing.deeper\nfrom APP import value\nfrom APP.gone import value")
    assert project.sources() == {"APP", "APP.tasks", "APP.missing", "APP.gone"}
    assert project.parts().sources[f"{project.app}.missing"] == "absent"


def test_a_module_whose_import_is_forbidden_is_absent(project, monkeypatch):
    project.tasks("import helper")
    project.write("helper.py", "")
    monkeypatch.setitem(sys.modules, "helper", None)
    assert project.parts().sources["helper"] == "absent"


def test_a_module_that_came_from_no_file_is_untold(project, monkeypatch):
    project.tasks("import made_up")
    monkeypatch.setitem(sys.modules, "made_up", types.ModuleType("made_up"))
    assert project.why() == "module 'made_up' has no source file"


def test_a_module_that_was_loaded_by_hand_counts_by_its_file(project, monkeypatch):
    project.tasks("import by_hand")
    module = types.ModuleType("by_hand")
    module.__file__ = str(project.write("elsewhere/by_hand.py", "x = 1\n"))
    monkeypatch.setitem(sys.modules, "by_hand", module)
    assert project.parts().sources["by_hand"].startswith("sha256:")


def test_a_module_of_a_loader_without_files_is_untold(project, monkeypatch):
    project.tasks("import remote")
    module = types.ModuleType("remote")
    module.__spec__ = importlib.machinery.ModuleSpec("remote", None, origin="https://example.org")
    monkeypatch.setitem(sys.modules, "remote", module)
    assert project.why() == "module 'remote' has no source file"


def test_a_model_s_module_that_is_gone_is_untold(project):
    task = project.task()
    task.params_model.__module__ = "gone.away"
    forget_parts()
    assert code_parts(task) == Untold("module 'gone.away' is not found")


def test_a_task_s_own_module_that_is_gone_is_untold(project):
    task = project.task()
    (project.folder / project.app / "tasks.py").unlink()
    forget_parts()
    found = code_parts(task)
    assert isinstance(found, Untold)
    assert found.why == "the function has no source file"


def test_relative_imports_beyond_the_top_lead_nowhere(project):
    project.tasks("from ... import x")
    assert project.sources() == {"APP", "APP.tasks"}


def test_the_standard_library_and_perago_do_not_count(project):
    project.tasks(
        "import os.path, json, sys, _thread, msvcrt, perago.errors, concurrent.futures\nfrom perago import run"
    )
    parts = project.parts()
    assert {*parts.sources} == {project.app, f"{project.app}.tasks"}
    assert "perago" not in parts.libraries
    assert parts.python.startswith(f"{sys.version_info.major}.{sys.version_info.minor} on {sys.platform} ")


def test_a_module_that_hides_one_of_the_standard_library_counts(project):
    project.tasks("import this")
    project.write("this.py", "x = 1\n")
    assert project.sources() == {"APP", "APP.tasks", "this"}


def test_modules_of_guards_and_models_count(project):
    project.write("APP/rules.py", "def check(path): ...\n")
    project.write("APP/models.py", HEAD)
    project.write(
        "APP/making.py",
        "from perago import task, WorkspaceSpec\n"
        "def make(model, check):\n"
        "    @task(name='t', owner_email='t', workspace=WorkspaceSpec(pre=[check]))\n"
        "    def build(workspace: __import__('pathlib').Path, params: model) -> model: ...\n"
        "    return build\n",
    )
    project.write(
        "APP/wired.py",
        "from APP import making, models, rules\nbuild = making.make(models.P, rules.check)\n",
    )
    sources = {name.replace(project.app, "APP") for name in project.parts(module="APP.wired").sources}
    assert sources == {"APP", "APP.making", "APP.models", "APP.rules", "APP.making:make.<locals>.build closure"}


def test_an_extension_module_counts_by_its_bytes(project):
    project.tasks("from APP import fast")
    ending = importlib.machinery.EXTENSION_SUFFIXES[0]
    project.write(f"APP/fast{ending}", b"\x7fELF one")
    before = project.parts()
    assert f"{project.app}.fast" in before.sources
    project.write(f"APP/fast{ending}", b"\x7fELF two")
    assert project.parts().sources[f"{project.app}.fast"] != before.sources[f"{project.app}.fast"]


def test_nothing_is_imported(project):
    project.tasks("import APP.explodes\nimport mine.explodes")
    project.write("APP/explodes.py", "raise SystemExit\n")
    project.write("mine/__init__.py", "raise SystemExit\n")
    project.write("mine/explodes.py", "raise SystemExit\n")
    assert project.sources() == {"APP", "APP.tasks", "APP.explodes", "mine", "mine.explodes"}


def test_a_finder_of_somebody_else_is_asked_and_may_fail(project, monkeypatch):
    class Editable:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == "elsewhere":
                file = project.write("far/away.py", "x = 1\n")
                return importlib.util.spec_from_file_location(name, file)
            raise KeyError(name)

    project.tasks("import elsewhere, nowhere")
    project.task()
    monkeypatch.setattr(sys, "meta_path", [Editable, object(), *sys.meta_path])
    sources = project.parts().sources
    assert sources["elsewhere"].startswith("sha256:")
    assert sources["nowhere"] == "absent"


@pytest.mark.parametrize(
    "code",
    [
        "__import__(name)",
        "__import__('APP.sub', fromlist=names)",
        "import importlib\nimportlib.import_module(f'APP.{name}')",
        "import importlib\nimportlib.import_module('.sub', 'APP')",
        "import importlib\nimportlib.import_module(name='APP')",
        "import importlib\nlist(map(importlib.import_module, names))",
        "from importlib import import_module as load\nload(name)",
        "from APP.compat import import_module\nimport_module(name)",
        "import runpy\nrunpy.run_path(path)",
        "import runpy\nrunpy.run_path('scripts/one.py')",
        "import importlib.util\nimportlib.util.spec_from_file_location('x', path)",
        "import importlib.machinery as m\nm.SourceFileLoader('x', 'y')",
        "import pkgutil\npkgutil.resolve_name(name)",
    ],
)
def test_an_import_whose_name_is_computed_is_untold_unless_the_author_has_named_it(project, code):
    project.tasks(code)
    line = project.task().fn.__code__.co_firstlineno + 1 + code.count("\n") + 1
    wanted = "module 'APP.tasks' imports a module whose name it computes (line {}); name it in depends="
    assert project.why() == wanted.format(line)
    assert isinstance(project.told("APP"), CodeParts)


def test_other_functions_of_such_names_are_no_imports(project):
    project.tasks("importlib = object\nimportlib.import_module(name)\nregistry.import_module(name)\nx.__import__(name)")
    assert project.sources() == {"APP", "APP.tasks"}


def test_a_script_that_is_run_by_its_path_counts(project):
    script = project.write("scripts/one.py", "import helper\n")
    project.write("helper.py", "")
    project.tasks(f"import runpy\nrunpy.run_path({str(script)!r})")
    assert project.sources() == {"APP", "APP.tasks", str(script), "helper"}


def test_a_package_that_is_run_counts_with_its_main_module(project):
    project.write("tool/__init__.py", "")
    project.write("tool/__main__.py", "")
    project.tasks("import runpy\nrunpy.run_module('tool')")
    assert project.sources() == {"APP", "APP.tasks", "tool", "tool.__main__"}


# ---------------------------------------------------------------- what the author names


def test_modules_that_the_author_names_count(project):
    project.write("APP/plugins/__init__.py", "")
    project.write("APP/plugins/one.py", "from APP import deeper\n")
    project.write("APP/plugins/sub/two.py", "")
    project.write("APP/plugins/not-one.py", "")
    project.write("APP/deeper.py", "")
    names = {"APP", "APP.tasks", "APP.plugins", "APP.plugins.one", "APP.plugins.sub.two", "APP.deeper"}
    assert project.sources("APP.plugins") == names
    before = project.parts("APP.plugins")
    project.write("APP/plugins/sub/two.py", "x = 1\n")
    assert project.parts("APP.plugins") != before


def test_files_that_the_author_names_count(project, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("1")
    before = project.parts(str(table))
    assert {*before.sources} == {project.app, f"{project.app}.tasks", str(table)}
    table.write_text("2")
    assert project.parts(str(table)) != before


def test_what_the_author_names_has_to_be_there(project, tmp_path):
    assert project.why("APP.typo") == "depends names module 'APP.typo', which is not there"
    assert project.why("/no/such/file") == "/no/such/file cannot be read: No such file or directory"
    assert project.why(str(tmp_path)) == f"{tmp_path} cannot be read: Is a directory"


def test_libraries_that_the_author_names_count(project, installed):
    installed.install("plugin", "1.0")
    assert "plugin" not in project.parts().libraries
    assert project.parts("plugin", "json").libraries["plugin"] == "1.0"


# ---------------------------------------------------------------- libraries


def test_libraries_count_by_their_version_with_what_they_require(project, installed):
    project.tasks("import lib_a.deep.er")
    installed.install(
        "lib_a",
        "1.0",
        "Lib-B>=1",
        "lib_c[fast, other]; python_version > '3'",
        "lib_not_there",
        'lib_extra; extra == "test"',
        files={"lib_a/__init__.py": ""},
    )
    installed.install("lib_b", "2.0", "lib_a")
    installed.install("lib_c", "3.0", "lib_d; extra == 'fast'", "lib_extra; extra == 'slow'")
    installed.install("lib_d", "4.0")
    installed.install("lib_extra", "5.0")
    found = {name: version for name, version in project.parts().libraries.items() if name.startswith("lib-")}
    assert found == {"lib-a": "1.0", "lib-b": "2.0", "lib-c": "3.0", "lib-d": "4.0"}
    assert not any(name.startswith("lib") for name in project.parts().sources)
    before = project.parts()
    installed.install("lib_d", "4.1")
    assert project.parts() != before


def test_the_files_of_a_library_do_not_count(project, installed):
    project.tasks("import lib_a")
    installed.install("lib_a", "1.0")
    before = project.parts()
    (installed.folder / "lib_a.py").write_text("import os; os.environ.copy()\n")
    assert project.parts() == before


def test_distributions_that_share_a_package_count_together(project, installed):
    project.tasks("import shared_a.one.x")
    installed.install("shared_one", "1.0", files={"shared_a/one/x.py": ""})
    installed.install("shared_two", "2.0", files={"shared_a/two/x.py": ""})
    assert {"shared-one": "1.0", "shared-two": "2.0"}.items() <= project.parts().libraries.items()


def test_a_package_that_a_project_shares_with_a_library(project, installed):
    project.tasks("import shared_b.one.x, shared_b.own.y")
    installed.install("shared_three", "1.0", files={"shared_b/one/x.py": "", "shared_b/one/table.csv": ""})
    project.write("shared_b/own/y.py", "")
    project.write("shared_b/own/table.csv", "")
    parts = project.parts()
    assert {*parts.sources} == {project.app, f"{project.app}.tasks", "shared_b.own.y", "shared_b/own/table.csv"}
    assert parts.libraries["shared-three"] == "1.0"


def test_an_installed_module_without_distribution_is_untold(project, installed):
    project.tasks("import left_over")
    (installed.folder / "left_over.py").write_text("")
    assert project.why() == "module 'left_over' is installed, but belongs to no distribution"


def test_what_was_installed_from_elsewhere_than_an_index_counts_by_its_files_too(project, installed):
    """Its author may change it without a new version."""
    project.tasks("import lib_local")
    notes = installed.install("lib_local", "1.0")
    (notes / "direct_url.json").write_text('{"url": "file:///src/lib", "dir_info": {}}')
    record = "lib_local.py,sha256=one,1\n../../bin/tool,sha256={0},1\nlib_local-1.0.dist-info/INSTALLER,sha256={0},1\n"
    (notes / "RECORD").write_text(record.format("here"))
    before = project.parts()
    (notes / "RECORD").write_text(record.format("there"))
    assert project.parts() == before
    (notes / "RECORD").write_text(record.format("there").replace("one", "two"))
    assert project.parts() != before


def test_an_editable_installation_is_source_wherever_it_lies(project, installed):
    project.tasks("import lib_linked")
    notes = installed.install("lib_linked", "1.0", files={"lib_linked/__init__.py": "", "lib_linked/x.csv": ""})
    (notes / "direct_url.json").write_text('{"url": "file:///src/lib", "dir_info": {"editable": true}}')
    parts = project.parts()
    assert {"lib_linked", "lib_linked/x.csv"} <= {*parts.sources}
    assert "lib-linked" not in parts.libraries
    (notes / "direct_url.json").write_text("[")
    assert "lib-linked" in project.parts().libraries


def test_no_library_is_looked_for_where_none_is_imported(project, monkeypatch):
    project.write("APP/free.py", "x = 1\n")
    monkeypatch.setattr(libraries, "packages_distributions", lambda: pytest.fail("it was asked"))
    forget_parts()
    from perago.tasks.sources.parts import _Search

    search = _Search(takes_computed_imports=False)
    search.begin_at(f"{project.app}.free")
    assert not search.found().libraries


# ---------------------------------------------------------------- data of packages


def test_data_files_of_a_package_count(project):
    project.write("APP/tables/codes.csv", "1")
    project.write("APP/py.typed", "")
    project.write("APP/.hidden", "")
    project.write("APP/tables/__pycache__/x.bin", "")
    project.write("APP/old.pyc", "")
    project.write("APP/unused.py", "")
    project.write("APP/.git/HEAD", "one")
    before = project.parts()
    names = {"APP", "APP.tasks", "APP/tables/codes.csv", "APP/py.typed", "APP/.hidden"}
    assert {name.replace(project.app, "APP") for name in before.sources} == names
    project.write("APP/.git/HEAD", "two")
    assert project.parts() == before
    project.write("APP/tables/codes.csv", "2")
    after = project.parts()
    assert after != before
    project.write("APP/tables/more.csv", "2")
    assert project.parts() != after


def test_data_of_a_package_that_nothing_imports_does_not_count(project):
    project.write("other/__init__.py", "")
    project.write("other/x.csv", "")
    assert project.sources() == {"APP", "APP.tasks"}


def test_data_of_a_package_without_init_counts_but_hidden_directories_do_not(project):
    (project.folder / project.app / "__init__.py").unlink()
    project.write("APP/x.csv", "")
    project.write("APP/.venv/x.csv", "")
    assert project.sources() == {"APP.tasks", "APP/x.csv"}


def test_links_to_files_count_by_content_and_links_to_directories_do_not(project, tmp_path):
    target = tmp_path / "elsewhere" / "x.csv"
    target.parent.mkdir()
    target.write_text("1")
    package = project.folder / project.app
    (package / "x.csv").symlink_to(target)
    (package / "gone.csv").symlink_to(tmp_path / "nothing")
    (package / "linked").symlink_to(target.parent)
    before = project.parts()
    assert {*before.sources} == {project.app, f"{project.app}.tasks", f"{project.app}/x.csv"}
    target.write_text("2")
    assert project.parts() != before


@pytest.mark.parametrize(
    ("bound", "limit", "why"),
    [
        ("MAX_FILES", 2, "package 'APP' has more than 2 data files or 67108864 bytes"),
        ("MAX_BYTES", 100, "package 'APP' has more than 2000 data files or 100 bytes"),
        ("MAX_ENTRIES", 3, "package 'APP' has more than 3 files and directories"),
    ],
)
def test_a_package_past_a_bound_is_untold(project, monkeypatch, bound, limit, why):
    for name in ("a", "b", "c"):
        project.write(f"APP/{name}.csv", "x" * 50)
    assert isinstance(project.told(), CodeParts)
    monkeypatch.setattr(package_data, bound, limit)
    assert project.why() == why


@pytest.mark.parametrize("function", ["file_digest", "entries_below"])
def test_data_that_cannot_be_read_is_untold(project, monkeypatch, function):
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    project.write("APP/x.csv", "")
    monkeypatch.setattr(package_data, function, refuse)
    assert project.why() == "the data of package 'APP' cannot be read: [Errno 13] Permission denied"


def test_portions_of_one_package_may_have_the_same_file(project, tmp_path, monkeypatch):
    (project.folder / project.app / "__init__.py").unlink()
    project.write("APP/x.csv", "1")
    other = tmp_path / "second" / project.app / "x.csv"
    other.parent.mkdir(parents=True)
    other.write_text("2")
    monkeypatch.syspath_prepend(str(tmp_path / "second"))
    before = project.parts()
    other.write_text("3")
    assert project.parts() != before


# ---------------------------------------------------------------- the environment


@pytest.mark.parametrize(
    "code",
    [
        "os.environ['X']",
        "os.environ.get('X')",
        "os.environ.get('X', 'y')",
        "os.getenv('X')",
        "os.getenv('X', default='y')",
        "'X' in os.environ",
        "'X' not in os.environ",
        "os.environ.setdefault('X', 'y')",
        "os.environ.pop('X', None)",
        "os.environ['X'] += ':y'",
        "del os.environ['X']",
        "from os import environ\nenviron['X']",
        "from os import environ as e\ne['X']",
        "from os import getenv\ngetenv('X')",
        "from os import *\ngetenv('X')",
        "import os as o\no.environ['X']",
        "from APP.compat import environ\nenviron['X']",
    ],
)
def test_variables_that_are_read_by_name_count(project, monkeypatch, code):
    star, _, rest = code.partition("\n") if "*" in code else ("", "", code)
    project.tasks(rest, before=f"import os\n{star}\n")
    monkeypatch.delenv("X", raising=False)
    before = project.parts()
    assert before.variables == {"X": "unset"}
    monkeypatch.setenv("X", "1")
    one = project.parts()
    assert one.variables["X"].startswith("sha256:")
    monkeypatch.setenv("X", "2")
    assert project.parts().variables["X"] not in (one.variables["X"], "unset")
    assert (project.parts().sources, project.parts().libraries) == (one.sources, one.libraries)


def test_variables_are_read_anew_at_each_call(project, monkeypatch):
    project.tasks("os.environ['X']", before="import os\n")
    monkeypatch.setenv("X", "1")
    one = project.parts()
    monkeypatch.setenv("X", "2")
    assert code_parts(project.task()) != one


def test_a_variable_with_a_credential_is_never_digested(project, monkeypatch):
    name = "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY"
    project.tasks(f"os.environ['{name}']", before="import os\n")
    monkeypatch.setenv(name, "one")
    assert project.parts().variables == {name: "credential"}


@pytest.mark.parametrize(
    "code",
    [
        "dict(os.environ)",
        "os.environ.copy()",
        "os.environ.items()",
        "os.environ.get",
        "[*os.environ]",
        "for name in os.environ: pass",
        "os.environ[name]",
        "os.environ.get(name)",
        "os.environ.get(key='X')",
        "value = os.environ.pop(name)",
        "value = os.environ.setdefault(name, '1')",
        "os.environ[name] += '1'",
        "os.getenv(name)",
        "map(os.getenv, names)",
        "name in os.environ",
        "os.environ in names",
        "run(env=os.environ)",
        "environment = os.environ",
        "os.environb[b'X']",
        "os.getenvb(b'X')",
        "os.path.expandvars('$X')",
        "from os.path import expandvars\nexpandvars('$X')",
        "from os import environ\ndict(environ)",
    ],
)
def test_other_reading_of_the_environment_is_untold(project, code):
    project.tasks(code, before="import os\n")
    line = project.task().fn.__code__.co_firstlineno + 2 + code.count("\n")
    wanted = f"module 'APP.tasks' reads the environment as a whole (line {line})"
    assert project.why() == wanted
    assert project.why("APP") == wanted  # which modules it imports is another matter


@pytest.mark.parametrize(
    "code",
    [
        "os.environ['X'] = '1'",
        "os.environ[name] = value",
        "os.environ.update(X='1')",
        "os.environ.update(values)",
        "os.environ.setdefault(name, value)",
        "os.environ.pop(name, None)",
        "os.environ.clear()",
        "os.environ |= values",
        "del os.environ[name]",
        "request.environ['X']",
        "environ['X']",
    ],
)
def test_writing_to_the_environment_reads_nothing(project, code):
    project.tasks(code, before="import os\n")
    assert not project.parts().variables


# ---------------------------------------------------------------- what functions hold

MAKING = (
    HEAD
    + """
import datetime, enum, functools, math, os, pathlib, threading, zoneinfo
from perago import WorkspaceSpec
class Colour(enum.Enum):
    RED = object()
    BLUE = object()
class Held:
    @classmethod
    def make(cls): ...
class Other(Held): ...
def plain(value=1): return value
def around(value):
    def inner(): return value
    return inner
def wrap(fn):
    @functools.wraps(fn)
    def wrapper(*args): return fn(*args)
    return wrapper
def make(value):
    @task(name='t', owner_email='t')
    def build(params: P) -> P:
        return value and params
    return build
"""
)


def made(project: Project, value: str, tail: str = "build = make({})\n") -> CodeParts | Untold:
    """The parts of a task of a factory that was given that value, in a process that knows no other."""
    project.write("APP/making.py", MAKING)
    module = next(_NAMES)
    project.write(f"APP/{module}.py", "from APP.making import *\nfrom APP import making\n" + tail.format(value))
    return project.told(module=f"APP.{module}")


def closure_of(found: CodeParts | Untold, function: str = "") -> str:
    """The digest of what the task's function holds, or the guard of that name."""
    assert isinstance(found, CodeParts), found
    return next(digest for name, digest in found.sources.items() if name.endswith(f"{function} closure"))


def test_two_tasks_of_one_factory_differ_by_their_closures(project):
    one, same, two = (made(project, value) for value in ("1", "1", "2"))
    assert isinstance(one, CodeParts)
    assert one == same != two
    name = f"{project.app}.making:make.<locals>.build closure"
    assert {*one.sources} == {project.app, f"{project.app}.making", name}
    assert one.sources[name].startswith("sha256:")


@pytest.mark.parametrize(
    "values",
    [
        ["None", "True", "1", "1.0", "'1'", "b'1'", "-0.0", "0.0", "float('nan')"],
        ["()", "[]", "{}", "set()", "frozenset()", "(1,)", "[1]", "{1: 1}", "{1}", "((), 1)", "(1, ())"],
        [
            "['a', 'b']",
            "['b', 'a']",
            "[\"a', 'b\"]",
            "{'a': 'b'}",
            "{'b': 'a'}",
            "{'a': 1, 'b': 2}",
            "{'b': 2, 'a': 1}",
        ],
        ["pathlib.Path('/a')", "pathlib.Path('/b')", "pathlib.PurePosixPath('/a')", "'/a'"],
        ["datetime.date(2020, 1, 1)", "datetime.datetime(2020, 1, 1)", "datetime.timedelta(1)", "datetime.time(1)"],
        [
            "datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)",
            "datetime.datetime(2020, 1, 1, tzinfo=zoneinfo.ZoneInfo('UTC'))",
            "datetime.datetime(2020, 1, 1, fold=1)",
        ],
        ["Colour.RED", "Colour.BLUE", "Colour", "Held", "int", "P"],
        ["math", "os.path", "math.sqrt", "len", "os.path.join", "plain"],
        ["Held.make", "Other.make", "plain"],
        ["around(1)", "around(2)", "around(around(1))", "(lambda: 1)"],
        ["functools.partial(plain, 1)", "functools.partial(plain, 2)", "functools.partial(plain, value=2)"],
    ],
    ids=lambda values: values[0],
)
def test_values_that_can_be_compared(project, values):
    closures = [closure_of(made(project, value)) for value in values]
    assert len({*closures}) == len(values)
    assert closure_of(made(project, values[0])) == closures[0]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("object()", "object"),
        ("Held()", "Held"),
        ("threading.Lock()", "lock"),
        ("[1, {2: Held()}]", "Held"),
        ("around(Held())", "Held"),
        ("functools.partial(plain, Held())", "Held"),
        ("[].append", "builtin_function_or_method"),
        ("Held().__init__", "method-wrapper"),
        ("type('IntLike', (int,), {})(1)", "IntLike"),
        ("functools.lru_cache(plain)", "_lru_cache_wrapper"),
        ("datetime.datetime(2020, 1, 1, tzinfo=type('Zone', (datetime.tzinfo,), {})())", "datetime"),
    ],
)
def test_values_that_cannot_be_compared(project, value, kind):
    assert made(project, value) == Untold(f"the function holds a {kind}, which cannot be compared")


def test_a_class_that_its_module_does_not_have_cannot_be_compared(project):
    found = made(project, "type('Made', (), {})")
    assert isinstance(found, Untold)
    assert "the function holds the class 'Made', which is not in its module" in found.why


def test_a_held_function_without_a_source_file_cannot_be_compared(project):
    assert made(project, "eval('lambda: 1')") == Untold("the function '<lambda>' has no source file")


def test_values_that_hold_too_many_cannot_be_compared(project):
    for value in ("list(range(20_000))", "functools.reduce(lambda inner, _: [inner], range(30), [])"):
        assert made(project, value) == Untold("the function holds too many values to compare them")


def test_a_function_that_holds_itself_can_be_compared(project):
    tail = "def deep():\n    def inner(n): return inner(n - 1)\n    return inner\nbuild = make(deep())\n"
    assert isinstance(made(project, "", tail), CodeParts)
    values = "def ring():\n    found = []\n    found.append(found)\n    return found\nbuild = make(ring())\n"
    assert isinstance(made(project, "", values), CodeParts)


def test_an_empty_cell_can_be_compared(project):
    tail = "def make():\n{}    return build\nbuild = make()\n"
    code = "".join(f"    {line}\n" for line in TASK.replace("return params", "return later and params").splitlines())
    code += "    if False:\n        later = 1\n"
    assert isinstance(made(project, code, tail), CodeParts)


def test_what_is_held_counts_with_its_module(project):
    project.write("APP/helper.py", "def help(): ...\n")
    found = made(project, "", "from APP import helper\nbuild = make(helper.help)\n")
    assert isinstance(found, CodeParts)
    assert f"{project.app}.helper" in found.sources
    found = made(project, "", "from APP import helper\nbuild = make(helper)\n")
    assert isinstance(found, CodeParts)
    assert f"{project.app}.helper" in found.sources


@pytest.mark.parametrize("parameter", ["value={}", "*, value={}"])
def test_a_default_that_was_computed_changes_the_parts(project, parameter):
    """The source is one, and what it comes to differs."""
    project.write("APP/tasks.py", f"limit = 1\n{HEAD}\ndef build(params: P, {parameter.format('limit')}) -> P: ...\n")
    found = []
    for limit in (1, 2, object()):
        __import__(f"{project.app}.tasks")
        module = sys.modules[f"{project.app}.tasks"]
        if "*" in parameter:
            module.build.__kwdefaults__ = {"value": limit}
        else:
            module.build.__defaults__ = (limit,)
        forget_parts()
        found.append(code_parts(TaskDefinition("t", "t", module.build, module.P, module.P)))
    assert isinstance(found[0], CodeParts)
    assert isinstance(found[1], CodeParts)
    assert found[0] != found[1]
    assert found[2] == Untold("the function holds a object, which cannot be compared")


def test_functions_of_one_name_are_told_apart_by_their_place(project):
    """What a factory defines in two branches holds nothing that would tell the two apart."""
    tail = """
def make(first):
    if first:
        @task(name='t', owner_email='t')
        def build(params: P) -> P:
            return P()
    else:
        @task(name='t', owner_email='t')
        def build(params: P) -> P:
            return params
    return build
build = make({})
"""
    one, two = (closure_of(made(project, value, tail)) for value in ("True", "False"))
    assert one != two


def test_a_comment_moves_no_function_to_another_place(project):
    project.write("APP/making.py", MAKING)
    project.write("APP/wired.py", "from APP.making import make\nbuild = make(1)\n")
    before = project.parts(module="APP.wired")
    for name in ("making", "wired"):
        del sys.modules[f"{project.app}.{name}"]
    project.write("APP/making.py", "# a comment\n\n" + MAKING)
    assert project.parts(module="APP.wired") == before


def test_two_lambdas_on_one_line_cannot_be_told_apart(project):
    found = made(project, "", "build = make([lambda: 1, lambda: 2])\n")
    assert isinstance(found, Untold)
    assert "the function '<lambda>' shares its line with another" in found.why


def test_two_lambdas_are_told_apart_by_their_lines(project):
    tail = "a = [\n    lambda: 1,\n    lambda: 2,\n]\nbuild = make(a[{}])\n"
    one, two = (closure_of(made(project, value, tail)) for value in ("0", "1"))
    assert one != two


def test_a_function_whose_file_has_changed_since_it_was_loaded_is_untold(project):
    found = made(project, "1")
    assert isinstance(found, CodeParts)
    module = max(name for name in sys.modules if name.startswith(f"{project.app}.project"))
    project.write("APP/making.py", "# another line\n" + MAKING)
    again = project.told(module=module)
    assert isinstance(again, Untold)
    assert "has changed since it was loaded" in again.why


def test_the_module_of_a_wrapper_counts(project):
    project.write(
        "APP/wrapping.py",
        "import functools\ndef twice(fn):\n    @functools.wraps(fn)\n    def wrapper(params):\n"
        "        return fn(params)\n    return wrapper\n",
    )
    project.write(
        "APP/tasks.py",
        "from __future__ import annotations\nfrom APP.wrapping import twice\n"
        + HEAD
        + TASK.replace("def build", "@twice\ndef build"),
    )
    assert project.sources() == {"APP", "APP.tasks", "APP.wrapping", "APP.tasks:build closure"}
    before = project.parts()
    project.write("APP/wrapping.py", (project.folder / project.app / "wrapping.py").read_text() + "x = 1\n")
    assert project.parts() != before


def test_the_values_of_guards_count(project):
    tail = """
def guard(path, limit): ...
@task(name='t', owner_email='t', workspace=WorkspaceSpec(pre=[{}]))
def build(workspace: pathlib.Path, params: P) -> P: ...
"""
    one, two = (
        closure_of(made(project, f"functools.partial(guard, limit={limit})", tail), "guard") for limit in (1, 2)
    )
    assert one != two
    class_tail = "class Check:\n    def __call__(self, path): ...\n" + tail
    assert made(project, "Check()", class_tail) == Untold("the function holds a Check, which cannot be compared")


def test_a_function_without_a_source_file_is_untold(project):
    project.write("APP/tasks.py", f"exec({HEAD + TASK!r})\n")
    assert project.why() == "the function has no source file"


# ---------------------------------------------------------------- processes

PRINT = """
import json
from perago.tasks.sources.parts import code_parts
found = code_parts(build.__perago_task__)
print(json.dumps([found.sources, found.libraries, found.variables]))
"""


def in_a_process(folder: Path, *arguments: str, seed: str = "0") -> object:
    done = subprocess.run(
        [sys.executable, "-B", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=False,
        timeout=60 * slowness(),
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_process_and_folder_comes_to_the_same(project, tmp_path):
    project.write("APP/making.py", MAKING)
    text = "from APP.making import make\nfrom APP import other\nbuild = make({'a', 'b', frozenset({'c', 'd', 'e'})})\n"
    project.write("APP/wired.py", text)
    project.write("APP/other.py", "x = value in {'a', 'b', 'c'}\nimport APP.data\n".replace("value", "'a'"))
    project.write("APP/data.csv", "1")
    program = f"from {project.app}.wired import build\n{PRINT}"
    elsewhere = tmp_path / "quite" / "elsewhere"
    shutil.copytree(project.folder, elsewhere)
    (project.folder / project.app / "data").mkdir()
    (elsewhere / project.app / "data").mkdir()
    first = in_a_process(project.folder, "-c", program, seed="1")
    assert in_a_process(project.folder, "-c", program, seed="2") == first
    assert in_a_process(elsewhere, "-c", program, seed="3") == first


def test_a_module_that_is_run_counts_as_the_one_that_is_imported(project):
    project.write("alone.py", HEAD + TASK + f"if __name__ == '__main__':\n{PRINT}".replace("\n", "\n    ") + "\n")
    project.write("APP/tasks.py", (project.folder / "alone.py").read_text())
    imported = in_a_process(project.folder, "-c", f"from alone import build\n{PRINT}")
    assert in_a_process(project.folder, "alone.py") == imported
    imported = in_a_process(project.folder, "-c", f"from {project.app}.tasks import build\n{PRINT}")
    assert in_a_process(project.folder, "-m", f"{project.app}.tasks") == imported


def test_a_task_that_was_typed_at_a_prompt_is_untold(project):
    program = (
        HEAD
        + TASK
        + "from perago.tasks.sources.parts import code_parts\nprint(repr(code_parts(build.__perago_task__).why))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=project.folder, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "'the function has no source file'"


def test_what_a_process_has_loaded_is_told_no_more_once_it_has_changed(project):
    before = project.parts()
    assert code_parts(project.task()) == before
    project.write("APP/tasks.py", HEAD + TASK + "changed = True\n")
    changed = code_parts(project.task())
    assert changed == Untold("its modules have changed since this process loaded them")
    assert project.parts() != before
    project.write("APP/tasks.py", HEAD + TASK + "changed = True  # by a comment\n")
    assert isinstance(code_parts(project.task()), CodeParts)


def test_what_a_body_reads_is_told_as_it_is_now(project):
    table = project.write("APP/table.csv", "1")
    rules = project.write("rules.csv", "1")
    told = [project.parts(str(rules))]
    table.write_text("two")
    told.append(code_parts(project.task(), [str(rules)]))
    rules.write_text("three")
    told.append(code_parts(project.task(), [str(rules)]))
    project.write("APP/deeper/other.csv", "")
    told.append(code_parts(project.task(), [str(rules)]))
    assert all(isinstance(each, CodeParts) for each in told), told
    assert len({str(each) for each in told}) == 4


def test_files_and_directories_that_were_read_for_a_key_are_known_by_any_name(project, tmp_path):
    files = [project.write(name, "") for name in ("APP/data.txt", "APP/more/data.txt", "APP/.hidden/data.txt")]
    files += [project.write("APP/unused.py", ""), project.write("named.txt", "")]
    within = project.write("APP/only/directories/data.txt", "").parents[1]
    code = project.parts(str(files[-1]))
    opened = [os.path.realpath(path) for path in (*files, files[1].parent, files[2].parent, project.folder, within)]
    assert files_beyond(code, opened) == [opened[2], opened[3], opened[6], opened[7]]
    linked = tmp_path / "linked"
    linked.symlink_to(project.folder)
    by_link = {path.replace(str(project.folder), str(linked)) for path in code.files}
    assert files_beyond(replace(code, files=frozenset(by_link)), opened[:2]) == []


def test_a_second_call_takes_no_time(project):
    project.write("APP/making.py", MAKING)
    project.write("APP/wired.py", "from APP.making import make\nimport os\nos.getenv('X')\nbuild = make([1, 2, 3])\n")
    for number in range(100):
        project.write(f"APP/data/{number}.csv", "")
    task = project.task("APP.wired")
    code_parts(task)
    times = []
    for _ in range(20):
        began = time.perf_counter()
        code_parts(task)
        times.append(time.perf_counter() - began)
    assert min(times) < 0.001 * slowness()

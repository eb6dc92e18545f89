"""The pytest plugin: in runs that use it, and in those that do not."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from servers.machine import slowness

pytest_plugins = ["pytester"]

TASKS = """
from pathlib import Path
from pydantic import BaseModel
from perago import WorkspaceSpec, task

class Params(BaseModel):
    fail: bool = False

class Result(BaseModel):
    words: int

@task(name="count", owner_email="ada@example.org", workspace=WorkspaceSpec())
def count(workspace: Path, params: Params) -> Result:
    words = (workspace / "in.txt").read_text().split()
    (workspace / "out.txt").write_text(str(len(words)))
    if params.fail:
        raise ValueError("asked to")
    return Result(words=len(words))
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(words=TASKS)
    pytester.syspathinsert()
    return pytester


def run(project: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return project.runpytest_subprocess("-p", "no:cacheprovider", *arguments)


def test_the_entry_point_names_the_plugin() -> None:
    assert [point.value for point in entry_points(group="pytest11", name="perago")] == ["perago.testing.plugin"]


def test_its_fixtures_are_there_without_an_import(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest
        from perago.errors import ObjectNameError
        from words import Params, Result, count

        def test_function(perago_workspace):
            workspace = perago_workspace({"in.txt": "a b"})
            assert count(workspace, Params()) == Result(words=2)
            assert (workspace / "out.txt").read_text() == "2"
            assert perago_workspace(workspace) != workspace, "a directory is copied"
            with pytest.raises(ObjectNameError):
                perago_workspace({"../in.txt": ""})

        def test_body(perago_body):
            assert perago_body(count, workspace={"in.txt": "a b"}).added == ("out.txt",)

        def test_attempt(perago_workflow):
            workflow = perago_workflow({"in.txt": "a b"})
            assert workflow.run(count).files["out.txt"] == b"2"
        """
    )
    run(project, "-W", "error").assert_outcomes(passed=3)


def test_files_of_what_failed_stay_in_tmp_path(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest
        from words import count

        def test_body(perago_body, tmp_path):
            with pytest.raises(ValueError, match="asked to"):
                perago_body(count, {"fail": True}, {"in.txt": "a"})
            assert len(list(tmp_path.glob("kept/*/*/out.txt"))) == 1

        def test_attempt(perago_workflow, tmp_path):
            assert perago_workflow({"in.txt": "a"}).run(count, {"fail": True}).status == "FAILED"
            assert len(list(tmp_path.glob("kept/*/*/out.txt"))) == 1
        """
    )
    run(project).assert_outcomes(passed=2)


def test_a_run_that_does_not_use_it_imports_nothing_heavy(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_modules():
            assert "perago.testing.plugin" in sys.modules
            ours = {name for name in sys.modules if name.split(".")[0] == "perago"}
            assert ours == {"perago", "perago._version", "perago.testing", "perago.testing.plugin"}
            assert not {"pydantic", "pygit2", "structlog", "rich", "psutil"} & set(sys.modules)
        """
    )
    arguments = ("-p", "no:hypothesispytest", "-p", "no:pytest_cov")
    run(pytester, "-W", "error", *arguments).assert_outcomes(passed=1)


def test_the_testing_kit_and_the_contract_suites_are_there_without_pytest() -> None:
    script = """
import importlib, pkgutil, sys
sys.modules |= dict.fromkeys(["pytest", "_pytest"])
import perago.testing
for name in perago.testing.__all__: getattr(perago.testing, name)
modules = [module.name for module in pkgutil.walk_packages(perago.testing.__path__, "perago.testing.")]
modules.remove("perago.testing.plugin")  # pytest itself loads it
for name in modules: importlib.import_module(name)
assert sorted(perago.testing.__all__) == dir(perago.testing)
print("perago.testing.contract.store_stage" in modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60 * slowness())
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_a_name_that_the_kit_does_not_have_is_told() -> None:
    with pytest.raises(ImportError, match="run_bodies"):
        from perago.testing import run_bodies  # noqa: F401 - it is not there

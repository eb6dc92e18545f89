"""The current directory's modules are found as by a Python script, and hide no package that Perago needs."""

from __future__ import annotations

import importlib.metadata
import re

import pytest
from packaging.requirements import Requirement

from perago.tasks.import_path import PACKAGES

TASK = """
from pathlib import Path
from pydantic import BaseModel
from perago import WorkspaceSpec, task
import tests, utils

class Params(BaseModel):
    pass

class Result(BaseModel):
    said: list[str]

@task(name="words", owner_email="a@example.org", workspace=WorkspaceSpec())
def words(workspace: Path, params: Params) -> Result:
    import late
    import yaml
    return Result(said=[tests.HERE, utils.HERE, late.HERE, str(hasattr(yaml, "safe_load"))])
"""


@pytest.fixture
def here(project):
    """A directory with modules that hide installed ones."""
    files = {"words.py": TASK, "in/a.txt": "a"}
    files |= {f"{name}.py": "HERE = __name__" for name in ("tests", "utils", "late")}
    files |= {f"{name}.py": f"raise SystemExit({name!r})" for name in PACKAGES}
    project.write(files, directory=".")
    assert project.run("import", "in", "--repo", "data.git", "--branch", "main", env={"PYTHONPATH": ""}).code == 0
    return project


@pytest.mark.parametrize("python_path", ["", "."])
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_modules_beside_a_task_are_its_own_and_packages_are_peragos(here, start, python_path):
    ran = here.run(
        *("run", "words", "--repo", "data.git", "--branch", "main", "--json"),
        env={
            "PYTHONPATH": python_path,
            "PERAGO_BODY_START": start,
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        },
    )
    assert ran.code == 0, ran.err
    assert ran.json["output"]["result"]["said"] == ["tests", "utils", "late", "True"]


def test_a_task_with_the_name_of_a_package_of_peragos_is_told_so(here):
    said = here.run("check", "yaml", env={"PYTHONPATH": ""})
    assert said.code == 2
    assert f"module 'yaml' in {here.path} has the name of a package that Perago needs; rename it" in said.err


def test_the_packages_that_perago_needs_are_all_known():
    """A new dependency of a dependency belongs into `PACKAGES`."""
    needed: set[tuple[str, str]] = set()
    waiting = [("perago", extra) for extra in ("", "lakefs", "conductor", "otel")]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in needed:
            continue
        needed.add((name, extra))
        for text in importlib.metadata.requires(name) or ():
            found = Requirement(text)
            if found.marker is None or found.marker.evaluate({"extra": extra}):
                waiting += [(_normal(found.name), one) for one in ("", *found.extras)]
    names = {name for name, _ in needed} - {"perago"}
    modules = {
        module
        for module, packages in importlib.metadata.packages_distributions().items()
        if names & set(map(_normal, packages)) and module.isidentifier()
    }
    assert len(modules) > 30
    assert modules <= PACKAGES


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()

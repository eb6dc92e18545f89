"""The package in an empty environment, with each extra and without one."""

from __future__ import annotations

import json

import pytest

import perago
from package_support import PROJECT

BROUGHT = {
    "lakefs": {"aiohttp"},
    "conductor": {"urllib3"},
    "otel": {"opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http", "opentelemetry-exporter-prometheus"},
    "lineage": {"openlineage-python"},
    "ui": {"starlette", "uvicorn", "jinja2"},
}
IMPORTED = {
    "lakefs": "from perago.stores.lakefs import LakeFSStore as it",
    "conductor": "from perago.engines.conductor import ConductorEngine as it",
    "otel": "from opentelemetry.exporter.prometheus import PrometheusMetricReader as it",
    "lineage": "from perago.telemetry.openlineage import OpenLineageTelemetry as it",
    "ui": "from perago.ui.serve import serve as it",
}
TASK = """\
from pathlib import Path

from pydantic import BaseModel

from perago import RetryPolicy, TaskControls, WorkspaceSpec, require_file, task


class Params(BaseModel):
    greeting: str


class Said(BaseModel):
    characters: int


@task(
    name="greet",
    owner_email="someone@example.com",
    workspace=WorkspaceSpec(prefix="words", post=[require_file("greeting.txt")]),
    controls=TaskControls(retry=RetryPolicy(count=1)),
)
def greet(workspace: Path, params: Params) -> Said:
    (workspace / "greeting.txt").write_text(params.greeting)
    return Said(characters=len(params.greeting))
"""


def test_without_an_extra_the_embedded_store_works_and_the_others_name_theirs(
    distributions, make_environment, tmp_path
):
    environment = make_environment(str(distributions.wheel))
    assert not environment.packages() & set().union(*BROUGHT.values())
    told = environment.run("perago", "--version", cwd=tmp_path)
    assert (told.returncode, told.stdout.split()[-1]) == (0, perago.__version__), told.stderr

    repository = ("--repo", "penguins.git", "--branch", "main")
    data = str(PROJECT / "examples" / "data")
    there = {"PYTHONPATH": str(PROJECT / "examples")}
    assert environment.run("perago", "import", data, *repository, cwd=tmp_path).returncode == 0
    ran = environment.run("perago", "run", "penguins.clean", *repository, cwd=tmp_path, environment=there)
    assert ran.returncode == 0, ran.stderr
    files = environment.run("perago", "export", "files", *repository, cwd=tmp_path)
    assert files.returncode == 0, files.stderr
    assert (tmp_path / "files" / "clean" / "gentoo.csv").exists()

    there["CONDUCTOR_SERVER_URL"] = "http://127.0.0.1:1/api"
    started = environment.run("perago", "start", "penguins.clean", cwd=tmp_path, environment=there)
    assert started.returncode == 2
    assert "pip install 'perago[conductor]'" in started.stderr
    imported = environment.run("python", "-c", IMPORTED["lakefs"], cwd=tmp_path)
    assert "RuntimeConfigError" in imported.stderr
    assert "pip install 'perago[lakefs]'" in imported.stderr


@pytest.mark.parametrize("extra", sorted(BROUGHT))
def test_an_extra_brings_what_it_needs(distributions, make_environment, tmp_path, extra):
    environment = make_environment(f"{distributions.wheel}[{extra}]")
    assert environment.packages() >= BROUGHT[extra]
    imported = environment.run("python", "-c", f"{IMPORTED[extra]}; print(it.__name__)", cwd=tmp_path)
    assert (imported.returncode, imported.stderr) == (0, "")


def test_it_takes_the_place_of_the_reference_under_a_module_written_for_that(distributions, make_environment, tmp_path):
    (tmp_path / "words.py").write_text(TASK)
    environment = make_environment("--no-deps", "perago==0.6.1")
    environment.install(f"{distributions.wheel}[all]")
    assert environment.packages() >= set().union(*BROUGHT.values())
    packaged = {name.split("/")[1] for name in distributions.in_wheel() if name.startswith("perago/")}
    (installed,) = environment.directory.glob("lib/python*/site-packages/perago")
    assert {path.name for path in installed.iterdir()} - {"__pycache__"} == packaged

    extracted = environment.run("perago", "extract", "words", "-o", "taskdef.json", cwd=tmp_path)
    assert extracted.returncode == 0, extracted.stderr
    taskdef = json.loads((tmp_path / "taskdef.json").read_text())
    assert (taskdef["name"], taskdef["retryCount"]) == ("greet", 1)
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "readme.txt").write_text("words")
    repository = ("--repo", "words.git", "--branch", "main")
    imported = environment.run("perago", "import", "first", *repository, cwd=tmp_path)
    assert imported.returncode == 0, imported.stderr
    ran = environment.run("perago", "run", "words", "--params", '{"greeting": "hello"}', *repository, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr

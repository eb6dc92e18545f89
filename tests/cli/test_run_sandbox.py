"""A sandbox under `perago run`: what it lacks is told before anything starts, and stamp and record have it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from landlock import needs_landlock
from perago.values.redaction import MASK

BODY = """
from pathlib import Path

from pydantic import BaseModel

from perago import WorkspaceSpec, task


class Params(BaseModel):
    file: str = ""


class Result(BaseModel):
    said: str = ""


@task(name="reader", owner_email="a@example.org", workspace=WorkspaceSpec(), {options})
def read(workspace: Path, params: Params) -> Result:
    (workspace / "said.txt").write_text("said")
    return Result(said=Path(params.file).read_text() if params.file else "")
"""


@pytest.fixture
def body(repository):
    """Writes the module with options of its task."""

    def write(options: str) -> tuple[str, ...]:
        (repository.path / "sandboxed.py").write_text(BODY.format(options=options))
        return ("run", "sandboxed:read", "--repo", "data.git", "--branch", "main")

    return write


@pytest.fixture
def outside(tmp_path) -> Path:
    path = tmp_path / "outside.txt"
    path.write_text("beside")
    return path


def sandbox_of_newest_run(repository) -> dict:
    records = sorted(Path(repository.environment["XDG_STATE_HOME"]).rglob("run.json")) or sorted(
        repository.path.rglob("run.json")
    )
    found: dict = json.loads(records[-1].read_text())["tries"][-1]["sandbox"]
    return found


def stamp_of(perago) -> dict:
    found: dict = perago("log", "--repo", "data.git", "--branch", "main", "-n", "1", "--json").json[0]["stamp"]
    return found


def test_what_a_body_reads_besides_is_noted_in_its_record_and_told(body, perago, repository, outside):
    said = perago(*body('sandbox="report"'), "--param", f"file={outside}")
    assert said.code == 0, said.err
    assert f"read {outside}" in said.err
    noted = sandbox_of_newest_run(repository)
    assert (noted["mode"], noted["reached"], noted["more"]) == ("report", [f"read {outside}"], 0)
    assert stamp_of(perago)["sandbox"] == "report"


def test_what_is_noted_is_bounded_and_the_rest_is_counted(perago, repository, tmp_path):
    for number in range(104):
        (tmp_path / f"{number}.txt").write_text("beside")
    reads_all = '"".join(path.read_text() for path in Path(params.file).glob("*.txt"))'
    body = BODY.format(options='sandbox="report"').replace("Path(params.file).read_text()", reads_all)
    (repository.path / "sandboxed.py").write_text(body)
    said = perago("run", "sandboxed:read", "--repo", "data.git", "--branch", "main", "--param", f"file={tmp_path}")
    assert said.code == 0, said.err
    assert ", and 5 more" in said.err.replace("\n", " ")
    noted = sandbox_of_newest_run(repository)
    assert (len(noted["reached"]), noted["more"]) == (100, 5)  # the listing of the directory is one of them


def test_connections_are_noted(perago, repository):
    connects = "str(__import__('socket').socket().connect_ex(('127.0.0.1', 9)))"
    body = BODY.format(options='sandbox="report"').replace("Path(params.file).read_text()", connects)
    (repository.path / "sandboxed.py").write_text(body)
    said = perago("run", "sandboxed:read", "--repo", "data.git", "--branch", "main", "--param", "file=x")
    assert said.code == 0, said.err
    assert sandbox_of_newest_run(repository)["reached"] == ["connect to 127.0.0.1:9"]


@needs_landlock
def test_a_body_reads_what_its_task_declares_and_the_record_has_it(body, perago, repository, outside):
    said = perago(*body(f'sandbox="enforce", reads=["{outside}"]'), "--param", f"file={outside}", "--json")
    assert said.code == 0, said.err
    assert said.json["output"]["result"] == {"said": "beside"}
    noted = sandbox_of_newest_run(repository)
    assert (noted["mode"], noted["reads"], noted["network"]) == ("enforce", [str(outside)], False)
    assert stamp_of(perago)["sandbox"] == "enforce"


@needs_landlock
def test_the_setting_is_the_default_of_all_tasks(body, perago, outside, monkeypatch):
    monkeypatch.setenv("PERAGO_SANDBOX", "enforce")
    said = perago(*body("description=None"), "--param", f"file={outside}")
    assert said.code == 1
    assert f'declare @task(..., reads=["{outside}"])' in said.err.replace("\n", " ")
    shown = perago("check", "sandboxed").out
    assert "sandbox      enforce" in shown
    monkeypatch.setenv("PERAGO_SANDBOX", "off")
    assert perago(*body("description=None"), "--param", f"file={outside}").code == 0


def test_with_debug_no_sandbox_can_be_had(body, perago, monkeypatch):
    run = body('sandbox="enforce"')
    said = perago(*run, "--debug")
    assert perago("runs", "--repo", "data.git", "--json").json == []
    assert perago(*run, "--debug", "--dry-run").code == 2
    assert said.code == 2, said.err
    assert "with --debug the body runs in the process of the command" in said.err.replace("\n", " ")
    assert "PERAGO_SANDBOX=report" in said.err
    monkeypatch.setenv("PERAGO_SANDBOX", "report")
    assert perago(*run, "--debug").code == 0
    assert stamp_of(perago)["sandbox"] is None  # nothing has watched it


CELL = """
import sys
from pathlib import Path
from pydantic import BaseModel
import perago
from perago import Flow, WorkspaceSpec, task, workflow

class Nothing(BaseModel):
    pass

@task(name="in_a_cell", owner_email="a@example.org", workspace=WorkspaceSpec(), sandbox="enforce")
def in_a_cell(workspace: Path, params: Nothing) -> Nothing:
    (workspace / "out.txt").write_text("not confined")
    return Nothing()

@workflow(name="of_cells", owner_email="a@example.org")
def of_cells(flow: Flow) -> Nothing:
    return flow.run(in_a_cell)

for one in (in_a_cell, of_cells):
    try:
        perago.run(one, repo="data.git", branch="main")
    except perago.RuntimeConfigError as exc:
        print(exc)
"""


def test_a_body_in_the_process_of_a_notebook_is_not_run_without_its_sandbox(repository, perago):
    head = repository.head()
    said = subprocess.run(
        [sys.executable, "-c", CELL], env=repository.environment, cwd=repository.path, capture_output=True, text=True
    )
    assert said.stdout.count("task 'in_a_cell' runs with sandbox 'enforce', but ") == 2, said.stderr
    assert repository.head() == head


@needs_landlock
def test_a_refusal_shows_no_secret(repository, perago, outside):
    secret = outside.rename(outside.with_name("hunter2-hunter2.txt"))
    body = BODY.format(options='sandbox="enforce"').replace('file: str = ""', "file: SecretStr")
    body = body.replace("import BaseModel", "import BaseModel, SecretStr")
    body = body.replace(
        'Path(params.file).read_text() if params.file else ""', "Path(params.file.get_secret_value()).read_text()"
    )
    (repository.path / "secretive.py").write_text(body)
    run = ("run", "secretive:read", "--repo", "data.git", "--branch", "main", "--param", f"file={secret}")
    said = perago(*run)
    assert said.code == 1
    assert "The sandbox refused this" in said.err
    assert "hunter2" not in said.err
    assert sandbox_of_newest_run(repository)["reached"] == [f"read {MASK}"]


@needs_landlock
@pytest.mark.parametrize(
    ("paths", "told"),
    [("/no/such/place", "does not exist on this host"), ("/", "holds the workspaces of all tasks")],
)
def test_paths_that_cannot_be_are_refused_before_anything_starts(body, perago, repository, paths, told):
    head = repository.head()
    said = perago(*body(f'sandbox="enforce", reads=["{paths}"]'))
    assert said.code == 2
    assert told in said.err.replace("\n", " ")
    assert repository.head() == head


def test_an_unknown_mode_is_told_with_those_that_there_are(perago, body, monkeypatch):
    monkeypatch.setenv("PERAGO_SANDBOX", "enforced")
    said = perago(*body("description=None"))
    assert said.code == 2
    assert "must be 'enforce' or 'report' or 'off', not 'enforced'" in said.err

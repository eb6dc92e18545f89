"""Files that stay between the tasks of `perago run`: told, bounded by settings, and without an effect on results."""

from __future__ import annotations

import sys

import pytest

from perago.worker.body.sandbox import lacks_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workspaces stay on Linux only")

FILES = {f"d{number // 50}/{number:03}.txt": f"{number:03}" for number in range(300)}
MODULE = """
import subprocess, sys
from pathlib import Path
from pydantic import BaseModel
from perago import TaskFailed, WorkspaceSpec, task

class Params(BaseModel):
    names: list[str] = []
    word: str = "x"
    fails: bool = False

class Seen(BaseModel):
    files: int
    text: str

@task(name="warm.write", owner_email="a@example.org", workspace=WorkspaceSpec(){options})
def write(workspace: Path, params: Params) -> Seen:
    files = [path for path in sorted(workspace.rglob("*")) if path.is_file()]
    text = "".join(path.read_text() for path in files)
    (workspace / "scratch").mkdir(exist_ok=True)
    for name in params.names:
        (workspace / name).write_text(params.word)
    if params.fails:
        raise TaskFailed("no")
    return Seen(files=len(files), text=text)

@task(name="warm.leave", owner_email="a@example.org", workspace=WorkspaceSpec())
def leave(workspace: Path, params: Params) -> Seen:
    '''Leaves a process that goes on writing.'''
    program = "from pathlib import Path\\nwhile True: Path('d0/001.txt').write_text('late')"
    subprocess.Popen([sys.executable, "-c", program], cwd=workspace, start_new_session=True)
    return Seen(files=0, text="")
"""


MAP = """
from pathlib import Path
from pydantic import BaseModel
from perago import Flow, WorkspaceSpec, task, workflow

class Part(BaseModel):
    part: str

class Seen(BaseModel):
    text: str
    copy_read: str

@task(
    name="warm.item",
    owner_email="a@example.org",
    workspace=WorkspaceSpec(include=["common", "in/{part}"], outputs=["out/{part}"], isolation="snapshot"),
)
def item(workspace: Path, params: Part) -> Seen:
    files = sorted(str(path.relative_to(workspace)) for path in workspace.rglob("*") if path.is_file())
    assert files == ["common", f"in/{params.part}"], files
    status = (workspace / "common").stat()
    text = (workspace / "in" / params.part).read_text()
    (workspace / "out" / params.part).write_text(text)
    return Seen(text=text, copy_read=f"{status.st_ino} {status.st_ctime_ns}")

@workflow(name="warm_map", owner_email="a@example.org")
def items(flow: Flow) -> None:
    flow.map(item, over=["1", "2", "3", "4", "5", "6"], as_="part")
"""


def text_of(changes: dict[str, str]) -> str:
    return "".join(text for _, text in sorted({**FILES, **changes}.items()))


class Runs:
    """Runs of the task on one repository."""

    def __init__(self, project, perago, *place: str) -> None:
        self.root = project.workspace_root
        self._project = project
        self._perago = perago
        self._place = place

    def declare(self, options: str = "") -> Runs:
        (self._project.path / "warmed.py").write_text(MODULE.format(options=options))
        return self

    def __call__(self, *params: str, task: str = "write", code: int = 0):
        given = [part for param in params for part in ("--param", param)]
        said = self._perago("run", f"warmed:{task}", *self._place, *given, "--json")
        assert said.code == code, said.err
        return said

    @property
    def stayed(self) -> int:
        warm = self.root / "warm"
        return len(list(warm.iterdir())) if warm.exists() else 0


@pytest.fixture
def runs(project, perago):
    project.write(FILES)
    assert perago("import", "source", "--repo", "data.git").code == 0
    return Runs(project, perago, "--repo", "data.git", "--branch", "main").declare()


@pytest.fixture
def runs_on_lakefs(songs, perago):
    songs.write(FILES, "more")
    assert perago("import", "more", *songs.on_main, "--mirror").code == 0
    return Runs(songs, perago, *songs.on_main).declare()


def check_three_runs(runs):
    first = runs('names=["d0/001.txt", "new.txt"]')
    assert "kept" not in first.err
    second = runs('names=["d1/060.txt"]', "word=y")
    assert "materialize: 301 files, 299 kept" in second.err
    assert second.json["output"]["result"] == {"files": 301, "text": text_of({"d0/001.txt": "x", "new.txt": "x"})}
    third = runs()
    assert "materialize: 301 files, 300 kept" in third.err
    assert third.json["output"]["result"]["text"] == text_of({"d0/001.txt": "x", "new.txt": "x", "d1/060.txt": "y"})
    assert runs.stayed == 1
    assert [path.name for path in runs.root.iterdir()] == ["warm"]


def test_on_git_only_what_differs_is_laid_out(runs):
    check_three_runs(runs)


def test_on_lakefs_only_what_differs_is_laid_out(runs_on_lakefs):
    check_three_runs(runs_on_lakefs)


@pytest.mark.skipif(lacks_for(network=False) is not None, reason="only Linux with Landlock enforces a sandbox")
def test_in_a_sandbox_too(runs):
    check_three_runs(runs.declare(', sandbox="enforce"'))


def test_a_run_that_fails_leaves_nothing_and_takes_what_is_there(runs):
    runs()
    runs("fails=true", code=1)
    assert runs.stayed == 0
    assert "kept" not in runs().err


def test_what_a_process_that_the_body_left_could_write_is_never_seen(runs):
    runs(task="leave")
    second = runs()
    assert second.json["output"]["result"]["files"] == 300
    third = runs()
    assert third.json["output"]["result"] == second.json["output"]["result"]


def test_tasks_of_a_map_that_read_files_of_their_own_share_the_common_one(project, perago):
    project.write({"common": "x" * 17 * 1024**2, **{f"in/{part}": f"of {part}" for part in range(1, 7)}})
    assert perago("import", "source", "--repo", "data.git").code == 0
    (project.path / "mapped.py").write_text(MAP)
    said = perago("run", "mapped:items", "--repo", "data.git", "--branch", "main", "-j", "2", "--json")
    assert said.code == 0, said.err
    results = [task["output"]["result"] for task in said.json["tasks"] if task["task"] == "warm.item"]
    assert [result["text"] for result in results] == [f"of {part}" for part in range(1, 7)]
    assert len({result["copy_read"] for result in results}) <= 2
    assert perago("export", "out", "--repo", "data.git", "--branch", "main", "--prefix", "out").code == 0
    assert sorted(path.name for path in (project.path / "out").iterdir()) == list("123456")


def test_off_leaves_nothing(runs, monkeypatch):
    runs()
    monkeypatch.setenv("PERAGO_WARM", "off")
    assert "kept" not in runs().err
    assert runs.stayed == 1
    monkeypatch.delenv("PERAGO_WARM")
    monkeypatch.setenv("PERAGO_WARM_MAX_SIZE", "1KB")
    runs()
    assert runs.stayed == 0

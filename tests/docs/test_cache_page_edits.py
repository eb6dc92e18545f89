"""The table of docs/cache.md that compares Perago with others: its column for Perago, found by making each edit."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from git_support import GIT_ENVIRONMENT
from landlock import needs_landlock
from pages import PROJECT, environment

PAGE = PROJECT / "docs" / "cache.md"

TASKS = """
import atexit
import os
import tempfile
import threading
import time
from pathlib import Path

from pydantic import BaseModel

import weights
from app.helper import shout
from perago import WorkspaceSpec, task


class Params(BaseModel):
    least: int = 1
    more: dict[str, int] = {}


class Counts(BaseModel):
    files: int


WORKSPACE = WorkspaceSpec(include=["raw/**"], outputs=["counts/**"])


@task(name="count", owner_email="ada@example.org", workspace=WORKSPACE, cache=True, environment=["SUFFIX"])
def count(workspace: Path, params: Params) -> Counts:
    text = (workspace / "raw" / "a.txt").read_text()
    facts = [shout(text), params.least, sorted(params.more), weights.ONE, os.environ.get("SUFFIX")]
    (workspace / "counts" / "a.txt").write_text(" ".join(map(str, facts)))
    return Counts(files=1)


def peek(workspace):
    (workspace / "counts" / "a.txt").write_text(Path(__file__).parents[2].joinpath("beside.txt").read_text())
    return Counts(files=1)


@task(name="seen", owner_email="ada@example.org", workspace=WORKSPACE, cache=True, sandbox="report")
def peek_where_it_is_seen(workspace: Path, params: Params) -> Counts:
    return peek(workspace)


@task(name="refused", owner_email="ada@example.org", workspace=WORKSPACE, cache=True, sandbox="enforce")
def peek_where_it_is_refused(workspace: Path, params: Params) -> Counts:
    return peek(workspace)


@task(name="around", owner_email="ada@example.org", workspace=WORKSPACE, cache=True, sandbox="enforce")
def look_around(workspace: Path, params: Params) -> Counts:
    facts = [Path(__file__).parents[2].joinpath("beside.txt").exists(), len(list(Path(__file__).parent.iterdir()))]
    (workspace / "counts" / "a.txt").write_text(" ".join(map(str, facts)))
    return Counts(files=1)


@task(name="modules", owner_email="ada@example.org", workspace=WORKSPACE, cache=True)
def open_modules(workspace: Path, params: Params) -> Counts:
    project = Path(__file__).parents[1]
    facts = [project.joinpath(*name.split("/")).read_text() for name in MODULES]
    (workspace / "counts" / "a.txt").write_text(" ".join([*facts, *os.listdir(project / "pack" / "more")]))
    return Counts(files=1)


MODULES = ["other.py", "pack/data.txt", "app/unused.py"]


@task(name="indirect", owner_email="ada@example.org", workspace=WORKSPACE, cache=True)
def open_indirectly(workspace: Path, params: Params) -> Counts:
    data, out = Path(__file__).parents[1] / "pack" / "data.txt", workspace / "counts" / "a.txt"
    if params.least == 1:
        atexit.register(copy, data, out)
    elif params.least == 2:
        threading.Thread(target=copy, args=(data, out)).start()
    elif params.least == 3:
        if os.fork() == 0:
            copy(data, out)
            os._exit(0)
        os.wait()
    elif params.least == 4:
        import multiprocessing

        with multiprocessing.get_context("fork").Pool(1) as pool:
            pool.apply(copy, (data, out))
    elif params.least == 5:
        link = Path(tempfile.mkdtemp(), "link")
        link.symlink_to(data.parent)
        copy(link / "data.txt", out)
    else:
        os.chdir(data.parent)
        copy(Path("/proc/self/cwd/data.txt"), out)
    return Counts(files=1)


def copy(source: Path, target: Path) -> None:
    time.sleep(0.2)  # until its body has returned, if it does
    target.write_text(source.read_text())


@task(name="ordinary", owner_email="ada@example.org", workspace=WORKSPACE, cache=True)
def do_as_programs_do(workspace: Path, params: Params) -> Counts:
    import importlib.resources
    import inspect
    import multiprocessing
    import pkgutil
    import warnings

    import app

    warnings.warn("shown with its line", stacklevel=1)
    facts = [importlib.resources.files("app").joinpath("words.txt").read_text(), len(inspect.getsource(shout)) > 0]
    facts += [sorted(each.name for each in pkgutil.iter_modules(app.__path__))]
    with multiprocessing.get_context("fork").Pool(1) as pool:
        facts += pool.map(shout, ["a"])
    (workspace / "counts" / "a.txt").write_text(" ".join(map(str, facts)))
    return Counts(files=1)


@task(name="named", owner_email="ada@example.org", workspace=WORKSPACE, cache=True)
def read_what_is_named(workspace: Path, params: Params) -> Counts:
    copy(Path(__file__).parents[2] / "beside.txt", workspace / "counts" / "a.txt")
    return Counts(files=1)
"""
HELPER = """
from pathlib import Path


def shout(text):
    return text.upper() + Path(__file__).with_name("words.txt").read_text()
"""
PARAMS = '{"least": 1, "more": {"x": 1, "y": 2}}'
FIRST = "HI! 1 ['x', 'y'] 1 None"


@dataclass(frozen=True)
class Place:
    """A project beside its repository, and the commands on it, each in a process of its own."""

    path: Path

    def perago(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        project = self.path / "project"
        given = environment(self.path, PYTHONPATH=f"{project}{os.pathsep}{project}/site-packages", **variables)
        command = ["perago", *arguments, "--repo", "data.git", "--branch", "main"]
        return subprocess.run(command, cwd=self.path, env=given, capture_output=True, text=True, timeout=120)

    def run(self, task: str = "count", params: str = PARAMS, **variables: str) -> str:
        """How the run completed."""
        done = self.perago("run", f"app.tasks:{task}", "--params", params, "--json", **variables)
        assert done.returncode == 0, done.stderr
        how = json.loads(done.stdout)["how"]
        assert isinstance(how, str)
        return how

    def write(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def install_weights(self, version: int) -> None:
        installed = self.path / "project" / "site-packages"
        shutil.rmtree(installed, ignore_errors=True)
        self.write("project/site-packages/weights.py", f"ONE = {version}\n")
        about = f"project/site-packages/weights-{version}.0.dist-info"
        self.write(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: weights\nVersion: {version}.0\n")
        self.write(f"{about}/RECORD", "weights.py,,\n")

    def replace(self, name: str, before: str, after: str) -> None:
        text = (self.path / "project" / "app" / name).read_text(encoding="utf-8")
        assert before in text
        self.write(f"project/app/{name}", text.replace(before, after))

    def bring_in(self) -> None:
        done = self.perago("import", "source")
        assert done.returncode == 0, done.stderr

    def by_hand(self, *commands: str, **files: str) -> None:
        """Change the branch in a clone, with git; files by their directories, each of which has an `a.txt`."""
        self._git("clone", "--quiet", "--branch", "main", "data.git", "clone")
        for directory, text in files.items():
            self.write(f"clone/{directory}/a.txt", text)
        for command in [*commands, *(["commit --all --message=Edit"] if files else [])]:
            self._git("-C", "clone", *command.split())
        self._git("-C", "clone", "push", "--quiet", "origin", "HEAD:main")

    def _git(self, *arguments: str) -> str:
        return subprocess.run(
            ["git", "-c", "safe.directory=*", *arguments],
            cwd=self.path,
            env=GIT_ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout

    def output(self) -> str:
        return self._git("-C", "data.git", "show", "main:counts/a.txt")


@pytest.fixture(scope="module")
def after_one_run(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("first"))
    place.write("source/raw/a.txt", "hi")
    place.write("beside.txt", "beside")
    place.write("project/app/__init__.py", "")
    place.write("project/app/words.txt", "!")
    place.write("project/app/helper.py", HELPER)
    place.write("project/app/tasks.py", TASKS)
    place.install_weights(1)
    place.bring_in()
    assert place.run() == "published"
    assert place.output() == FIRST
    return place


@pytest.fixture
def place(after_one_run: Place, tmp_path: Path) -> Place:
    shutil.copytree(after_one_run.path, tmp_path, dirs_exist_ok=True, symlinks=True)
    return Place(tmp_path)


# ---------------------------------------------------------------- the edits


def _change_input(place: Place) -> str:
    place.by_hand(raw="ho")
    return place.run()


def _touch_input(place: Place) -> str:
    os.utime(place.path / "source" / "raw" / "a.txt", (1, 1))
    place.bring_in()
    return place.run()


def _comment(place: Place) -> str:
    place.replace("tasks.py", "    text =", "    # a comment\n    text =")
    place.replace("helper.py", "\n\n\ndef", "\n\n\n# a comment\ndef")
    return place.run()


def _change_body(place: Place) -> str:
    place.replace("tasks.py", "sorted(params.more)", "len(params.more)")
    return place.run()


def _change_helper(place: Place) -> str:
    place.replace("helper.py", "upper", "title")
    return place.run()


def _change_data_file(place: Place) -> str:
    place.write("project/app/words.txt", "?")
    return place.run()


def _upgrade_library(place: Place) -> str:
    place.install_weights(2)
    return place.run()


def _change_param(place: Place) -> str:
    return place.run(params=PARAMS.replace('"least": 1', '"least": 2'))


def _reorder_params(place: Place) -> str:
    return place.run(params='{"more": {"y": 2, "x": 1}, "least": 1}')


def _set_variable(place: Place) -> str:
    return place.run(SUFFIX="s")


def _delete_output(place: Place) -> str:
    place.by_hand("rm counts/a.txt", "commit --message=Tidy")
    return place.run()


def _damage_output(place: Place) -> str:
    place.by_hand(counts="damaged")
    return place.run()


def _revert(place: Place) -> str:
    place.by_hand("revert --no-edit HEAD")
    return place.run()


@dataclass(frozen=True)
class Edit:
    """An edit and a run after it.

    Attributes:
        then: what the task makes of it, whoever asks.
        refuses: a person has said that the result of before is not to be used, although it would be the same.
    """

    make: Callable[[Place], str]
    then: str = FIRST
    refuses: bool = False

    def found(self, place: Place) -> str:
        """What the run did, in a word of the page."""
        is_taken = self.make(place) == "cached"
        may_take = self.then == FIRST and not self.refuses
        assert is_taken or place.output() == self.then
        if is_taken:
            return "taken" if may_take and place.output() == FIRST else "stale"
        return "in vain" if may_take else "runs"


EDITS = {
    "an input file's content": Edit(_change_input, FIRST.replace("HI", "HO")),
    "an input file's time": Edit(_touch_input),
    "a comment in the code": Edit(_comment),
    "the code of the body": Edit(_change_body, FIRST.replace("['x', 'y']", "2")),
    "a module that the body imports": Edit(_change_helper, FIRST.replace("HI", "Hi")),
    "a data file of the package": Edit(_change_data_file, FIRST.replace("!", "?")),
    "a library, upgraded": Edit(_upgrade_library, FIRST.replace("1 None", "2 None")),
    "a param": Edit(_change_param, FIRST.replace("! 1", "! 2")),
    "the order of params' keys": Edit(_reorder_params),
    "an environment variable": Edit(_set_variable, FIRST.replace("None", "s")),
    "an output, deleted": Edit(_delete_output),
    "an output, damaged": Edit(_damage_output),
    "the result, reverted by a person": Edit(_revert, refuses=True),
}
BESIDE = "a file beside the declared inputs"


def _column() -> dict[str, str]:
    """What the page says of Perago, by edit."""
    page = PAGE.read_text(encoding="utf-8").partition("## Beside DVC, Flyte and Nextflow")[2]
    head, _, *rows = re.findall(r"^\|(.*)\|$", page.partition("\n\n- ")[0], re.MULTILINE)
    at = [cell.strip() for cell in head.split("|")].index("Perago")
    cells = [[cell.strip() for cell in row.split("|")] for row in rows]
    return {row[0]: row[at] for row in cells}


def test_each_edit_of_the_page_is_made_here():
    assert _column().keys() == {*EDITS, BESIDE}


@pytest.mark.parametrize("edit", EDITS)
def test_perago_does_what_the_page_says(place, edit):
    assert EDITS[edit].found(place) == _column()[edit]


def test_a_result_that_depends_on_a_file_beside_the_inputs_is_not_used_again(place):
    assert _column()[BESIDE] == "refused, or runs"
    assert place.run("peek_where_it_is_seen") == "published"
    place.write("beside.txt", "other")
    assert place.run("peek_where_it_is_seen") == "published"
    assert place.output() == "other"


@needs_landlock
def test_a_file_beside_the_inputs_is_refused(place):
    done = place.perago("run", "app.tasks:peek_where_it_is_refused")
    assert done.returncode == 1
    assert "beside.txt" in done.stderr
    assert place.output() == FIRST


@needs_landlock
def test_what_the_page_says_is_not_in_the_key_is_not(place):
    assert place.run("look_around", PYTHONDONTWRITEBYTECODE="1") == "published"
    (place.path / "beside.txt").unlink()
    place.write("project/app/unused.py", "1")
    assert place.run("look_around", PERAGO_RUN_CACHE="proven") == "cached"


@pytest.mark.parametrize("sandbox", ["report", pytest.param("enforce", marks=needs_landlock)])
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_result_that_depends_on_modules_that_it_only_opens_is_not_used_again(place, sandbox, start):
    def run() -> str:
        return place.run("open_modules", PERAGO_BODY_START=start)

    place.replace("tasks.py", '@task(name="modules", ', f'@task(name="modules", sandbox="{sandbox}", ')
    for name in ("other.py", "pack/__init__.py", "pack/data.txt", "pack/more/data.txt", "app/unused.py"):
        place.write(f"project/{name}", "1")
    assert run() == "published"
    assert place.output() == "1 1 1 data.txt"
    place.write("project/other.py", "2")
    place.write("project/pack/more/other.txt", "2")
    assert run() == "published"
    assert place.output() in ("2 1 1 data.txt other.txt", "2 1 1 other.txt data.txt")
    named = [str(place.path / "project" / "other.py"), "pack", "app.unused"]
    place.replace("tasks.py", '@task(name="modules", ', f'@task(name="modules", depends={named!r}, ')
    assert [run(), run()] == ["unchanged", "cached"]
    place.write("project/app/unused.py", "3")
    assert run() == "published"


@pytest.mark.parametrize("sandbox", ["report", pytest.param("enforce", marks=needs_landlock)])
@pytest.mark.parametrize("way", range(1, 7), ids=["at exit", "a thread", "a fork", "a pool", "a link", "proc"])
def test_however_a_body_opens_what_no_key_has_its_result_is_not_used_again(place, sandbox, way):
    def run() -> str:
        return place.run("open_indirectly", json.dumps({"least": way}))

    place.replace("tasks.py", '@task(name="indirect", ', f'@task(name="indirect", sandbox="{sandbox}", ')
    place.write("project/pack/__init__.py", "")
    place.write("project/pack/data.txt", "1")
    assert run() == "published"
    place.write("project/pack/data.txt", "2")
    assert run() == "published"
    assert place.output() == "2"


@needs_landlock
def test_a_file_that_is_named_for_the_key_can_be_read(place):
    done = place.perago("run", "app.tasks:read_what_is_named")
    beside = str(place.path / "beside.txt")
    assert f'name it for the key, by @task(..., depends=["{beside}"])' in done.stderr
    place.replace("tasks.py", '@task(name="named", ', f'@task(name="named", depends=["{beside}"], ')
    assert [place.run("read_what_is_named"), place.run("read_what_is_named")] == ["published", "cached"]
    place.write("beside.txt", "other")
    assert place.run("read_what_is_named") == "published"
    assert place.output() == "other"


@pytest.mark.parametrize("sandbox", ["report", pytest.param("enforce", marks=needs_landlock)])
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_what_a_body_reads_of_its_own_code_is_in_the_key(place, sandbox, start):
    place.replace("tasks.py", '@task(name="ordinary", ', f'@task(name="ordinary", sandbox="{sandbox}", ')
    runs = [place.run("do_as_programs_do", PERAGO_BODY_START=start, PERAGO_RUN_CACHE="observed") for _ in range(2)]
    assert runs == ["published", "cached"]
    assert place.output() == "! True ['helper', 'tasks'] A!"

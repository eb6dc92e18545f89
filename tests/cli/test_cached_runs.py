"""Tasks with a cache, by `perago run`, on git and on lakeFS: what is computed, and what is taken from the history."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli_project import Said

PACKAGE = {
    "app/__init__.py": "",
    "app/words.txt": "!",
    "app/helper.py": '''
"""Helps."""
from pathlib import Path


def shout(text):
    """Louder."""
    return text.upper() + Path(__file__).with_name("words.txt").read_text()
''',
    "app/tasks.py": """
from pathlib import Path

from pydantic import BaseModel

from perago import Flow, WorkspaceSpec, task, workflow
from app.helper import shout


class Params(BaseModel):
    suffix: str = ""
    more: dict[str, int] = {}


class Result(BaseModel):
    files: int


@task(
    name="cached_clean",
    owner_email="ada@example.org",
    workspace=WorkspaceSpec(include=["raw/**"], outputs=["clean/**"]),
    cache=True,
)
def clean(workspace: Path, params: Params) -> Result:
    paths = sorted((workspace / "raw").glob("*.txt"))
    for path in paths:
        (workspace / "clean" / path.name).write_text(shout(path.read_text()) + params.suffix)
    return Result(files=len(paths))


@task(
    name="cached_count",
    owner_email="ada@example.org",
    workspace=WorkspaceSpec(include=["raw/**"], read_only=True),
    cache=True,
)
def count(workspace: Path, params: Params) -> Result:
    return Result(files=len(list((workspace / "raw").iterdir())))


class Shard(BaseModel):
    shard: str


@task(
    name="cached_shard",
    owner_email="ada@example.org",
    workspace=WorkspaceSpec(include=["raw/{shard}.txt"], outputs=["features/{shard}/**"]),
    cache=True,
)
def shard(workspace: Path, params: Shard) -> Result:
    text = (workspace / "raw" / f"{params.shard}.txt").read_text()
    (workspace / "features" / params.shard / "text").write_text(shout(text))
    return Result(files=1)


class Shards(BaseModel):
    shards: list[str]


@workflow(name="cached_whole", owner_email="ada@example.org", transactional=True)
def whole(flow: Flow, params: Params) -> None:
    flow.run(clean, suffix=params.suffix)


@workflow(name="cached_shards", owner_email="ada@example.org")
def shards(flow: Flow, params: Shards) -> None:
    flow.map(shard, over=params.shards, as_="shard")
""",
}
RAW = {"raw/a.txt": "a", "raw/b.txt": "b", "other.txt": "other"}


@dataclass
class Place:
    """A repository with raw files, and the commands on it, each in a process of its own, which reads the code anew."""

    path: Path
    options: tuple[str, ...]
    files: Callable[[], dict[str, str]]

    def perago(self, *arguments: str) -> Said:
        command = [sys.executable, "-m", "perago", *arguments]
        done = subprocess.run(command, cwd=self.path, capture_output=True, text=True, timeout=120, check=False)
        return Said(done.returncode, done.stdout, done.stderr)

    def run(self, *arguments: str, task: str = "app.tasks:clean") -> dict:
        said = self.perago("run", task, *self.options, "--json", *arguments)
        assert said.code == 0, said.err
        return said.json

    def ran(self, *arguments: str, **options: str) -> str:
        """How a run completed."""
        return self.run(*arguments, **options)["how"]

    def edit(self, files: dict[str, str]) -> None:
        """Commit files of the source directory by hand."""
        for name, text in files.items():
            path = self.path / "source" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        said = self.perago("import", "source", *self.options)
        assert said.code == 0, said.err

    def code(self, name: str, before: str, after: str) -> None:
        path = self.path / name
        text = path.read_text()
        assert before in text
        path.write_text(text.replace(before, after))


@pytest.fixture(params=["git", pytest.param("lakefs", marks=pytest.mark.long)])
def place(request, project, perago):
    if request.param == "git":
        made = Place(
            project.path,
            ("--repo", "data.git", "--branch", "main"),
            lambda: {path: project.show(path) for path in project.git("ls-tree", "-r", "--name-only", "main").split()},
        )
    else:
        songs = request.getfixturevalue("songs")
        made = Place(songs.path, songs.on_main, songs.files)
    for name, text in PACKAGE.items():
        (made.path / name).parent.mkdir(exist_ok=True)
        (made.path / name).write_text(text)
    made.edit(RAW)
    return made


CLEAN = {"clean/a.txt": "A!", "clean/b.txt": "B!"}


def test_what_has_not_changed_is_not_computed_again(place, monkeypatch):
    first = place.run()
    assert first["how"] == "published"
    second = place.run()
    assert (second["how"], second["cached_from"]) == ("cached", first["output"]["workspace"]["ref"])
    assert second["output"] == first["output"]  # the branch has these outputs already
    place.edit({"raw/a.txt": "changed"})
    third = place.run()
    assert third["how"] == "published"
    assert place.files()["clean/a.txt"] == "CHANGED!"
    place.edit({"raw/a.txt": "a"})
    fourth = place.run()
    assert (fourth["how"], fourth["cached_from"]) == ("cached", first["output"]["workspace"]["ref"])
    assert fourth["output"]["result"] == first["output"]["result"]
    assert {path: text for path, text in place.files().items() if path.startswith("clean/")} == CLEAN
    said = place.perago("run", "app.tasks:clean", *place.options, "--no-cache", "--json")
    assert said.json["how"] == "unchanged", said.err
    assert "cache: the body runs; earlier results are turned off for this run" in said.err
    monkeypatch.setenv("PERAGO_RUN_CACHE", "off")
    assert place.ran() == "unchanged"


def test_runs_that_begin_at_once_compute_once_and_all_complete(place):
    command = [sys.executable, "-m", "perago", "run", "app.tasks:clean", *place.options, "--json"]
    runs = [subprocess.Popen(command, cwd=place.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)]
    said = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [0] * 4, said
    how = Counter(json.loads(out)["how"] for out, _ in said)
    assert how == {"published": 1, "cached": 3}
    assert {path: text for path, text in place.files().items() if path.startswith("clean/")} == CLEAN


def test_the_list_of_runs_and_a_workflow_s_own_tell_what_was_taken(place):
    [first, _] = [place.run(), place.run()]
    [of_task, computed] = place.perago("runs", *place.options[:2], "--json").json
    assert (of_task["cached_from"], computed["cached_from"]) == (first["output"]["workspace"]["ref"], None)
    assert f", cached from {of_task['cached_from'][:12]}" in place.perago("runs", *place.options[:2]).out
    shards = ("--params", json.dumps({"shards": ["a"]}))
    before, after = (place.run(*shards, task="app.tasks:shards")["tasks"] for _ in range(2))
    assert all(task["cached_from"] is None for task in before)
    [taken] = [task["cached_from"] for task in after if task["task"] == "cached_shard"]
    assert taken == next(task["output"]["workspace"]["ref"] for task in before if task["task"] == "cached_shard")
    listed = place.perago("runs", *place.options[:2], "-n", "1", "--json").json[0]["tasks"]
    assert taken in [task["cached_from"] for task in listed]


def test_what_changes_no_result_is_no_miss(place):
    place.run("--params", json.dumps({"suffix": "?", "more": {"x": 1, "y": 2}}))
    place.edit({"other.txt": "another"})
    place.code("app/helper.py", '"""Louder."""', '"""Much louder."""  # a comment')
    place.code("app/tasks.py", 'owner_email="ada@', 'description="Cleans.", owner_email="grace@')
    os.utime(place.path / "app" / "words.txt", (1, 1))
    assert place.ran("--params", json.dumps({"more": {"y": 2, "x": 1}, "suffix": "?"})) == "cached"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda place: place.code("app/helper.py", "upper", "lower"), id="another module"),
        pytest.param(lambda place: place.code("app/words.txt", "!", "!!"), id="a data file of the package"),
        pytest.param(lambda place: place.code("app/tasks.py", "+ params.suffix", '+ params.suffix + "."'), id="code"),
        pytest.param(lambda place: place.edit({"raw/c.txt": "c"}), id="a further file"),
    ],
)
def test_what_may_change_a_result_is_a_miss(place, change):
    place.run()
    change(place)
    assert place.ran() == "published"
    assert place.ran() == "cached"


def test_a_body_that_imports_what_no_key_has_proves_nothing(place):
    (place.path / "app" / "hidden.py").write_text("SUFFIX = 1")
    hidden = (
        "import pickle\n    suffix = pickle.loads(b'capp.hidden\\nSUFFIX\\n.')\n    return text.upper() + str(suffix)"
    )
    place.code("app/helper.py", 'return text.upper() + Path(__file__).with_name("words.txt").read_text()', hidden)
    first = place.run()
    assert first["how"] == "published"
    assert place.files()["clean/a.txt"] == "A1"
    assert place.ran() == "unchanged"  # it ran again
    (place.path / "app" / "hidden.py").write_text("SUFFIX = 2")
    assert place.ran() == "published"
    assert place.files()["clean/a.txt"] == "A2"


def test_a_read_only_task_takes_an_earlier_result(place):
    first = place.run(task="app.tasks:count")
    assert (first["how"], first["output"]["result"]) == ("read-only", {"files": 2})
    second = place.run(task="app.tasks:count")
    assert (second["how"], second["output"]) == (
        "cached",
        first["output"] | {"workspace": second["output"]["workspace"]},
    )
    assert "would take the result of commit" in place.perago("why", "app.tasks:count", *place.options).out
    place.edit({"raw/c.txt": "c"})
    third = place.run(task="app.tasks:count")
    assert (third["how"], third["output"]["result"]) == ("read-only", {"files": 3})
    assert place.run("--no-cache", task="app.tasks:count")["how"] == "read-only"


def test_a_read_only_task_with_a_cache_reads_what_its_branch_does_not_have(place):
    """Nobody can seal its result then, and it is computed all the same."""
    place.perago("import", "source", *place.options[:-1], "elsewhere")
    old = place.run(task="app.tasks:clean")["output"]["workspace"]["ref"]
    options = ("--ref", old, *place.options[:-1], "elsewhere")
    for _ in range(2):
        said = place.perago("run", "app.tasks:count", "--json", *options)
        assert (said.code, said.json["how"]) == (0, "read-only"), said.err


def test_a_map_computes_the_items_that_changed(place):
    params = ("--params", json.dumps({"shards": ["a", "b"]}))
    first = place.perago("run", "app.tasks:shards", *place.options, *params)
    assert first.code == 0, first.err
    place.edit({"raw/b.txt": "bb"})
    second = place.perago("run", "app.tasks:shards", *place.options, *params)
    assert second.code == 0, second.err
    assert second.err.count("cached from") == 1, second.err
    files = place.files()
    assert (files["features/a/text"], files["features/b/text"]) == ("A!", "BB!")


def test_a_result_of_another_branch_is_taken(place):
    first = place.run()
    place.options = (*place.options[:-1], "other")
    place.edit({})
    found = place.run()
    assert (found["how"], found["cached_from"]) == ("cached", first["output"]["workspace"]["ref"])


def test_a_result_that_is_distrusted_is_computed_again(place):
    first = place.run()
    commit = first["output"]["workspace"]["ref"]
    said = place.perago("distrust", commit[:12], *place.options)
    assert (said.code, said.err.splitlines()[-1]) == (2, "error: Missing option '--reason'.")
    said = place.perago("distrust", commit[:12], "--reason", "the sensor was broken", *place.options)
    assert said.code == 0, said.err
    told = place.perago("why", "app.tasks:clean", *place.options)
    assert told.out.strip() == (
        f"The body would run. Nothing that it depends on has changed, but the result of commit {commit[:12]} is not "
        f"used: it is distrusted."
    )
    line = place.perago("why", "app.tasks:clean", *place.options, "--json").json["line"]
    ran = place.perago("run", "app.tasks:clean", *place.options, "--json")
    assert ran.json["how"] == "unchanged"  # it ran, and made the same
    assert f"cache: the body runs; {line}" in ran.err
    assert place.ran() == "cached"
    assert (
        "distrusted: the result of " + commit[:12] + ": the sensor was broken"
        in place.perago("log", *place.options).out
    )
    said = place.perago("distrust", commit, "--undo", *place.options)
    assert said.code == 0, said.err
    assert place.ran() == "cached"
    nobodys = place.perago("import", "source", *place.options[:-1], "by-hand")
    assert nobodys.code == 0, nobodys.err
    said = place.perago("distrust", "by-hand", "--reason", "x", *place.options)
    assert said.code == 2, said
    assert "was not made by a task" in said.err


def test_why_names_what_has_changed(place):
    told = place.perago("why", "app.tasks:clean", *place.options)
    assert told.out.strip() == "The body would run: the history has no earlier result of this task to compare with."
    first = place.run()
    commit = first["output"]["workspace"]["ref"]
    assert place.perago("why", "app.tasks:clean", *place.options).out.strip() == (
        f"It would take the result of commit {commit}."
    )
    place.edit({"raw/a.txt": "changed", "raw/c.txt": "c"})
    place.code("app/helper.py", "upper", "lower")
    params = ("--params", json.dumps({"suffix": "?"}))
    told = place.perago("why", "app.tasks:clean", *place.options, *params, "--json").json
    assert (told["takes"], told["since"]) == (None, commit)
    assert [(each["part"], each["name"], each["how"]) for each in told["differences"]] == [
        ("file", "raw/a.txt", "changed"),
        ("file", "raw/c.txt", "added"),
        ("param", "suffix", "changed"),
        ("source", "app.helper", "changed"),
    ]
    ran = place.perago("run", "app.tasks:clean", *place.options, *params)
    line = (
        f"changed since {commit[:12]}: file raw/a.txt changed, file raw/c.txt added, param suffix: '' -> '?', "
        f"source app.helper changed"
    )
    assert f"cache: the body runs; {line}" in ran.err
    assert told["line"] == line


TYPED = """
from pathlib import Path

from pydantic import BaseModel, HttpUrl

from perago import Flow, WorkspaceSpec, task, workflow


class Params(BaseModel):
    max_qty: float = 100
    path: Path = Path("raw")
    site: HttpUrl = HttpUrl("https://example.org")
    tags: set[str] = {"alpha", "beta", "gamma", "delta"}
    dec: int = 1


class Result(BaseModel):
    max_qty: str


@task(
    name="typed",
    owner_email="ada@example.org",
    workspace=WorkspaceSpec(include=["raw/**"], read_only=True),
    cache=True,
)
def typed(workspace: Path, params: Params) -> Result:
    return Result(max_qty=repr(params.max_qty))


@workflow(name="typed_flow", owner_email="ada@example.org")
def typed_flow(flow: Flow, params: Params) -> None:
    flow.run(
        typed, max_qty=params.max_qty, path=params.path, site=params.site, tags=params.tags, dec=params.dec
    )
"""


@pytest.mark.parametrize("place", ["git"], indirect=True)
def test_params_with_defaults_paths_urls_and_sets(place):
    """A default is as good as the same value that is given, and `why` names what differs alone, in each process."""
    (place.path / "typed.py").write_text(TYPED)
    assert place.run(task="typed:typed")["output"]["result"] == {"max_qty": "100"}
    for params in ({"max_qty": 100}, {"path": "raw", "site": "https://example.org/"}):
        assert place.ran("--params", json.dumps(params), task="typed:typed") == "cached"
    assert place.ran("--params", json.dumps({"tags": [*"ab"]}), task="typed:typed") == "read-only"
    assert "typed: up to date" in place.perago("status", "typed:typed_flow", *place.options).out
    told = place.perago("why", "typed:typed", *place.options, "--params", '{"dec": 2}', "--json").json
    assert [(each["name"], each["before"], each["after"]) for each in told["differences"]] == [("dec", "1", "2")]


@pytest.mark.parametrize("place", ["git"], indirect=True)
def test_what_a_person_reverts_is_computed_again(project, place):
    """A publication, and a transactional run as a whole."""
    for target in ("app.tasks:clean", "app.tasks:whole"):
        place.edit({"raw/a.txt": target})
        assert place.perago("run", target, *place.options).code == 0
        revert(project)
        assert "clean/a.txt" not in place.files() or place.files()["clean/a.txt"] != f"{target.upper()}!"
        ran = place.perago("run", target, *place.options)
        assert ran.code == 0, ran.err
        assert "cached from" not in ran.err
        assert "is taken" not in ran.err
        assert place.files()["clean/a.txt"] == f"{target.upper()}!"


def revert(project) -> None:
    """As a person does, in a clone."""
    clone = project.path / "clone"
    options = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "safe.directory=*"]

    def git(*arguments: str) -> None:
        subprocess.run(["git", *options, *arguments], check=True, capture_output=True, timeout=60)

    git("clone", "--quiet", "--branch", "main", str(project.path / "data.git"), str(clone))
    parents = project.git("rev-list", "--parents", "-n", "1", "main").split()[1:]
    mainline = ["-m", "1"] if len(parents) > 1 else []
    git("-C", str(clone), "revert", "--no-edit", *mainline, "HEAD")
    git("-C", str(clone), "push", "--quiet", "origin", "HEAD:main")
    shutil.rmtree(clone)

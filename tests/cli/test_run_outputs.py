"""Declared outputs, filled from params: a workflow with a shard for each item, on git and on lakeFS."""

from __future__ import annotations

import json

import pytest

SHARDS = """
import tempfile
from pathlib import Path

from pydantic import BaseModel

from perago import Flow, WorkspaceSpec, require_file, task, workflow


class Shard(BaseModel):
    shard: str
    stray: bool = False


class Rows(BaseModel):
    rows: int
    seen: list[str]


@task(
    name="outputs_feature",
    owner_email="ada@example.org",
    workspace=WorkspaceSpec(
        pre=[require_file("raw/{shard}.txt")],
        include=["raw/{shard}.txt"],
        outputs=["features/{shard}/**"],
        post=[require_file("features/{shard}/rows.txt")],
    ),
)
def feature(workspace: Path, params: Shard) -> Rows:
    seen = sorted(path.relative_to(workspace).as_posix() for path in workspace.rglob("*") if path.is_file())
    text = (workspace / "raw" / f"{params.shard}.txt").read_text()
    (workspace / "features" / params.shard / "rows.txt").write_text(text.upper())
    if params.stray:
        (workspace / "notes.txt").write_text("stray")
    return Rows(rows=len(text), seen=seen)


class Params(BaseModel):
    shards: list[str]


@workflow(name="outputs_features", owner_email="ada@example.org")
def features(flow: Flow, params: Params) -> None:
    flow.map(feature, over=params.shards, as_="shard")
"""


@pytest.fixture(params=["git", "lakefs"])
def place(request, project, perago):
    """Options for a repository with some shards, and what its branch holds."""
    if request.param == "git":
        (project.path / "shards.py").write_text(SHARDS)
        project.write({**RAW, "other.txt": "other"})
        assert perago("import", "source", "--repo", "data.git").code == 0
        options = ("--repo", "data.git", "--branch", "main")
        return options, lambda: {
            path: project.show(path) for path in project.git("ls-tree", "-r", "--name-only", "main").split()
        }
    songs = request.getfixturevalue("songs")
    (songs.path / "shards.py").write_text(SHARDS)
    songs.write({**RAW, "other.txt": "other"})
    assert perago("import", "source", *songs.on_main, "--mirror").code == 0
    return songs.on_main, lambda: {path: text for path, text in songs.files().items() if not path.startswith("in/")}


NAMES = [f"s{number}" for number in range(6)]
RAW = {f"raw/{name}.txt": name for name in NAMES} | {"features/s0/old.txt": "old"}


def test_each_shard_sees_its_file_and_makes_its_own(place, perago):
    options, files = place
    done = perago("run", "shards:features", *options, "--params", json.dumps({"shards": NAMES}), "-j", "3")
    assert done.code == 0, done.err
    made = {f"features/{name}/rows.txt": name.upper() for name in NAMES}
    raw = {path: text for path, text in RAW.items() if path.startswith("raw/")}
    assert files() == {**raw, **made, "other.txt": "other"}
    again = perago("run", "shards:feature", *options, "--param", "shard=s1", "--json")
    assert again.json["output"]["result"] == {"rows": 2, "seen": ["raw/s1.txt"]}
    assert again.json["how"] == "unchanged"


def test_what_cannot_be_is_said_and_nothing_is_published(place, perago):
    options, files = place
    before = files()
    stray = perago("run", "shards:feature", *options, "--param", "shard=s1", "--param", "stray=true")
    assert stray.code == 1
    assert "changed files outside of its outputs ['features/s1/**']: 'notes.txt' (added)" in stray.err
    for value, told in (("../other", "must be one segment"), ("*", "must not have a wildcard")):
        refused = perago("run", "shards:feature", *options, "--param", f"shard={value}")
        assert (refused.code, told in refused.err) == (1, True)
    missing = perago("run", "shards:feature", *options, "--param", "shard=of_nobody")
    assert (missing.code, "raw/of_nobody.txt" in missing.err) == (1, True)
    rehearsed = perago("run", "shards:feature", *options, "--param", "shard=s0", "--dry-run", "--json")
    assert {(change["change"], change["path"]) for change in rehearsed.json["changes"]} == {
        ("added", "features/s0/rows.txt"),
        ("deleted", "features/s0/old.txt"),
    }
    assert files() == before


def test_check_shows_them_and_warns(project, perago):
    (project.path / "shards.py").write_text(SHARDS)
    checked = perago("check", "shards")
    assert (checked.code, "warning" in checked.err) == (0, False), checked.err
    assert "  outputs      features/{shard}/**\n" in checked.out
    (project.path / "wrong_shards.py").write_text(
        SHARDS.replace('include=["raw/', 'exclude=["raw"], include=["raw/').replace(
            'post=[require_file("features', 'post=[require_file("made'
        )
    )
    warned = perago("check", "wrong_shards")
    assert "include has 'raw/{shard}.txt', which can never match, because exclude covers it" in warned.err
    assert "the post guard require_file('made/{shard}/rows.txt') is on a path that" in warned.err

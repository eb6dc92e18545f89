"""Tasks with a cache on Conductor: a worker takes what was computed here, and the other way round."""

from __future__ import annotations

import json

import pytest

from servers.conductor_api import fresh

MODULE = """
from pathlib import Path

from pydantic import BaseModel

from perago import Flow, WorkspaceSpec, task, workflow


class Shard(BaseModel):
    shard: str


class Length(BaseModel):
    length: int


@task(
    name="{name}_shard",
    owner_email="ada@example.org",
    workspace=WorkspaceSpec(include=["raw/{{shard}}.txt"], outputs=["features/{{shard}}/**"]),
    cache=True,
)
def shard(workspace: Path, params: Shard) -> Length:
    text = (workspace / "raw" / f"{{params.shard}}.txt").read_text()
    (workspace / "features" / params.shard / "text").write_text(text.upper())
    return Length(length=len(text))


class Shards(BaseModel):
    shards: list[str]


@workflow(name="{name}_shards", owner_email="ada@example.org")
def shards(flow: Flow, params: Shards) -> None:
    flow.map(shard, over=params.shards, as_="shard")
"""
REPO = f"{fresh('cached')}.git"
"""Workers of other tests on the same server tell theirs by the name alone."""


@pytest.mark.long
def test_a_worker_takes_what_was_computed_here(perago, project, worker_of, conductor, monkeypatch):
    monkeypatch.setenv("CONDUCTOR_SERVER_URL", conductor.url)
    (project.path / "cachedonworker.py").write_text(MODULE.format(name=fresh("cached")))
    project.repo = project.path / REPO
    project.write({"raw/a.txt": "a", "raw/b.txt": "b"})
    on_main = ("--repo", REPO, "--branch", "main")
    params = ("--params", json.dumps({"shards": ["a", "b"]}))
    assert perago("import", "source", *on_main).code == 0
    here = perago("run", "cachedonworker:shards", *on_main, *params)
    assert here.code == 0, here.err
    before = project.head()
    assert perago("register", "cachedonworker:shards").code == 0

    def submitted():
        said = perago("submit", "cachedonworker:shards", *on_main, *params, "--watch", "--json")
        assert said.code == 0, said.err
        return perago("log", *on_main, "-n", "20", "--json").json

    with worker_of("cachedonworker", "--repo", REPO):
        submitted()
        assert project.head() == before  # both were taken, and their outputs are there
        project.write({"raw/b.txt": "bb"})
        assert perago("import", "source", *on_main).code == 0
        newest = submitted()[0]
        assert newest["stamp"]["params"] == {"shard": "b"}
        assert (newest["stamp"]["cache_proof"], newest["stamp"]["cached_from"]) == ("proven", None)
        project.write({"raw/b.txt": "b"})
        assert perago("import", "source", *on_main).code == 0
        newest = submitted()[0]
        assert newest["stamp"]["cached_from"] is not None
    assert project.show("features/b/text") == "B"
    again = perago("run", "cachedonworker:shards", *on_main, *params)
    assert again.err.count("cached from") == 2, again.err

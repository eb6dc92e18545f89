"""A store of another package, known by its entry point alone: `perago run`, the commands and a worker use it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import snapshots
from conductor_stub import StubConductor
from snapshots import SnapshotStore, offer

GIVEN = '{"words": ["a", "b", "c"]}'
MODULE = Path(snapshots.__file__)


@pytest.fixture
def repo(project, perago, monkeypatch, tmp_path):
    """A repository of snapshots with one commit, and the package that knows what that is."""
    installed = offer(tmp_path / "installed")
    monkeypatch.syspath_prepend(str(installed))
    project.write({"first.txt": "1"})
    repo = f"snapshots://{project.path / 'data'}"
    made = perago("import", "source", "--repo", repo)
    assert made.code == 0, made.err
    return repo


@pytest.fixture
def path(project):
    """Where another process finds the package, and this project's bodies."""
    places = (project.path.parent / "installed", MODULE.parent, project.environment["PYTHONPATH"])
    return os.pathsep.join(map(str, places))


def test_an_unknown_scheme_names_the_stores_that_there_are(perago, repo):
    said = perago("log", "--repo", "elsewhere://x")
    assert said.code == 2
    assert "snapshots://DIRECTORY or lakefs://NAME or the path of a bare git repository" in said.err


def test_a_workflow_runs_on_it_and_the_commands_show_what_came_of_it(project, perago, repo):
    said = perago("run", "cli_workflow:put_all", "--params", GIVEN, "--repo", repo, "--branch", "main", "--json")
    assert said.code == 0, said.err
    store = SnapshotStore(project.path / "data")
    written = set(store.files(store.head("main"), "/")) - {"first.txt"}
    assert written == {"a", "b", "c", "names.txt"}
    kinds = [entry["kind"] for entry in perago("log", "--repo", repo, "--json").json]
    assert kinds == ["publication"] * 4 + ["commit"]
    (run,) = perago("runs", "--repo", repo, "--json").json
    assert run["status"] == "COMPLETED"
    assert perago("export", "out", "--repo", repo).code == 0
    assert {path.name for path in (project.path / "out").iterdir()} == written | {"first.txt"}
    assert perago("doctor", "--repo", repo).code == 0


def test_what_only_other_stores_have_is_refused_in_its_own_words(perago, repo):
    said = perago("fence", "check", "--repo", repo)
    assert said.code == 2
    assert "snapshots have no publish fence" in said.err


def test_a_worker_on_it_needs_nothing_of_the_configured_lakefs_server(project, repo, path, tmp_path):
    everyones = tmp_path / "everyones"
    everyones.mkdir()
    everyones.chmod(0o777)
    lakefs = {
        "LAKECTL_SERVER_ENDPOINT_URL": "http://127.0.0.1:9",
        "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": "key",
        "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": "secret",
        "PERAGO_CACHE_DIR": str(everyones / "cache"),
    }
    with StubConductor(500, {"message": "out of order"}) as conductor:
        environment = {**lakefs, "CONDUCTOR_SERVER_URL": conductor.url, "PYTHONPATH": path}
        said = project.run("start", "cli_workflow:put", "--repo", repo, env=environment)
        without = project.run("start", "cli_workflow:put", env=environment)
    assert "the Conductor server cannot be used" in said.err
    assert "PERAGO_CACHE_DIR" in without.err


def test_a_worker_serves_a_workflow_on_it(project, perago, repo, path, worker_of, conductor, monkeypatch):
    monkeypatch.setenv("CONDUCTOR_SERVER_URL", conductor.url)
    assert perago("register", "cli_workflow:put", "cli_workflow:collect", "cli_workflow:put_all").code == 0
    with worker_of("cli_workflow:put", "cli_workflow:collect", "--repo", repo, PYTHONPATH=path):
        said = perago(
            "submit", "cli_workflow:put_all", "--params", GIVEN, "--repo", repo, "--branch", "main", "--watch", "--json"
        )
    assert said.code == 0, said.err
    store = SnapshotStore(project.path / "data")
    *made, first = [store.stamp_of(commit) for commit in store.history("main")]
    assert first is None
    assert {stamp.task for stamp in made if stamp.completes is None} == {"cli.put", "cli.list"}
    assert store.files(store.head("main"), "/") == ["a", "b", "c", "first.txt", "names.txt"]

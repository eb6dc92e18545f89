"""What the page says of tasks with a cache: which results were taken, and why the others were computed."""

from __future__ import annotations

import pytest

from cli_project import Project
from ui_pages import opened, text_of

MODULE = """
from pathlib import Path

from pydantic import BaseModel

from perago import Flow, WorkspaceSpec, task, workflow


class Params(BaseModel):
    suffix: str = "a"


class Size(BaseModel):
    size: int


@task(name="join", owner_email="a@example.org",
      workspace=WorkspaceSpec(include=["raw/**"], outputs=["joined.txt"]), cache="trusted")
def join(workspace: Path, params: Params) -> Size:
    texts = [file.read_text() for file in sorted((workspace / "raw").iterdir())]
    (workspace / "joined.txt").write_text("".join(texts) + params.suffix)
    return Size(size=len(texts))


@workflow(name="nightly", owner_email="a@example.org")
def nightly(flow: Flow, params: Params) -> Size:
    return flow.run(join, suffix=params.suffix)
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "project").mkdir()
    found = Project(tmp_path / "project")
    (found.path / "joins.py").write_text(MODULE)
    found.write({"raw/a.txt": "a", "other.txt": "o"})
    monkeypatch.setenv("XDG_STATE_HOME", found.environment["XDG_STATE_HOME"])
    assert found.run("import", "source", "--repo", "data.git", "--branch", "main").code == 0
    return found


def ran(project, target, suffix):
    """The id of a run."""
    on = ("--repo", "data.git", "--branch", "main")
    said = project.run("run", target, "--params", f'{{"suffix": "{suffix}"}}', *on)
    assert said.code == 0, said.err
    return project.run("runs", "--repo", "data.git", "--json").json[0]["run_id"]


def test_taken_results_are_marked_also_if_they_changed_nothing(project):
    first, head = ran(project, "joins:nightly", "a"), project.head()
    again = ran(project, "joins:nightly", "a")
    alone = ran(project, "joins:join", "a")
    assert project.head() == head  # neither changed anything
    with opened(str(project.repo)) as browser:
        tries = [browser.get(f"/run/{run}.json").json()["tries"] for run in (first, again, alone)]
        assert [one["cached_from"] for [one] in tries] == [None, head, head]
        assert [phase["name"] for phase in tries[0][0]["phases"]].count("body") == 1
        assert "body" not in [phase["name"] for phase in tries[1][0]["phases"]]
        for run in (again, alone):
            assert '<span class="mark">cached</span>' in browser.get(f"/run/{run}").text


def test_a_commit_says_why_its_task_ran(project):
    ran(project, "joins:join", "a")
    first = project.head()
    ran(project, "joins:join", "b")
    second = project.head()
    project.write({"raw/b.txt": "b", "other.txt": "p"})
    assert project.run("import", "source", "--repo", "data.git", "--branch", "main").code == 0
    ran(project, "joins:join", "b")
    third = project.head()
    with opened(str(project.repo)) as browser:
        why = [browser.get(f"/commit/{commit}.json").json()["why"] for commit in (first, second, third)]
        page = text_of(browser.get(f"/commit/{third}").text)
        assert browser.get("/compare", params={"of": " ".join(why[2]["inputs"])}).status_code == 200
    assert [one["kind"] for one in why] == ["first", "differs", "differs"]
    assert why[1]["differences"] == ["param suffix: 'a' -> 'b'"]
    assert (why[2]["since"], why[2]["differences"]) == (second, ["file raw/b.txt added"])
    assert "file raw/b.txt added" in page

"""`perago fence`, and what a server that runs no hooks can still do."""

from __future__ import annotations

import pytest

from lakefs_project import LakeFSProject
from servers.fixtures import repository_on

FENCE = "_lakefs_actions/perago_fence.yaml"
OTHER_ACTION = b"""\
name: something else
on:
  post-merge:
hooks:
  - id: nothing
    type: lua
    properties:
      script: print("nothing")
"""


@pytest.fixture
def unfenced(songs):
    """A branch that no publication has reached, and so no fence."""
    first = songs.repository.expect("GET", "/refs/main/commits")["results"][-1]["id"]
    songs.repository.branch("plain", first)
    return ("--repo", songs.address, "--branch", "plain")


def test_a_branch_without_the_fence_gets_it_by_hand_and_it_holds(songs, perago, unfenced):
    checked = perago("fence", "check", *unfenced, "--json")
    head = songs.head("plain")
    assert checked.code == 1
    assert checked.json == {"exact": False, "head": head, "file": "missing", "heeded": True, "why": None}
    said = perago("fence", "install", *unfenced)
    assert (said.code, said.out) == (
        0,
        f"Installed the fence on branch plain of {songs.address}: commit {songs.head('plain')}\n",
    )
    assert songs.parent("plain") == head
    assert [found["path"] for found in songs.repository.objects("plain")] == [FENCE]
    assert perago("fence", "check", *unfenced, "--json").json["exact"] is True
    again = perago("fence", "install", *unfenced, "--json").json
    assert again == {"installed": False, "head": songs.head("plain")}
    assert songs.staging_branches() == []
    veto = songs.repository.call(
        "POST",
        "/refs/main/merge/plain",
        data={"message": "m", "metadata": {"perago.expected_parent": head}, "allow_empty": True},
    )
    assert veto.status == 412, "the fence on main, which imports bring along"


def test_a_file_in_the_fences_place_is_told_and_replaced(songs, perago, unfenced):
    songs.repository.commit_files("plain", {FENCE: OTHER_ACTION})
    said = perago("fence", "check", *unfenced)
    assert said.code == 1
    assert "another file in the fence's place" in said.out
    assert perago("fence", "install", *unfenced).code == 0
    assert perago("fence", "check", *unfenced).code == 0


def test_the_fence_of_a_published_branch_is_there(songs, perago):
    perago("run", "cli_bodies:write", *songs.on_main)
    said = perago("fence", "check", *songs.on_main)
    assert said.code == 0
    assert f"Branch main of {songs.address} holds the fence.\nThe server applies it" in said.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("check", "--repo", "data.git"), "a git repository needs no publish fence"),
        (("check", "--repo", "lakefs://no-such-repository"), "no repository 'no-such-repository'"),
        (("install", "--branch", "nope"), "has no branch 'nope'"),
        (("mend",), "is not one of 'check', 'install'"),
    ],
)
def test_what_is_not_there_has_no_fence(songs, perago, arguments, said):
    where = () if "--repo" in arguments else ("--repo", songs.address)
    told = perago("fence", *arguments, *where)
    assert told.code == 2
    assert said in told.err.replace("\n", " ")


@pytest.fixture
def deaf(tmp_path, lakefs_without_actions, perago, monkeypatch):
    """A project on a server that runs no hooks."""
    with repository_on(lakefs_without_actions) as repository:
        made = LakeFSProject(tmp_path / "project", lakefs_without_actions, repository)
        for name, value in made.settings.items():
            monkeypatch.setenv(name, value)
        made.write({"a.txt": "alpha"})
        yield made


def test_a_server_without_hooks_is_told_before_anything_is_published(deaf, perago, monkeypatch):
    head = deaf.head()
    said = perago("import", "source", *deaf.on_main)
    assert said.code == 1
    assert "PERAGO_FENCE=cooperative" in said.err.replace("\n", " ")
    assert deaf.head() == head
    checked = perago("fence", "check", *deaf.on_main, "--json")
    assert checked.code == 1
    assert checked.json["heeded"] is False
    assert "hooks are off" in checked.json["why"]
    assert perago("fence", "install", *deaf.on_main).code == 1
    assert deaf.head() == head
    assert deaf.staging_branches() == []

    monkeypatch.setenv("PERAGO_FENCE", "cooperative")
    assert perago("import", "source", *deaf.on_main).code == 0
    ran = perago("run", "cli_bodies:write", *deaf.on_main)
    assert ran.code == 0, ran.err
    assert deaf.files() == {"a.txt": "alpha", "out.txt": "out"}
    assert "not guaranteed" in ran.err.replace("\n", " ")

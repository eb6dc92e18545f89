"""`perago allow`: a key of the user's goes to a server that a project's file names only after this."""

from __future__ import annotations

import pytest

from conductor_stub import StubConductor

KEYS = {"CONDUCTOR_AUTH_KEY": "an-id", "CONDUCTOR_AUTH_SECRET": "hunter2-Tr0ub4dor"}


@pytest.fixture
def conductor(project):
    with StubConductor(500, {"message": "out of order"}) as stub:
        project.write({"perago.toml": f'[conductor]\nserver_url = "{stub.url}"\n'}, directory=".")
        yield stub


def test_a_server_of_a_projects_file_is_asked_for_once_and_gets_nothing_before(project, conductor):
    command = ("check", "cli_single", "--server")
    said = project.run(*command, env=KEYS)
    assert said.code == 2
    words = " ".join(said.err.split())
    assert f"CONDUCTOR_AUTH_SECRET (the environment) is not sent to {conductor.url}" in words
    assert f"run `perago allow {conductor.url}` in {project.path} once" in words
    assert conductor.requests == []
    assert project.run("allow", conductor.url).code == 0
    assert project.run(*command, env=KEYS).code == 2  # as this server always answers
    assert conductor.requests


def test_what_is_withheld_is_shown_with_the_settings(project, conductor):
    said = project.run("check", "cli_single", "--json", env=KEYS)
    assert said.code == 0
    (text,) = said.json["settings"]["withheld"]
    assert "is not sent to" in text
    assert "hunter2" not in said.out + said.err


def test_allowed_servers_are_shown_and_can_be_removed(project):
    assert project.run("allow").out == f"Servers allowed for {project.path}: none\n"
    said = project.run("allow", "https://lakefs.example/", "--json")
    assert said.json == {"directory": str(project.path), "servers": ["https://lakefs.example"]}
    assert project.run("allow", "--remove", "https://lakefs.example", "--json").json["servers"] == []
    for wrong, why in (
        (("--remove", "https://lakefs.example"), "is not allowed for"),
        (("--remove",), "needs the URL"),
        (("lakefs.example",), "must be a URL"),
    ):
        said = project.run("allow", *wrong)
        assert (said.code, why in said.err) == (2, True), said.err

"""LAKECTL_SERVER_ENDPOINT_URL names a Conductor server: every command says so, not that nothing is there."""

from __future__ import annotations

import pytest

COMMANDS = (
    ("log",),
    ("runs",),
    ("doctor",),
    ("export", "out"),
    ("fence", "check"),
    ("import", "source", "--storage-namespace", "local://data"),
    ("import", "source", "--dry-run", "--storage-namespace", "local://data"),
    ("run", "cli_bodies:write", "--branch", "main"),
)


@pytest.mark.parametrize("path", ["", "/api"])
def test_each_command_names_the_variable(project, perago, conductor_server, monkeypatch, path):
    project.write({"a.txt": "alpha"})
    address = conductor_server.api_url.removesuffix("/api") + path
    monkeypatch.setenv("LAKECTL_SERVER_ENDPOINT_URL", address)
    monkeypatch.setenv("LAKECTL_CREDENTIALS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY", "secret")
    for command in COMMANDS:
        said = perago(*command, "--repo", "lakefs://data")
        assert said.code == 2, (command, said)
        assert said.err.splitlines()[-1] == (
            f"error: the lakeFS endpoint {address}/api/v1 is a Conductor server. Set LAKECTL_SERVER_ENDPOINT_URL to "
            f"the address of lakeFS, such as http://localhost:8000"
        ), command

"""Commands on lakeFS with the login of lakectl."""

from __future__ import annotations

import pytest


@pytest.fixture
def lakectl_file(songs, monkeypatch, tmp_path):
    """Writes the file that has the whole login; the environment has none of it."""
    for name in songs.settings:
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "lakectl.yaml"
    monkeypatch.setenv("LAKECTL_CONFIG_FILE", str(path))

    def write(secret):
        path.write_text(
            f"server:\n  endpoint_url: {songs.server.url}\n"
            f"credentials:\n  access_key_id: {songs.server.access_key_id}\n  secret_access_key: {secret}\n"
        )
        return path

    return write


@pytest.mark.parametrize("command", [("doctor",), ("log", "--branch", "main")])
def test_a_command_uses_lakectls_file_and_names_it_when_the_server_refuses(songs, perago, lakectl_file, command):
    lakectl_file(songs.server.secret_access_key)
    said = perago(*command, "--repo", songs.address)
    assert said.code == 0, said.err
    path = lakectl_file("a-secret-of-yesterday")
    said = perago(*command, "--repo", songs.address)
    assert said.code == 2
    words = " ".join(said.err.split())
    assert f"`credentials.secret_access_key` in {path}" in words.replace("- ", "-")
    assert "a-secret-of-yesterday" not in said.err
    assert songs.server.access_key_id not in said.err

"""The repository and the branch that the settings name, for short commands."""

from __future__ import annotations

import pytest


@pytest.fixture
def configured(repository, monkeypatch):
    """A project whose settings name its repository and branch."""
    monkeypatch.setenv("PERAGO_REPO", "data.git")
    (repository.path / "perago.toml").write_text('branch = "main"\n')
    return repository


def test_commands_take_the_configured_place_and_show_it(configured, perago, tmp_path):
    said = perago("run", "cli_bodies:write", "--json")
    assert said.code == 0, said.err
    assert "--repo data.git (PERAGO_REPO, the environment)" in said.err
    assert "--branch main (PERAGO_BRANCH, `branch` in perago.toml)" in said.err
    assert said.json["output"]["workspace"]["branch"] == "main"
    assert "write, run" in perago("log").out
    assert perago("runs", "--json").json[0]["run_id"] == said.json["run_id"]
    assert perago("export", str(tmp_path / "out")).code == 0
    assert perago("doctor").code == 0


def test_options_go_before_the_settings(configured, perago):
    assert perago("import", "source", "--repo", "data.git", "--branch", "other").code == 0
    said = perago("run", "cli_bodies:write", "--repo", "data.git", "--branch", "other", "--json")
    assert said.json["output"]["workspace"]["branch"] == "other"
    assert "PERAGO_REPO" not in said.err
    assert "PERAGO_BRANCH" not in said.err


def test_a_run_is_resumed_on_its_own_branch(configured, perago):
    failed = perago("run", "cli_bodies:fail", "--json").json
    again = perago("run", "--resume", failed["run_id"][:-2])
    assert "--branch" not in again.err
    assert f"Resuming run {failed['run_id']}" in again.err
    ambiguous = perago("run", "--resume", failed["run_id"][:4])
    assert ambiguous.code in (1, 2)


def test_a_task_without_a_workspace_takes_no_branch(configured, perago):
    said = perago("run", "cli_bodies:add", "--param", "numbers=[1]")
    assert said.code == 0, said.err
    assert "PERAGO_BRANCH" not in said.err


def test_without_them_the_option_is_missing(repository, perago):
    said = perago("log")
    assert (said.code, "Missing option '--repo'" in said.err) == (2, True)

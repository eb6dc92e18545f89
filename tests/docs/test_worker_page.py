"""The workflow of docs/worker.md, from the import to its result, as it stands there."""

from __future__ import annotations

import json

import pytest

from pages import PROJECT, blocks, run_script

PAGE = PROJECT / "docs" / "worker.md"
SHELL = {block.name: block.text for block in blocks(PAGE, "sh")}


@pytest.fixture
def here(lakefs_repository):
    """The page's texts with a repository of the test's own, as the server is shared."""
    return lambda text: text.replace("lakefs://penguins", f"lakefs://{lakefs_repository.name}")


def test_a_workflow_from_nothing_to_its_result(here, server_settings, worker_of_page, tmp_path):
    assert list(SHELL) == ["settings", "prepare", "worker", "run", "look"]
    (tmp_path / "examples").symlink_to(PROJECT / "examples")
    run_script(here(SHELL["prepare"]), tmp_path, server_settings)
    worker_of_page(SHELL["worker"], tmp_path)
    (shown,) = blocks(PAGE, "json")
    assert json.loads(run_script(here(SHELL["run"]), tmp_path, server_settings)) == json.loads(shown.text)
    assert "clean_penguins" in run_script(here(SHELL["look"]), tmp_path, server_settings)
    assert (tmp_path / "tables" / "reports" / "summary.csv").is_file()

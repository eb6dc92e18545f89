"""docs/workflows.md, done from its top to its bottom; its half on Conductor on real servers."""

from __future__ import annotations

import json

import pytest

from pages import PROJECT, Shown, Terminal, blocks, commands, environment, run_script

PAGE = PROJECT / "docs" / "workflows.md"
SHELL = {block.name: block.text for block in blocks(PAGE, "sh")}


@pytest.fixture
def clone(tmp_path):
    """A directory with the examples and the files of the page."""
    directory = tmp_path / "perago"
    directory.mkdir()
    (directory / "examples").symlink_to(PROJECT / "examples")
    for block in blocks(PAGE, "python"):
        assert block.name is not None, "each file begins with its name"
        (directory / block.name).write_text(block.text, encoding="utf-8")
    return directory


def test_the_page_shows_what_happens(clone, tmp_path):
    shown = Shown()
    with Terminal(clone, environment(tmp_path)) as terminal:
        for block in blocks(PAGE, "console"):
            for command in commands(block):
                shown.compare(command.line, command.shown, terminal.run(shown.as_of_now(command.line)))
    assert len(shown.now) > 5


def test_the_same_workflow_on_conductor(clone, tmp_path, lakefs_repository, worker_of_page, server_settings):
    def here(name: str) -> str:
        """The page's text with a repository of the test's own, as the server is shared."""
        return SHELL[name].replace("lakefs://penguins", f"lakefs://{lakefs_repository.name}")

    assert list(SHELL) == ["prepare", "worker", "run"]
    (mend,) = [one.line for block in blocks(PAGE, "console") for one in commands(block) if one.line.startswith("sed")]
    run_script(mend, clone, server_settings)
    run_script(here("prepare"), clone, server_settings)
    worker_of_page(SHELL["worker"], clone)
    assert json.loads(run_script(here("run"), clone, server_settings)) == {"text": "accuracy 99%"}

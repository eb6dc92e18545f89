"""The pictures of README and docs: the page on the penguins of the quickstart.

PERAGO_TEST_SCREENSHOTS=docs/images makes them anew. Look at them before you commit them.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_project import Project
from pages import PROJECT
from tests.ui.conftest import served

WIDTH, HEIGHT = 1100, 760
MAX_BYTES = 200_000
"""Of a picture, for whoever clones the project."""
EXAMPLES = PROJECT / "examples"
ON = ("--repo", "penguins.git", "--branch", "main")


class Penguins(Project):
    """The examples, without the name of this machine."""

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "PYTHONPATH": str(EXAMPLES), "HOME": str(self.path.parent)}


@pytest.fixture(scope="module")
def penguins(tmp_path_factory) -> Penguins:
    path = tmp_path_factory.mktemp("pictures") / "quickstart"
    path.mkdir()
    (path.parent / ".gitconfig").write_text("[user]\n\tname = Ada\n\temail = ada@example.org\n")
    project = Penguins(path)
    assert project.run("import", str(EXAMPLES / "data"), *ON).code == 0
    for neighbours in (7, 3):
        said = project.run("run", "penguins.pipeline", "--params", f'{{"neighbours": {neighbours}}}', *ON)
        assert said.code == 0, said.err
    assert (
        project.run("run", "penguins.clean", "--params", '{"islands": ["Atlantis"]}', "--retries", "0", *ON).code == 1
    )
    return project


@pytest.fixture
def page(chromium, penguins) -> Iterator:
    for server in served(penguins, repo="penguins.git"):
        context = chromium.new_context(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page = context.new_page()
        page.goto(server.address)
        yield page
        context.close()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    asked = os.environ.get("PERAGO_TEST_SCREENSHOTS")
    return tmp_path_factory.mktemp("shots") if asked is None else PROJECT / asked


PLACES = """
([directory, host]) => {
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
    while (texts.nextNode()) {
        const text = texts.currentNode
        text.data = text.data.replaceAll(directory, "/home/ada/quickstart").replaceAll(host + "-", "laptop-")
    }
}
"""
"""Puts other names in the place of this machine's."""


def taken(page, penguins: Penguins, picture: Path, height: int) -> None:
    """Take a picture of the top of the page."""
    page.wait_for_load_state("networkidle")
    page.evaluate(PLACES, [str(penguins.path), platform.node()])
    page.screenshot(path=picture, clip={"x": 0, "y": 0, "width": WIDTH, "height": height})
    assert 5_000 < picture.stat().st_size < MAX_BYTES
    shown = PROJECT / "docs" / "images" / picture.name
    assert shown.exists(), f"PERAGO_TEST_SCREENSHOTS=docs/images makes {picture.name}"


def test_the_pictures_of_the_pages(page, penguins, pictures):
    assert page.get_by_role("link", name="penguins").count() >= 2
    taken(page, penguins, pictures / "ui-runs.png", 420)
    page.get_by_role("row").filter(has_text=re.compile(r"neighbours\s*3")).get_by_role("link").first.click()
    page.get_by_text("cached").first.wait_for()
    taken(page, penguins, pictures / "ui-run.png", HEIGHT)
    page.goto(page.url.partition("/run/")[0] + "/branch?name=main")
    taken(page, penguins, pictures / "ui-history.png", HEIGHT)
    page.goto(page.url.partition("/branch")[0] + "/commit/main/file?path=clean/adelie.csv")
    assert page.get_by_text("species").count() >= 1
    taken(page, penguins, pictures / "ui-file.png", HEIGHT)

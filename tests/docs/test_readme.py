"""The first task of the README, typed in as it stands there."""

from __future__ import annotations

import re

import pytest

from pages import PROJECT, environment, options, run_script

README = PROJECT / "README.md"
SECTION = README.read_text(encoding="utf-8").partition("## A first task")[2].partition("\n## ")[0]


@pytest.fixture
def first_task(tmp_path):
    """The section's module and commands, in a directory with texts of three words, one of them twice."""
    ((name, module),) = re.findall(r"`(\w+\.py)`:\n\n```python\n(.*?)```", SECTION, re.DOTALL)
    (commands,) = re.findall(r"```sh\n(.*?)```", SECTION, re.DOTALL)
    (tmp_path / name).write_text(module)
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "one.txt").write_text("Penguins swim")
    (texts / "two.txt").write_text("penguins dive swim")
    return lambda: run_script(commands, tmp_path, environment(tmp_path))


def test_the_first_task_does_what_it_says(first_task, tmp_path):
    told = first_task()
    assert (tmp_path / "out" / "words.list").read_text().split() == ["Penguins", "dive", "penguins", "swim"]
    assert "count_words" in told
    assert '{"words": 4}' in told


def test_the_options_that_the_readme_names_are_there():
    told = set(re.findall(r"`(--[a-z-]+)", README.read_text(encoding="utf-8").partition("## A first task")[2]))
    assert {"--dry-run", "--fix"} <= told
    assert told <= set().union(*options().values()) | {"--help"}


@pytest.mark.parametrize(
    "page", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "examples/DATA.md"]
)
def test_the_links_of_pages_outside_the_site_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (PROJECT / page).read_text(encoding="utf-8"))
    assert [link for link in links if not ((PROJECT / page).parent / link).exists()] == []

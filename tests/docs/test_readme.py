"""The pipeline of the README's first screen, typed in as it stands there."""

from __future__ import annotations

import re
import subprocess

import pytest

from pages import PROJECT, Shown, environment, fixed, options

README = PROJECT / "README.md"
SCREEN, _, REST = README.read_text(encoding="utf-8").partition("**Why.**")
STEPS = re.findall(r"```sh\n(.*?)```\n(?:\n```\n(.*?)```\n)?", SCREEN, re.DOTALL)
"""Commands, and what is shown of their output."""


@pytest.fixture
def typed(tmp_path):
    """The module, in a directory with texts of words with four letters and more."""
    ((name, module),) = re.findall(r"`(\w+\.py)`:\n\n```python\n(.*?)```", SCREEN, re.DOTALL)
    (tmp_path / name).write_text(module)
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "one.txt").write_text("Penguins swim and dive")
    (texts / "two.txt").write_text("penguins dive and puffins dive and fly")
    return tmp_path


def told_by(script, directory):
    """Both outputs of some lines, and the exit code of the last."""
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=directory,
        env=environment(directory),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout


def test_the_first_screen_happens_as_it_is_shown(typed):
    page, codes = Shown(), []
    for script, shown in STEPS:
        code, told = told_by(script.replace("perago ui", "perago ui --help #"), typed)
        codes.append(code)
        lines = [line for line in told.splitlines(keepends=True) if set(fixed(line)) <= set(fixed(shown))]
        page.compare(script, shown, "".join(lines))
    assert codes == [0, 0, 1, 0]
    code, told = told_by("perago export out --repo data.git --branch main && cat out/top.csv", typed)
    assert (code, told.splitlines()[-1]) == (0, "dive,3")


def test_the_options_that_the_readme_names_are_there():
    told = set(re.findall(r"`(--[a-z-]+)", REST.partition("## The commands")[2]))
    assert {"--dry-run", "--fix"} <= told
    assert told <= set().union(*options().values()) | {"--help"}


OUTSIDE = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "examples/DATA.md"]
"""Pages outside of the site."""

WIDTH = 120


def prose(page):
    """The lines of a page outside of code, tables and images, which cannot be wrapped."""
    is_code = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if line.lstrip().startswith("```"):
            is_code = not is_code
        elif not is_code and not line.lstrip().startswith(("|", "![")):
            yield number, line


@pytest.mark.quick
def test_prose_is_wrapped_at_one_width():
    pages = [*(PROJECT / page for page in OUTSIDE), *(PROJECT / "docs").rglob("*.md")]
    long = [
        f"{page.relative_to(PROJECT)}:{number}" for page in pages for number, line in prose(page) if len(line) > WIDTH
    ]
    assert long == []


@pytest.mark.quick
@pytest.mark.parametrize("page", OUTSIDE)
def test_the_links_of_pages_outside_the_site_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (PROJECT / page).read_text(encoding="utf-8"))
    assert [link for link in links if not ((PROJECT / page).parent / link).exists()] == []

"""docs/reference/formats.md shows the TaskDef of the tutorial's task, and what commands print as JSON."""

from __future__ import annotations

import json
import re

import pytest

from pages import PROJECT, blocks, environment, options, run_script

PAGES = PROJECT / "docs"


def test_the_taskdef_is_that_of_the_tutorials_task(tmp_path):
    for block in blocks(PAGES / "start" / "tutorial.md", "python"):
        (tmp_path / str(block.name)).write_text(block.text, encoding="utf-8")
    run_script("perago extract means -o taskdef.json", tmp_path, environment(tmp_path))
    shown = [json.loads(block.text) for block in blocks(PAGES / "reference" / "formats.md", "json")]
    assert json.loads((tmp_path / "taskdef.json").read_text(encoding="utf-8")) in shown


def _section(text):
    return text.partition("## JSON of the commands")[2].partition("\n## ")[0]


def listed():
    """Top fields of each command's document, as the page has them."""
    text = (PAGES / "reference" / "formats.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?|the same, failed) \| (.*) \|$", _section(text), re.MULTILINE)
    found = {}
    for commands, document in rows:
        document = document.removeprefix("a list; each with ").partition(";")[0]
        fields = re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", document).partition(" of a commit")[0])
        for command in re.findall(r"`(.*?)`", commands):
            found[command] = fields
    return found


def test_each_commands_document_is_listed():
    assert {command.partition(" ")[0] for command in listed()} == options().keys()


PREPARED = """
mkdir data && echo 1 > data/a.csv
cat > made.py <<'END'
from pathlib import Path
from pydantic import BaseModel
from perago import WorkspaceSpec, task

class Params(BaseModel):
    pass

class Result(BaseModel):
    lines: int

@task(name="made", owner_email="you@example.org", workspace=WorkspaceSpec())
def made(workspace: Path, params: Params) -> Result:
    (workspace / "out.txt").write_text("1")
    return Result(lines=1)
END
perago import data --repo data.git --branch main >&2
perago run made --repo data.git --branch main >&2
"""
PRINTED = {
    "run": "perago run made --repo data.git --branch main --json",
    "run --dry-run": "perago run made --repo data.git --branch main --dry-run --json",
    "runs": "perago runs --repo data.git --json",
    "status": "perago status --json || true",
    "check": "perago check made --json",
    "check --twice": "perago check made --twice --repo data.git --branch main --json",
    "extract": "perago extract made -o made.json --json",
    "import": "perago import data --repo data.git --branch main --prefix in --json",
    "export": "perago export out --repo data.git --branch main --json",
    "log": "perago log --repo data.git --branch main --json",
    "cache": "perago cache --json",
    "doctor": "perago doctor --repo data.git --json",
}


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """What commands print, one after the other on one repository."""
    directory = tmp_path_factory.mktemp("printed")
    given = environment(directory) | {"PYTHONPATH": str(directory)}
    run_script(PREPARED, directory, given)
    return {command: json.loads(run_script(line, directory, given)) for command, line in PRINTED.items()}


@pytest.mark.parametrize("command", PRINTED)
def test_a_document_has_the_fields_that_are_listed(printed, command):
    document = printed[command]
    assert list(document[0] if isinstance(document, list) else document) == listed()[command]

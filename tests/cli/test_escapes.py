"""What others have named or written cannot steer a terminal, or turn a line around, in any output: JSON too."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import perago.cli

EVIL = "a\x1b[2J\x7f\x9b31m\u202eb\u2066c\u200f\u2028d\u061c"
ESCAPED = r"a\x1b[2J\x7f\x9b31m\u202eb\u2066c\u200f\u2028d\u061c"
IN_JSON = ESCAPED.replace(r"\x", r"\u00")
REPO = ("--repo", "data.git", "--branch", "main")

MODULE = """
from cli_bodies import *

class Told(BaseModel):
    said: str
    text: dict[str, str]

EVIL = {evil!r}

class Asked(BaseModel):
    text: str = EVIL
    kind: str = ""

@task(name="evil", owner_email=OWNER, description=EVIL, workspace=WorkspaceSpec())
def evil(workspace: Path, params: Asked, context: TaskContext) -> Told:
    (workspace / "out.txt").write_text(params.text)
    if params.kind:
        context.logger.warning(EVIL)
        raise TaskFailed(EVIL)
    return Told(said=EVIL, text={{EVIL: EVIL}})
"""


@pytest.fixture
def evil(repository):
    (repository.path / "evil.py").write_text(MODULE.format(evil=EVIL))
    repository.git("-c", "user.name=Eve", "-c", "user.email=e@example.org", "commit-tree", "-m", "x", "main^{tree}")
    tree = repository.git("rev-parse", "main^{tree}")
    message = ("-m", EVIL, "-p", "main")
    author = ("-c", f"user.name={EVIL.replace(chr(27), '')}", "-c", "user.email=e@example.org")
    repository.git("update-ref", "refs/heads/main", repository.git(*author, "commit-tree", tree, *message))
    return repository


COMMANDS = {
    "run": ("run", "evil", *REPO),
    "run that fails": ("run", "evil", "--param", "kind=x", *REPO),
    "dry run": ("run", "evil", *REPO, "--dry-run"),
    "debug": ("run", "evil", "--param", "kind=x", *REPO, "--debug"),
    "log": ("log", *REPO),
    "runs": ("runs", "--repo", "data.git"),
    "check": ("check", "evil"),
    "extract": ("extract", "evil", "-o", f"{EVIL}.json"),
    "doctor": ("doctor", "--repo", "data.git"),
    "export": ("export", EVIL, *REPO),
    "import": ("import", EVIL, "--exclude", "b", "--repo", f"{EVIL}.git"),
    "another repository": ("log", "--repo", EVIL),
    "another branch": ("log", "--repo", "data.git", "--branch", EVIL),
    "another option": ("log", f"--{EVIL}"),
    "another command": (EVIL,),
    "another module": ("check", EVIL),
    "another param": ("run", "evil", "--param", f"{EVIL}=1", *REPO),
    "wrong params": ("run", "evil", "--params", json.dumps({"text": {EVIL: 1}}), *REPO),
    "another ref": ("run", "evil", *REPO, "--ref", EVIL),
    "another run": ("run", "--resume", EVIL, "--repo", "data.git"),
}


@pytest.mark.parametrize("json_option", [(), ("--json",)], ids=["text", "json"])
def test_no_output_holds_a_control_character(evil, perago, json_option):
    perago("run", "evil", *REPO)
    perago("run", "evil", "--param", "kind=x", *REPO)
    faults = {}
    for what, command in COMMANDS.items():
        if what == "import":
            (evil.path / EVIL / "a.txt").write_text("a")
        said = perago(*command, *json_option)
        faults[what] = [char for char in said.out + said.err if not char.isprintable() and char != "\n"]
        if json_option:
            assert json.loads(said.out) is not None, what
    assert {what: found for what, found in faults.items() if found} == {}


def test_json_says_the_same_with_and_without_escapes(evil, perago):
    said = perago("run", "evil", *REPO)
    assert said.json == {"said": EVIL, "text": {EVIL: EVIL}}
    assert IN_JSON in said.out
    entries = perago("log", *REPO, "--json").json
    assert entries[1]["subject"].startswith("a\x1b[2J")
    assert ESCAPED in perago("log", *REPO).out


def test_a_result_in_another_script_stays_readable(evil, perago):
    (evil.path / "readable.py").write_text(MODULE.format(evil="größe 大きさ 👩‍🚀"))
    assert "größe 大きさ 👩" in perago("run", "readable", *REPO).out


def test_a_lone_surrogate_is_escaped_too(capsys):
    from perago.cli.output import print_json, tell

    print_json({"name": "caf\udce9\U000e0001"})
    tell("caf\udce9")
    out = capsys.readouterr().out
    assert r'"caf\udce9\udb40\udc01"' in out
    assert json.loads(out.rpartition("}")[0] + "}") == {"name": "caf\udce9\U000e0001"}
    assert out.endswith("caf\\udce9\n")


def test_commands_print_through_one_module():
    sources = Path(perago.cli.__file__).parent.glob("*.py")
    printing = {
        path.name
        for path in sources
        if re.search(r"click\.echo|[^.\w](?<!def )print\(|\.stdout\.write", path.read_text())
    }
    assert printing == {"output.py"}

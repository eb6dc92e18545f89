"""What a body tells of its secrets is in nothing that `perago run` shows, records or publishes."""

from __future__ import annotations

import base64
import json
import urllib.parse

import pytest

from perago.values.stamps import json_digest

PHRASE = "tok/en 'of' \"the\" day\\né&%41"
PIN = 7316624913
KEY = "MIIEvQIBADANBgkqhkiG9w0B\nAQEFAASCBKcwggSjAgEAAoIB\n"
GIVEN = {"phrase": PHRASE, "pin": PIN, "keys": [{"main": {"lines": KEY}}]}

PARTS = [
    *(PHRASE, repr(PHRASE)[1:-1], json.dumps(PHRASE)[1:-1], json.dumps(PHRASE).replace("/", "\\/")[1:-1]),
    *(urllib.parse.quote(PHRASE), urllib.parse.quote_plus(PHRASE), "tok/en", "tok\\/en", "tok%2Fen", "day\\"),
    *(str(PIN), str(PIN)[:5], *KEY.split()),
    base64.b64encode(f"user:{PHRASE}".encode()).decode()[9:30],
    base64.b64encode(f"user:{KEY}".encode()).decode()[9:30],
]


def found_in(text: str) -> list[str]:
    return [part for part in PARTS if part in text]


def files_below(*directories):
    found = [path.read_bytes() for one in directories for path in one.rglob("*") if path.is_file()]
    return b"\n".join(found).decode(errors="replace")


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("name", ["write", "free"])
def test_secrets_are_told_in_no_output_record_or_commit(project, repository, perago, name, fails):
    (project.path / "p.json").write_text(json.dumps({**GIVEN, "fails": fails}))
    on = ("--repo", "data.git", "--branch", "main") if name == "write" else ()
    said = perago("run", f"told_secrets:{name}", "--params", "@p.json", *on, "--json")
    assert said.code == int(fails), said.err
    assert "do not use **********" in said.err
    shown = said.out + said.err + perago("runs", *on[:2], "--json").out
    shown += perago("log", *on, "--json").out if on else ""
    assert found_in(shown) == []
    assert found_in(files_below(project.repo, project.path.parent / "state")) == []


def test_short_secrets_of_a_workflow_are_in_no_record_of_it(project, perago):
    given = {"word": "abc+12", "words": ["qrs+34", "tuv+56"]}
    said = perago("run", "told_secrets:words", "--params", json.dumps(given), "--json")
    assert said.code == 0, said.err
    assert said.json["output"]["result"] == {"lines": 6}
    recorded = files_below(project.path.parent / "state")
    assert "secrets_inner" in recorded
    for secret in ("abc+12", "qrs+34", "tuv+56"):
        assert secret not in said.out + said.err + recorded
    refused = perago("run", "--resume", said.json["run_id"])
    assert (refused.code, "is COMPLETED already" in refused.err) == (2, True)


MASKED = """
from pathlib import Path
from pydantic import BaseModel, SecretStr
from perago import Flow, WorkspaceSpec, task, workflow
OWNER = "a@example.org"
class Given(BaseModel):
    word: SecretStr
    plain: str = "shown"
class Plain(BaseModel):
    plain: str
@task(name="masked.write", owner_email=OWNER, workspace=WorkspaceSpec())
def write(workspace: Path, params: Plain) -> Plain:
    (workspace / "written").write_text(params.plain)
    return params
@workflow(name="masked", owner_email=OWNER)
def masked(flow: Flow, params: Given) -> Plain:
    return flow.run(write, plain=params.plain)
@workflow(name="masked_whole", owner_email=OWNER, transactional=True)
def whole(flow: Flow, params: Given) -> Plain:
    return flow.run(write, plain=params.plain)
"""


@pytest.mark.parametrize("name", ["masked", "whole"])
def test_a_secret_of_a_workflow_that_no_task_takes_is_in_no_stamp(project, repository, perago, name):
    (project.path / "masked_flow.py").write_text(MASKED)
    on = ("--repo", "data.git", "--branch", "main")
    said = perago("run", f"masked_flow:{name}", "--param", "word=qr+9", "--param", "plain=a", *on)
    assert said.code == 0, said.err
    stamp = perago("log", *on, "-n", "1", "--json").json[0]["stamp"]
    (run,) = perago("runs", *on[:2], "--json").json
    assert stamp["workflow_params"] == run["params"] == {"word": "**********", "plain": "a"}
    assert stamp["workflow_params_digest"] == json_digest(run["params"])
    assert "qr+9" not in said.err + perago("log", *on).out + perago("runs", *on[:2]).out
    for commit in project.git("rev-list", "--all").split():
        assert "qr+9" not in project.git("cat-file", "-p", commit)
    assert "qr+9" not in files_below(project.path.parent / "state", project.repo / "perago")


def test_a_file_with_a_workflow_is_recorded_by_the_types_of_its_tasks(project, perago):
    for name in ("words", "inner"):
        assert perago("extract", f"told_secrets:{name}", "-o", f"{name}.json").code == 0
    given = json.dumps({"word": "abc+12", "words": ["qrs+34"]})
    options = ("--tasks", "told_secrets", "--workflows", "inner.json")
    said = perago("run", "words.json", *options, "--params", given, "--json")
    assert said.code == 0, said.err
    recorded = files_below(project.path.parent / "state")
    assert "abc+12" not in recorded + said.err
    assert "qrs+34" not in recorded + said.err


def test_a_literal_secret_in_a_file_is_refused(project, perago):
    assert perago("extract", "told_secrets:inner", "-o", "inner.json").code == 0
    path = project.path / "inner.json"
    path.write_text(path.read_text().replace("${workflow.input.params.word}", "abc+12"))
    said = perago("run", str(path), "--tasks", "told_secrets")
    assert said.code == 2
    assert "make it a param of the workflow" in " ".join(said.err.split())
    assert "abc+12" not in said.err

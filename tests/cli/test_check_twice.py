"""`perago check --twice`: a body that makes something else each time is found out, with the likely cause."""

from __future__ import annotations

import pytest

TWICE = """
import gzip
import os
import random
import time
import uuid
import zipfile
from pathlib import Path

from pydantic import BaseModel

from perago import Flow, WorkspaceSpec, task, workflow


class Params(BaseModel):
    kind: str
    gate: str = ""


class Result(BaseModel):
    rows: int
    words: list[str] = []


@task(name="twice_made", owner_email="ada@example.org", workspace=WorkspaceSpec(exclude=["scratch"]))
def made(workspace: Path, params: Params) -> Result:
    (workspace / "same.txt").write_text("same")
    words = []
    match params.kind:
        case "drawn":
            (workspace / "drawn.txt").write_text(f"{random.random()}")
        case "order":
            lines = [f"line {number}" for number in range(50)]
            random.shuffle(lines)
            (workspace / "order.txt").write_text("\\n".join(lines))
            words = lines
        case "gzip":
            now = time.time_ns() % 2**31
            (workspace / "a.gz").write_bytes(gzip.compress(b"same", mtime=now))
        case "zip":
            with zipfile.ZipFile(workspace / "a.zip", "w") as archive:
                now = time.time_ns() // 1000
                moment = (1980 + now % 100, 1, 1 + now // 100 % 28, now // 2800 % 24, now // 67200 % 60, 0)
                archive.writestr(zipfile.ZipInfo("a", moment), "same")
        case "pdf":
            (workspace / "a.pdf").write_text(f"%PDF-1.7 /CreationDate ({time.time_ns()}) body")
        case "name":
            (workspace / f"{uuid.uuid4().hex}.txt").write_text("x")
        case "fail":
            raise ValueError("no")
        case "rewrite":
            (workspace / "in" / "a.txt").write_text("alpha")
        case "delete":
            if Path(params.gate).exists():
                (workspace / "in" / "a.txt").unlink()
            Path(params.gate).touch()
        case "scratch":
            (workspace / "scratch").write_text(f"{time.time_ns()}")
    return Result(rows=1, words=words)


@workflow(name="twice_flow", owner_email="ada@example.org")
def flow(flow: Flow, params: Params) -> None:
    flow.run(made, kind=params.kind)
"""


@pytest.fixture
def twice(repository, perago):
    (repository.path / "twice.py").write_text(TWICE)

    def run(kind, *options, target="twice:made"):
        return perago("check", target, "--twice", "--param", f"kind={kind}", "--repo", "data.git", *options)

    return run


@pytest.mark.parametrize(
    ("kind", "what", "hint"),
    [
        ("drawn", ["drawn.txt"], "a time, an id or a random number"),
        ("order", ["order.txt", "result.words"], "the same in another order: sort"),
        ("gzip", ["a.gz"], "give mtime=0"),
        ("zip", ["a.zip"], "fixed date_time"),
        ("pdf", ["a.pdf"], "times and the id of the PDF"),
    ],
)
def test_what_differs_is_named_with_its_likely_cause(twice, repository, kind, what, hint):
    head = repository.head()
    said = twice(kind, "--branch", "main", "--json")
    assert said.code == 1
    assert [entry["what"] for entry in said.json["differences"]] == what
    assert all(hint in entry["hint"] for entry in said.json["differences"])
    told = twice(kind, "--branch", "main")
    assert all(f"  {one}  " in told.out + told.err for one in what)
    assert "on the same input differ. Nothing was published.\n" in told.err
    assert repository.head() == head


def test_a_name_that_is_new_each_time_is_two_differences(twice):
    said = twice("name", "--branch", "main", "--json")
    assert [entry["how"].split()[3] for entry in said.json["differences"]] in (["first", "second"], ["second", "first"])


def test_a_file_that_only_one_run_deletes_is_a_difference(twice, tmp_path):
    said = twice("delete", "--branch", "main", "--param", f"gate={tmp_path / 'gate'}", "--json")
    assert [(one["what"], one["how"]) for one in said.json["differences"]] == [
        ("in/a.txt", "deleted by the second run only")
    ]


@pytest.mark.parametrize("kind", ["nothing", "rewrite", "scratch"])
def test_what_is_the_same_twice_is_said_to_be(twice, kind):
    said = twice(kind, "--branch", "main")
    assert (said.code, "made the same files and the same result" in said.err) == (0, True)
    assert twice(kind, "--branch", "main", "--json").json == {"same": True, "differences": []}


def test_what_cannot_be_run_twice_says_so(twice, perago):
    failed = twice("fail", "--branch", "main")
    assert (failed.code, "ValueError: no" in failed.err) == (1, True)
    workflow = twice("drawn", target="twice:flow")
    assert (workflow.code, "name one of its tasks" in workflow.err) == (2, True)
    two = perago("check", "twice:made", "twice:made", "--twice")
    assert (two.code, "--twice runs one task" in two.err) == (2, True)
    server = perago("check", "twice:made", "--twice", "--server")
    assert (server.code, "leave --server and --workflows out" in server.err) == (2, True)
    for option in (("--param", "kind=x"), ("--repo", "data.git"), ("--branch", "main")):
        without = perago("check", "twice:made", *option)
        assert (without.code, "are for --twice" in without.err) == (2, True)

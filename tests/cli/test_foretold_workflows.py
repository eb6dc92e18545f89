"""`perago status` and `perago why` of a workflow: what they foretell is what `perago run` then does, and they change
nothing."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from perago.tasks.caching import forget_code

MODULE = """
from pathlib import Path

from pydantic import BaseModel

from perago import Flow, WorkspaceSpec, task, workflow

OWNER = "ada@example.org"


class Nothing(BaseModel):
    pass


class Params(BaseModel):
    suffix: str = ""
    shards: list[str] = ["a", "b"]


class Suffix(BaseModel):
    suffix: str = ""


class Count(BaseModel):
    count: int = 0


class Shard(BaseModel):
    shard: str


class Names(BaseModel):
    names: list[str]


def copied(workspace: Path, source: str, target: str, suffix: str = "") -> Count:
    paths = sorted(path for path in (workspace / source).rglob("*") if path.is_file())
    for path in paths:
        (workspace / target / path.name).write_text(path.read_text() + suffix)
    return Count(count=len(paths))


def made(source: str, target: str) -> WorkspaceSpec:
    return WorkspaceSpec(include=[f"{source}/**"], outputs=[f"{target}/**"])


@task(name="foretold_clean", owner_email=OWNER, workspace=made("raw", "clean"), cache=True)
def clean(workspace: Path, params: Suffix) -> Count:
    return copied(workspace, "raw", "clean", params.suffix)


@task(name="foretold_features", owner_email=OWNER, workspace=made("clean", "features"), cache=True)
def features(workspace: Path, params: Count) -> Count:
    return copied(workspace, "clean", "features", f"-{params.count}")


@task(name="foretold_notes", owner_email=OWNER, workspace=made("notes", "digest"), cache=True)
def notes(workspace: Path, params: Nothing) -> Count:
    return copied(workspace, "notes", "digest")


@task(
    name="foretold_report",
    owner_email=OWNER,
    workspace=WorkspaceSpec(include=["features/**", "digest/**"], outputs=["report/**"]),
    cache=True,
)
def report(workspace: Path, params: Nothing) -> Count:
    return copied(workspace, "features", "report")


@task(
    name="foretold_shard",
    owner_email=OWNER,
    workspace=WorkspaceSpec(include=["raw/{shard}.txt"], outputs=["features/{shard}/**"]),
    cache=True,
)
def shard(workspace: Path, params: Shard) -> Count:
    text = (workspace / "raw" / f"{params.shard}.txt").read_text()
    (workspace / "features" / params.shard / "text").write_text(text)
    return Count(count=len(text))


@task(
    name="foretold_counted",
    owner_email=OWNER,
    workspace=WorkspaceSpec(include=["clean/**"], read_only=True),
    cache=True,
)
def counted(workspace: Path, params: Nothing) -> Count:
    return Count(count=len(list((workspace / "clean").iterdir())))


@task(name="foretold_plain", owner_email=OWNER, workspace=WorkspaceSpec(include=["notes/**"]))
def plain(workspace: Path, params: Nothing) -> Nothing:
    (workspace / "notes" / "plain.txt").write_text("plain")
    return Nothing()


@task(name="foretold_names", owner_email=OWNER)
def names(params: Nothing) -> Names:
    return Names(names=["a", "b"])


@workflow(name="foretold_sequence", owner_email=OWNER)
def sequence(flow: Flow, params: Params) -> Count:
    cleaned = flow.run(clean, suffix=params.suffix)
    flow.run(features, count=cleaned.count)
    return flow.run(report)


@workflow(name="foretold_transaction", owner_email=OWNER, transactional=True)
def transaction(flow: Flow, params: Params) -> None:
    cleaned = flow.run(clean, suffix=params.suffix)
    flow.run(features, count=cleaned.count)


@workflow(name="foretold_forked", owner_email=OWNER)
def forked(flow: Flow, params: Params) -> None:
    with flow.parallel():
        with flow.branch():
            cleaned = flow.run(clean, suffix=params.suffix)
            flow.run(features, count=cleaned.count)
        flow.run(notes)
    flow.run(report)


@workflow(name="foretold_mapped", owner_email=OWNER)
def mapped(flow: Flow, params: Params) -> None:
    flow.map(shard, over=params.shards, as_="shard")
    flow.run(report)


@workflow(name="foretold_listed", owner_email=OWNER)
def listed(flow: Flow, params: Params) -> None:
    found = flow.run(names)
    flow.map(shard, over=found.names, as_="shard")
    flow.run(notes)


@workflow(name="foretold_nested", owner_email=OWNER)
def nested(flow: Flow, params: Params) -> None:
    flow.run(sequence, suffix=params.suffix)
    flow.run(notes)


@workflow(name="foretold_switched", owner_email=OWNER)
def switched(flow: Flow, params: Params) -> None:
    cleaned = flow.run(clean, suffix=params.suffix)
    with flow.when(cleaned.count) as count:
        with count.case(2):
            flow.run(features, count=cleaned.count)
        with count.otherwise():
            flow.run(notes)
    flow.run(report)


@workflow(name="foretold_plainly", owner_email=OWNER)
def plainly(flow: Flow, params: Params) -> None:
    flow.run(plain)
    flow.run(clean, suffix=params.suffix)
    flow.run(notes)


@workflow(name="foretold_beside", owner_email=OWNER)
def beside(flow: Flow, params: Params) -> None:
    with flow.parallel():
        with flow.branch():
            flow.run(notes)
            flow.run(features)
        flow.run(clean, suffix=params.suffix)


@workflow(name="foretold_reading", owner_email=OWNER)
def reading(flow: Flow, params: Params) -> None:
    flow.run(clean, suffix=params.suffix)
    found = flow.run(counted)
    flow.run(features, count=found.count)


@workflow(name="foretold_twice", owner_email=OWNER)
def twice(flow: Flow, params: Params) -> None:
    flow.run(clean, suffix=params.suffix)
    flow.run(clean, suffix=params.suffix)
"""
RAW = {"raw/a.txt": "a", "raw/b.txt": "b", "notes/n.txt": "n"}
NEVER_AT_ONCE = ("listed", "plainly", "nested")
"""Workflows with a task that has no cache, or that reads what a later one makes."""

WORKFLOWS = (
    "sequence",
    "transaction",
    "forked",
    "mapped",
    "listed",
    "nested",
    "switched",
    "plainly",
    "twice",
    "reading",
)
QUICK = ("sequence", "nested")
"""Those in `make test`."""


@dataclass
class Place:
    """A repository, and the commands on it in this process, which loads the module anew after each change of it."""

    project: Any
    perago: Callable[..., Any]
    options: tuple[str, ...]

    def ask(self, command: str, workflow: str, *arguments: str) -> Any:
        for name in [name for name in sys.modules if name == "flows"]:
            del sys.modules[name]
        forget_code()
        said = self.perago(command, f"flows:{workflow}", *self.options, *arguments)
        assert said.code == 0, said.err
        return said

    def edit(self, files: dict[str, str]) -> None:
        self.project.write(files)
        said = self.perago("import", "source", *self.options)
        assert said.code == 0, said.err

    def code(self, before: str, after: str) -> None:
        path = self.project.path / "flows.py"
        assert before in path.read_text()
        path.write_text(path.read_text().replace(before, after))


@pytest.fixture
def place(request, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    if getattr(request, "param", "git") == "git":
        project, options = request.getfixturevalue("project"), ("--repo", "data.git", "--branch", "main")
    else:
        project = request.getfixturevalue("songs")
        options = project.on_main
    made = Place(project, request.getfixturevalue("perago"), options)
    monkeypatch.syspath_prepend(str(project.path))
    (project.path / "flows.py").write_text(MODULE)
    made.edit(RAW)
    return made


def foretold(place: Place, workflow: str, *arguments: str) -> dict[str, dict[str, Any]]:
    document = place.ask("status", workflow, *arguments, "--json").json
    return {each["reference_name"]: each for each in document["tasks"]}


def done(place: Place, workflow: str, *arguments: str) -> dict[str, bool]:
    """The tasks that a run completed, each with whether it was cached."""
    said = place.ask("run", workflow, *arguments)
    found = re.findall(r"^(\S+)(?: \(.*?\))?: COMPLETED in [\d.]+ s(.*)$", said.err, re.MULTILINE)
    around = {name.rpartition("/")[0] for name, _ in found}
    return {name: "cached from" in rest for name, rest in found if name not in around}


def expect_done(told: dict[str, dict[str, Any]], ran: dict[str, bool]) -> None:
    """What was foretold is what a run did. What was left open depends on something that was computed."""
    for name, each in told.items():
        case = f"{name}: {each['status']}, ran {ran}"
        match each["does"]:
            case "takes":
                assert ran[name] is True, case
            case "computes":
                assert ran[name] is False, case
            case "nothing":
                assert name not in ran, case
            case "waits":
                assert each["waits_for"], case
                assert all(ran[other] is False for other in each["waits_for"]), case
            case other:
                raise AssertionError(f"{other} of {case}")
    open_maps = tuple(f"{name}_" for name, each in told.items() if each["because"] == "items")
    assert [name for name in ran if name not in told and not name.startswith(open_maps or "/")] == []


@pytest.mark.parametrize(
    "workflow", [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in WORKFLOWS]
)
def test_what_is_foretold_is_what_a_run_does(place, workflow):
    suffix = ("--param", "suffix=!")
    changes = (
        (lambda: None, ()),
        (lambda: None, ()),
        (lambda: place.edit({"raw/b.txt": "bb"}), ()),
        (lambda: place.edit({"notes/n.txt": "nn"}), ()),
        (lambda: None, suffix),
        (lambda: place.code('f"-{params.count}"', 'f"={params.count}"'), suffix),
        (lambda: place.edit({"raw/b.txt": "b"}), ()),
    )
    for number, (change, arguments) in enumerate(changes):
        change()
        if workflow == "switched" and not arguments:
            place.edit({"raw/c.txt": "c"})  # the other case
        before = place.project.git("for-each-ref"), place.project.git("count-objects", "-v")
        told = foretold(place, workflow, *arguments)
        assert (place.project.git("for-each-ref"), place.project.git("count-objects", "-v")) == before
        expect_done(told, done(place, workflow, *arguments))
        if number == 1 and workflow not in NEVER_AT_ONCE:
            assert {each["does"] for each in told.values()} <= {"takes", "nothing"}


def states(place: Place, workflow: str, *arguments: str) -> dict[str, str]:
    return {name: each["status"] for name, each in foretold(place, workflow, *arguments).items()}


def test_each_task_has_its_line(place):
    names = ("foretold_clean", "foretold_features", "foretold_report")
    assert states(place, "sequence") == {
        names[0]: "no earlier result",
        names[1]: "stale: foretold_clean would run first",
        names[2]: "stale: foretold_clean would run first",
    }
    done(place, "sequence")
    assert place.ask("status", "sequence").out.splitlines() == [f"{name}: up to date" for name in names]
    place.edit({"raw/a.txt": "A", "raw/c.txt": "c"})
    assert place.ask("status", "sequence").out.splitlines() == [
        "foretold_clean: stale: file raw/a.txt changed, and 1 more",
        "foretold_features: stale: foretold_clean would run first",
        "foretold_report: stale: foretold_clean would run first",
    ]
    since = foretold(place, "sequence")["foretold_clean"]["since"]
    assert place.ask("why", "sequence").out.splitlines() == [
        f"foretold_clean: The body would run. Since commit {since[:12]}:",
        "  file raw/a.txt changed",
        "  file raw/c.txt added",
        "foretold_features: It depends on foretold_clean, which would run first.",
        "foretold_report: It depends on foretold_clean, which would run first.",
    ]
    line = foretold(place, "sequence")["foretold_clean"]["line"]
    assert f"cache: the body runs; {line}" in place.ask("run", "sequence").err
    place.edit({"raw/a.txt": "a"})
    place.code('f"-{params.count}"', 'f"={params.count}"')  # clean is computed by the same module
    assert states(place, "sequence")["foretold_clean"].startswith("stale: file raw/a.txt changed, and 1 more")


def test_the_outputs_of_a_result_that_is_taken_count_for_what_follows(place):
    done(place, "sequence")
    done(place, "sequence", "--param", "suffix=!")
    assert set(states(place, "sequence").values()) == {"up to date"}  # not of the head, which has those of "!"
    place.edit({"features/extra.txt": "extra"})
    assert set(states(place, "sequence").values()) == {"up to date"}  # what is taken removes it again


def test_what_is_published_goes_on_top_of_the_head(place):
    done(place, "sequence")
    done(place, "sequence", "--param", "suffix=!")
    ref = place.project.git("rev-parse", "main")
    place.edit({"digest/x.txt": "x"})
    told = foretold(place, "sequence", "--ref", ref)
    assert {name: each["does"] for name, each in told.items()} == {
        "foretold_clean": "takes",
        "foretold_features": "takes",
        "foretold_report": "computes",
    }
    expect_done(told, done(place, "sequence", "--ref", ref))


def test_a_map_has_one_line_and_its_first_items(place):
    done(place, "mapped")
    place.edit({"raw/b.txt": "bb"})
    told = place.ask("status", "mapped", "--param", 'shards=["a","b","c"]').out
    assert re.sub("'[ab]' -> ", "'?' -> ", told).splitlines() == [
        "foretold_shard ×3: 1 up to date, 2 not:",
        "  foretold_shard_2 (b): stale: file raw/b.txt changed",
        "  foretold_shard_3 (c): stale: param shard: '?' -> 'c'",
        "foretold_report: stale: foretold_shard_2 and foretold_shard_3 would run first",
    ]


def test_what_only_the_run_can_tell_is_said_so(place):
    assert place.ask("why", "listed").out.splitlines() == [
        "foretold_names: The body would run: the task has no cache.",
        "foretold_shard: Its items depend on foretold_names, which would run first.",
        "foretold_notes: It depends on foretold_names, which would run first.",
    ]
    told = foretold(place, "switched")
    assert {name: (each["because"], each["waits_for"]) for name, each in told.items()} == {
        "foretold_clean": (None, []),
        "foretold_features": ("case", ["foretold_clean"]),
        "foretold_notes": ("case", ["foretold_clean"]),
        "foretold_report": ("files", ["foretold_clean"]),
    }
    done(place, "switched")
    assert states(place, "switched")["foretold_notes"] == "left out: its case is not taken"
    assert foretold(place, "twice", "--param", "suffix=?")["foretold_clean_2"]["because"] == "key"
    told = foretold(place, "beside", "--param", "suffix=?")["foretold_features"]
    assert (told["because"], told["waits_for"]) == ("beside", ["foretold_clean"])


def test_what_ends_the_workflow_is_said(place):
    shard, report = place.ask("status", "mapped", "--param", 'shards=["a/b"]').out.splitlines()[1:]
    assert shard.startswith("  foretold_shard_1 (a/b): fails: task 'foretold_shard': params.shard, which a pattern of")
    assert report == "foretold_report: left out: the workflow ends before it"
    assert states(place, "mapped", "--param", "shards=[]") == {"foretold_report": "no earlier result"}


def test_a_task_alone_has_a_line_too(place):
    assert place.ask("status", "clean").out == "foretold_clean: no earlier result\n"
    assert place.ask("status", "plain").out == "foretold_plain: no cache: each run computes it\n"


def test_options_of_a_worker_and_of_a_workflow_do_not_mix(place):
    said = place.perago("status", "flows:sequence", *place.options, "--ready", "--workspace-root", ".")
    assert said.code == 2
    assert "--workspace-root and --ready are for the status of a worker: leave the workflow out" in said.err
    said = place.perago("status", "--branch", "main", "--param", "suffix=!")
    assert said.code == 2
    assert "--branch and --param are for the status of a workflow: name one as MODULE:WORKFLOW" in said.err


@pytest.mark.parametrize("place", ["lakefs"], indirect=True)
def test_it_is_foretold_on_lakefs_too(place):
    expect_done(foretold(place, "sequence"), done(place, "sequence"))
    place.edit({"raw/b.txt": "bb"})
    expect_done(foretold(place, "sequence"), done(place, "sequence"))
    place.edit({"raw/b.txt": "b"})
    told = foretold(place, "sequence")
    assert {each["does"] for each in told.values()} == {"takes"}
    expect_done(told, done(place, "sequence"))

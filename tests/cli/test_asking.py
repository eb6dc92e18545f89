"""`perago log` with filters, `blame`, `lineage`, `diff` and `compare`, on git and on lakeFS."""

from __future__ import annotations

import pytest

TASKS = """
from pathlib import Path
from pydantic import BaseModel
from perago import MetricRecorder, MetricSpec, WorkspaceSpec, task

class Params(BaseModel):
    least: int = 1

class Result(BaseModel):
    rows: int

@task(name="asked_clean", owner_email="ada@example.org",
      workspace=WorkspaceSpec(include=["raw/**"], outputs=["clean/**"]))
def clean(workspace: Path, params: Params) -> Result:
    lines = (workspace / "raw/a.csv").read_text().splitlines()[1:]
    rows = [row for row in lines if int(row.split(",")[0]) >= params.least]
    (workspace / "clean/a.csv").write_text("\\n".join(["id,name", *rows, ""]))
    return Result(rows=len(rows))

@task(name="asked_report", owner_email="ada@example.org",
      workspace=WorkspaceSpec(include=["clean/**"], outputs=["report.txt"]))
def report(workspace: Path, params: Params) -> Result:
    rows = len((workspace / "clean/a.csv").read_text().splitlines()) - 1
    (workspace / "report.txt").write_text(f"{rows}")
    return Result(rows=rows)

@task(name="asked_train", owner_email="ada@example.org", metrics=MetricSpec(),
      workspace=WorkspaceSpec(include=["raw/**"], outputs=["model.txt"]))
def train(workspace: Path, params: Params, metrics: MetricRecorder) -> Result:
    for epoch in range(3):
        metrics.gauge("loss", 1 / (epoch + params.least), step=epoch * 10)
    (workspace / "model.txt").write_text(str(params.least))
    return Result(rows=1)

@task(name="asked_cached", owner_email="ada@example.org", cache=True,
      workspace=WorkspaceSpec(include=["raw/**"], outputs=["cached.txt"]))
def cached(workspace: Path, params: Params) -> Result:
    (workspace / "cached.txt").write_text((workspace / "raw/a.csv").read_text())
    return Result(rows=1)
"""


@pytest.fixture(params=["git", "lakefs"])
def asked(request, project, perago):
    """Three publications after somebody's import: clean, report, and clean with another param."""
    if request.param == "git":
        options = ("--repo", "data.git", "--branch", "main")
    else:
        songs = request.getfixturevalue("songs")
        options = songs.on_main
    (project.path / "asked.py").write_text(TASKS)
    raw = project.path / "source" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    (raw / "a.csv").write_text("id,name\n1,x\n2,y\n3,z\n")
    said = perago("import", "source", *options)
    assert said.code == 0, said.err

    def ran(task, params="{}"):
        said = perago("run", f"asked:{task}", *options, "--params", params, "--json")
        assert said.code == 0, said.err
        return said.json["output"]["workspace"]["ref"]

    refs = [ran("clean"), ran("report"), ran("clean", '{"least": 2}')]
    return options, refs, lambda *arguments: perago(*arguments)


def test_the_history_answers(asked):
    options, (clean, report, again), perago = asked
    repo = options[:2]

    def commits(*arguments):
        said = perago("log", *options, "--json", *arguments)
        assert said.code == 0, said.err
        return [each["commit"] for each in said.json]

    assert commits("--path", "clean/**") == commits("--task", "asked_clean") == [again, clean]
    assert commits("--path", "report.txt", "--path", "raw")[0] == report
    assert commits("--task", "asked_clean", "-n", "1") == [again]
    assert commits("--since", "1h", "--task", "asked_report") == [report]
    assert commits("--until", "2020-01-01") == []
    assert "is not a time" in perago("log", *options, "--since", "soon").err
    said = perago("log", *options, "--task", "asked_trian")
    assert (said.code, said.out) == (0, "")
    assert "No commit of branch main matches the filters" in said.err

    blamed = {each["path"]: each for each in perago("blame", "/", *options, "--json").json}
    assert (blamed["clean/a.csv"]["commit"], blamed["report.txt"]["commit"]) == (again, report)
    assert blamed["raw/a.csv"]["task"] is None
    assert "asked_clean" in perago("blame", "./clean/", *options).out
    assert len(perago("blame", ".", *options, "--json").json) == len(blamed)
    assert perago("lineage", ".", *options, "--json").json[0]["commit"] == again
    assert perago("lineage", "./report.txt", *options, "--json").json[0]["commit"] == report
    assert commits("--path", ".")[:3] == [again, report, clean]
    assert commits("--path", "./report.txt")[0] == report
    assert "has no file" in perago("blame", "nowhere", *options).err

    up = {each["commit"]: each["sources"] for each in perago("lineage", "report.txt", *options, "--json").json}
    assert up[report] == [{"commit": clean, "paths": ["clean/a.csv"]}]
    [source] = up[clean]
    assert source["paths"] == ["raw/a.csv"]
    down = perago("lineage", source["commit"], "--downstream", *options, "--json").json
    assert [each["commit"] for each in down if each["commit"] in (clean, report, again)] == [clean, report, again]
    assert perago("lineage", again, "--downstream", *options, "--json").json == []
    assert f"from {clean[:12]}  clean/a.csv" in perago("lineage", report, *options).out

    [difference] = perago("diff", report, again, *repo, "--key", "id", "--json").json
    assert (difference["path"], difference["kind"], difference["rows"]["removed"]) == ("clean/a.csv", "modified", 1)
    assert "1 row removed" in perago("diff", report, again, *repo).out
    assert "do not differ" in perago("diff", report, again, *repo, "--path", "raw").err
    assert "1 row removed" in perago("diff", report, again, *repo, "--path", ".").out

    table = perago("compare", clean, again, *repo).out
    assert "params.least" in table
    assert "result.rows" in table
    assert "task" not in table
    compared = perago("compare", clean, again, *repo, "--json").json
    assert [each["facts"]["params.least"] for each in compared] == [1, 2]
    assert "2 to 200" in perago("compare", clean, *repo).err
    assert "has no commit and no run" in perago("compare", clean, "nothing", *repo).err


def test_what_a_run_or_a_commit_did_is_undone(asked):
    options, (clean, report, again), perago = asked
    repo = options[:2]

    def head():
        return perago("log", *options, "-n", "1", "--json").json[0]

    refused = perago("revert", clean, *options)
    assert (refused.code, "clean/a.csv" in refused.err) == (3, True), refused.err
    done = perago("revert", again, "--reason", "wrong param", *options, "--json")
    assert done.code == 0, done.err
    assert done.json["reverts"] == [again]
    assert perago("diff", done.json["commit"], report, *repo, "--json").json == []
    assert head()["commit"] == done.json["commit"]
    assert f"reverted: {again[:12]}: wrong param" in perago("log", *options).out
    for filters in ((), ("--task", "asked_clean")):
        assert perago("log", *options, *filters).out.count(f"    reverted by {head()['commit'][:12]}\n") == 1
        listed = {each["commit"]: each["reverted_by"] for each in perago("log", *options, *filters, "--json").json}
        assert (listed[again], listed[clean]) == (head()["commit"], None)
    assert perago("revert", again, *options).code == 3  # the revert has changed the file since
    back = perago("revert", done.json["commit"], *options, "--json").json
    assert f"reverted by {done.json['commit'][:12]}" not in perago("log", *options).out
    assert perago("diff", back["commit"], again, *repo, "--json").json == []
    [blamed] = perago("blame", "clean", *options, "--json").json
    assert (blamed["commit"], blamed["brought_by"]) == (again, back["commit"])
    made = {each["commit"]: each["sources"] for each in perago("lineage", "clean/a.csv", *options, "--json").json}
    assert ([source["paths"] for source in made[again]], back["commit"] in made) == ([["raw/a.csv"]], False)
    run = next(each["stamp"] for each in perago("log", *options, "--json").json if each["commit"] == report)
    undone = perago("revert", run["workflow_instance_id"], *options, "--json").json
    assert (undone["reverts"], undone["changes"]) == ([report], {"added": 0, "modified": 0, "deleted": 1})
    assert "has no commit and no run" in perago("revert", "nothing", *options).err


def test_a_result_that_was_reverted_is_computed_again(asked):
    options, _, perago = asked
    ran = perago("run", "asked:cached", *options, "--json").json
    assert perago("run", "asked:cached", *options, "--json").json["how"] == "cached"
    assert perago("revert", ran["run_id"], *options).code == 0
    assert perago("run", "asked:cached", *options, "--json").json["how"] == "published"


def test_a_branch_begins_where_it_is_told(asked):
    options, (clean, report, again), perago = asked
    repo = options[:2]
    said = perago("branch", "trial", "--from", report, *repo)
    assert said.code == 0, said.err
    assert perago("log", *repo, "--branch", "trial", "-n", "1", "--json").json[0]["commit"] == report
    ran = perago("run", "asked:report", *repo, "--branch", "trial", "--param", "least=3", "--json")
    assert ran.code == 0, ran.err
    assert perago("log", *options, "-n", "1", "--json").json[0]["commit"] == again
    taken = perago("branch", "trial", "--from", clean, *repo)
    assert (taken.code, "already exists" in taken.err) == (2, True)
    assert perago("branch", "no name", "--from", clean, *repo).code == 2
    assert perago("branch", "other", "--from", "nowhere", *repo).code == 2
    assert "branch other --from COMMIT" in perago("log", *repo, "--branch", "other").err


def test_the_numbers_of_a_run_are_in_its_publication(asked):
    options, _, perago = asked
    first, second = (perago("run", "asked:train", *options, "--param", f"least={n}", "--json").json for n in (1, 2))
    [newest, before] = perago("log", *options, "--task", "asked_train", "--json").json
    assert before["stamp"]["series"] == {"loss": [[0, 1], [10, 0.5], [20, pytest.approx(1 / 3)]]}
    assert newest["stamp"]["series"]["loss"][0] == [0, 0.5]
    compared = perago("compare", first["run_id"], second["run_id"], *options[:2], "--json").json
    assert [each["facts"]["loss (last)"] for each in compared] == [pytest.approx(1 / 3), 0.25]

"""`perago run` on a transactional workflow: main moves once, by all of a run, whatever happened before."""

from __future__ import annotations

import re

import pytest

from perago import log
from perago.values.models import RUN_PREFIX, run_branch_time
from servers.machine import slowness
from ui_pages import opened, text_of

WHOLE = ("run", "cli_transactional:whole", "--param")


@pytest.fixture
def gate(project, perago, monkeypatch, tmp_path):
    """What the task between the two others does; see cli_transactional.py."""
    project.write({"other.txt": "1"})
    assert perago("import", "source", "--repo", str(project.repo)).code == 0
    path = tmp_path / "gate"
    monkeypatch.setenv("CLI_GATE", str(path))
    return path


def listed(project, ref="main"):
    return project.git("ls-tree", "-r", "--name-only", ref).split()


def run_branches(project):
    return project.git("for-each-ref", "--format=%(refname:short)", f"refs/heads/{RUN_PREFIX}*").split()


def test_a_run_is_published_whole_and_one_that_failed_when_it_has_been_resumed(project, perago, gate):
    base, on = project.head(), ("--repo", str(project.repo), "--branch", "main")
    gate.write_text("fail")
    failed = perago(*WHOLE, "number=1", *on, "--json")
    assert (failed.code, project.head()) == (1, base)
    (branch,) = run_branches(project)
    assert listed(project, branch) == ["first/number", "other.txt"]
    gate.write_text("go on")
    said = perago(*WHOLE, "number=4", *on)
    assert (said.code, said.json) == (0, {"number": 6}), said.err
    head = project.head()
    assert listed(project) == ["first/number", "other.txt", "second/number"]
    assert project.git("rev-list", "--first-parent", "main").split() == [head, base]
    assert project.git("rev-list", "--count", f"{base}..main") == "3"
    refused = perago("run", "--resume", failed.json["run_id"], *on[:2])
    assert (refused.code, project.head()) == (3, head), refused.err
    assert set(run_branches(project)) >= {branch}
    assert f"What its tasks published is on the run's own branch {branch}, and nowhere else." in refused.err
    assert f"--resume {failed.json['run_id']} --onto-head" in refused.err
    again = perago("run", "--resume", failed.json["run_id"], "--onto-head", *on[:2])
    assert (again.code, again.json) == (0, {"number": 3}), again.err
    assert project.git("rev-parse", "main^1") == head
    entry = perago("log", *on, "-n", "1").out
    assert re.search(
        r"workflow cli_whole, run .*\n    from .*\n    params  {\"number\": 1}\n"
        r"    task .* cli_first\n    task .* cli_second\n",
        entry,
    ), entry
    newest, _, first = perago("runs", *on[:2], "--json").json
    assert (first["run_branch"], newest["run_branch"] in run_branches(project)) == (branch, True)


def test_its_tasks_are_found_in_the_history_of_the_branch(project, perago, gate):
    on = ("--repo", str(project.repo), "--branch", "main")
    gate.write_text("go on")
    for number in (1, 5):
        assert perago(*WHOLE, f"number={number}", *on).code == 0
    whole = perago("log", *on, "--task", "cli_whole", "--json").json
    assert perago("log", *on, "--task", "cli.second", "--json").json == whole
    assert perago("log", *on, "--task", "cli.between", "--json").json == []
    newest, older = log(str(project.repo), "main", limit=2)
    assert [commit["commit"] for commit in whole] == [newest.commit, older.commit]
    assert [task.path for task in newest.tasks] == ["cli_first", "cli_second"]
    assert newest.workflow_params == {"number": 5}
    with opened(str(project.repo)) as browser:
        results = browser.get("/results.json", params={"task": "cli.second"}).json()
        assert results["tasks"] == ["cli.first", "cli.second"]
        assert [(point["y"], point["params"]) for point in results["points"]] == [
            (7, {"number": 6}),
            (3, {"number": 2}),
        ]
        for page in (browser.get("/branch").text, browser.get(f"/commit/{newest.commit}").text):
            assert all(f"/commit/{task.commit}" in page for task in newest.tasks)
            assert "perago_end" not in text_of(page)
    report = project.path / "report.html"
    assert perago("report", older.run_id, *on[:2], "-o", str(report)).code == 0
    assert all(task.commit in report.read_text() for task in older.tasks)


def test_the_time_of_a_run_s_commit_is_that_of_the_run_and_its_params_are_the_workflow_s(project, perago, gate):
    on = ("--repo", str(project.repo), "--branch", "main")
    gate.write_text("fail")
    failed = perago(*WHOLE, "number=4", *on, "--json")
    gate.write_text("go on")
    assert perago("run", "--resume", failed.json["run_id"], *on[:2]).code == 0
    (run,) = perago("runs", *on[:2], "--json").json
    stamp = perago("log", *on, "-n", "1", "--json").json[0]["stamp"]
    of_tasks = sum(task["duration"] for task in run["tasks"][1:-1])
    assert of_tasks <= stamp["duration_ms"] / 1000 <= run["duration"] + 0.002, (stamp, run)
    assert stamp["started_at"][:19] == stamp_time(run["run_branch"])
    assert run["params"] == stamp["workflow_params"] == {"number": 4}
    of_task = perago("log", *on[:2], "--branch", run["run_branch"], "-n", "1", "--json").json[0]["stamp"]
    assert (of_task["params"], of_task["workflow_params"]) == ({"number": 5}, {"number": 4})


def stamp_time(run_branch):
    return run_branch_time(run_branch).isoformat()[:19]


@pytest.mark.parametrize("prefix", ["second", "elsewhere"], ids=["seen by a task", "seen by none"])
def test_a_run_that_somebody_has_committed_to_is_refused_and_the_hint_works(project, perago, gate, prefix):
    on = ("--repo", str(project.repo), "--branch", "main")
    gate.write_text("fail")
    failed = perago(*WHOLE, "number=1", *on, "--json")
    (branch,) = run_branches(project)
    clone = project.path / "clone"
    project.git("clone", "--quiet", "--branch", branch, ".", str(clone))
    project.write({"number": "9"}, f"clone/{prefix}")
    project.git("-C", str(clone), "add", ".")
    project.git("-C", str(clone), "commit", "--quiet", "--message", "By hand")
    project.git("-C", str(clone), "push", "--quiet")
    gate.write_text("go on")
    refused = perago("run", "--resume", failed.json["run_id"], *on[:2])
    assert (refused.code, listed(project)) == (3, ["other.txt"]), refused.err
    again = perago(*refused.next_command)
    assert (again.code, again.json) == (0, {"number": 3}), again.err
    assert listed(project) == ["first/number", "other.txt", "second/number"]


@pytest.mark.long
def test_a_run_that_was_killed_or_failed_goes_on_where_it_was_and_is_published(project, perago, gate, monkeypatch):
    base, on = project.head(), ("--repo", str(project.repo), "--branch", "main")
    gate.write_text("wait")
    process = project.start(*WHOLE, "number=1", *on, env={"CLI_GATE": str(gate)})
    project.wait_for(gate.with_suffix(".waiting"))
    process.kill()
    process.communicate(timeout=60 * slowness())
    assert (project.head(), listed(project)) == (base, ["other.txt"])
    (run,) = perago("runs", *on[:2], "--json").json
    gate.write_text("fail")
    assert perago("run", "--resume", run["run_id"], *on[:2]).code == 1
    assert project.head() == base
    gate.write_text("go on")
    monkeypatch.setenv("PERAGO_RUN_BRANCH_TTL", "0.001s")
    said = perago("run", "--resume", run["run_id"], *on[:2])
    assert (said.code, said.json) == (0, {"number": 3}), said.err
    assert "cli_first" not in said.err
    assert listed(project) == ["first/number", "other.txt", "second/number"]
    assert project.git("rev-list", "--first-parent", "main").split() == [project.head(), base]
    (branch,) = run_branches(project)
    assert project.git("rev-parse", "main^2") == project.head(branch)
    looked = perago("doctor", *on[:2], "--fix", "--json")
    assert [(finding["kind"], finding["fixed"]) for finding in looked.json["findings"]] == [("run_branch", True)]

"""`perago run`: a task on a commit of a branch."""

from __future__ import annotations

import json
import re
import shlex
import subprocess

import pytest

REPO = ("--repo", "data.git", "--branch", "main")


def test_a_run_publishes_what_the_body_changed_and_prints_its_result(repository, perago):
    before = repository.head()
    said = perago("run", "cli_single", "--params", '{"text": "hello"}', *REPO)
    assert said.code == 0
    assert json.loads(said.out) == {"length": 1}
    assert f"Published commit {repository.head()} on branch main." in said.err
    assert "perago log --repo data.git --branch main" in said.err
    assert repository.show("single.txt") == "hello"
    assert repository.git("rev-parse", "main~1") == before
    repository.git("fsck", "--strict")


def test_a_task_that_its_module_keeps_in_a_dict_runs_in_its_process_too(repository, perago):
    (repository.path / "kept_in_a_dict.py").write_text(
        "from cli_bodies import OWNER, Params, Path, Result, WorkspaceSpec, task\n\n\n"
        "def make(name):\n    @task(name=name, owner_email=OWNER, workspace=WorkspaceSpec())\n"
        "    def made(workspace: Path, params: Params) -> Result:\n"
        "        (workspace / 'kept.txt').write_text(name)\n        return Result(length=len(name))\n"
        "    return made\n\n\nTASKS = {'kept': make('kept')}\n"
    )
    assert perago("check", "kept_in_a_dict").code == 0
    assert json.loads(perago("run", "kept_in_a_dict", *REPO).out) == {"length": 4}
    assert repository.show("kept.txt") == "kept"
    assert perago("run", "kept_in_a_dict:make.<locals>.made", *REPO).code == 0


def test_a_run_shows_its_phases_on_stderr(repository, perago):
    lines = perago("run", "cli_bodies:replace_all", *REPO).err.splitlines()
    assert lines[0].startswith("Run ")
    assert lines[0].endswith(
        f": task replace_all on commit {repository.git('rev-parse', '--short=12', 'main~1')} of branch main"
    )
    assert lines[1].startswith("materialize: 2 files, 9 B")
    assert lines[2] == "body: running"
    assert "diff: 1 added, 1 modified, 1 deleted" in lines
    assert any(line.startswith("stage: 2 files, 15 B") for line in lines)


def test_a_run_as_json_tells_all_of_it(repository, perago):
    before = repository.head()
    told = perago("run", "cli_bodies:write", "--param", "text=hello", *REPO, "--json").json
    assert told["status"] == "COMPLETED"
    assert (told["exit_code"], told["how"], told["tries"], told["reason"], told["kept"]) == (
        0,
        "published",
        1,
        None,
        None,
    )
    assert told["output"]["result"] == {"length": 5}
    assert told["output"]["workspace"] == {
        "repository": "data.git",
        "branch": "main",
        "refType": "commit",
        "ref": repository.head(),
    }
    assert told["changes"] == {"added": 1, "modified": 0, "deleted": 0}
    assert repository.git("rev-parse", "main~1") == before


def test_params_come_from_a_file_from_stdin_and_from_pairs(repository, perago):
    (repository.path / "p.json").write_text('{"text": "from file"}')
    perago("run", "cli_bodies:write", "--params", "@p.json", *REPO)
    assert repository.show("out.txt") == "from file"
    said = repository.run("run", "cli_bodies:write", "--params", "-", *REPO, stdin_text='{"text": "from stdin"}')
    assert said.code == 0
    assert repository.show("out.txt") == "from stdin"
    perago("run", "cli_bodies:write", "--params", "@p.json", "--param", "text=1.10", *REPO)
    assert repository.show("out.txt") == "1.10"


def test_a_run_that_changes_nothing_completes_with_its_input(repository, perago):
    before = repository.head()
    said = perago("run", "cli_bodies:leave", *REPO)
    assert said.code == 0
    assert f"Nothing changed: the task completed with its input, commit {before}." in said.err
    assert repository.head() == before
    assert perago("run", "cli_bodies:leave", *REPO, "--json").json["how"] == "unchanged"


def test_a_read_only_task_reads(repository, perago):
    before = repository.head()
    said = perago("run", "cli_bodies:read", *REPO)
    assert (said.code, json.loads(said.out)) == (0, {"length": 5})
    assert f"The task read commit {before}." in said.err
    assert repository.head() == before


def test_a_task_without_a_workspace_needs_no_repository(project, perago):
    said = perago("run", "cli_bodies:add", "--param", "numbers=[1, 2]")
    assert (said.code, json.loads(said.out)) == (0, {"total": 3})
    assert list(project.path.iterdir()) == []
    [listed] = perago("runs", "--json").json
    assert (listed["status"], listed["task_name"], listed["input_ref"]) == ("COMPLETED", "add", None)
    assert perago("run", "cli_bodies:add", "--param", "numbers=[1]", "--json").json["how"] == "free"


def test_a_free_task_may_be_recorded_in_a_repository(repository, perago):
    assert perago("run", "cli_bodies:add", "--param", "numbers=[1]", "--repo", "data.git").code == 0
    assert len(perago("runs", "--repo", "data.git", "--json").json) == 1
    assert perago("runs", "--json").json == []


@pytest.mark.parametrize("name", ["short", "branch", "tag", "whole"])
def test_another_commit_may_be_the_input(repository, perago, name):
    first = repository.head()
    repository.git("tag", "v1", first)
    repository.git("branch", "old", first)
    perago("run", "cli_bodies:write", *REPO)
    assert repository.head() != first
    ref = {"short": first[:8], "branch": "old", "tag": "v1", "whole": first}[name]
    said = perago("run", "cli_bodies:read", *REPO, "--ref", ref, "--json")
    assert said.code == 0
    assert said.json["output"]["workspace"]["ref"] == first
    assert f"on commit {first[:12]} of branch main" in said.err


def test_an_input_that_others_have_published_over_is_refused_with_3(repository, perago):
    first = repository.head()
    perago("run", "cli_bodies:write", *REPO)
    head = repository.head()
    said = perago("run", "cli_bodies:write", "--param", "text=late", *REPO, "--ref", first)
    assert said.code == 3
    assert "others have changed what this task could see" in said.err
    assert "body: running" not in said.err
    assert "try again from the same input" not in said.err
    assert said.out == ""
    assert repository.head() == head
    assert perago("run", "cli_bodies:write", *REPO, "--ref", first, "--json").json["exit_code"] == 3


def test_a_refused_run_names_the_command_that_runs_it_from_the_head(repository, perago):
    first = repository.head()
    perago("run", "cli_bodies:write", *REPO)
    refused = perago("run", "cli_bodies:write", "--param", "text=late", *REPO, "--ref", first)
    head = repository.head()
    command = shlex.split(refused.err.splitlines()[-1])
    assert command[:3] == ["perago", "run", "--resume"]
    said = perago(*command[1:], "--json")
    assert said.code == 0
    assert said.json["how"] == "published"
    assert f"on commit {head[:12]} of branch main" in said.err
    assert repository.show("out.txt") == "late"
    runs = perago("runs", "--repo", "data.git", "--json").json
    assert next(run["run_id"] for run in runs) == said.json["run_id"] != command[3]
    assert [run["status"] for run in runs] == ["COMPLETED", "FAILED", "COMPLETED"]


def test_a_run_whose_params_have_secrets_needs_them_again_onto_the_head(repository, perago):
    first = repository.head()
    perago("run", "cli_bodies:write", *REPO)
    given = ["--param", "password=hunter2"]
    refused = perago("run", "cli_bodies:write", *given, *REPO, "--ref", first)
    command = next(shlex.split(line) for line in refused.err.splitlines() if line.startswith("  perago run"))
    at = command.index("--params")
    assert command[at + 1] == "@FILE"
    again = command[1:at] + command[at + 2 :]
    said = perago(*again)
    assert said.code == 2
    assert "contain secrets, which are not stored: password." in said.err
    assert perago(*again, *given, "--param", "text=late").code == 2
    assert perago(*again, *given).code == 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["cli_bodies:write", *REPO, "--onto-head"], "--onto-head repeats the run that --resume names"),
        (["--resume", "20200101-000000-abcd", "--repo", "data.git", "--onto-head"], "there is no run"),
    ],
)
def test_onto_head_is_for_a_run_that_there_is(repository, perago, arguments, reason):
    said = perago("run", *arguments)
    assert said.code == 2
    assert reason in said.err


def test_onto_head_is_for_tasks_with_a_workspace_that_have_not_completed(repository, perago):
    done = perago("run", "cli_bodies:write", *REPO, "--json").json["run_id"]
    said = perago("run", "--resume", done, "--onto-head", "--repo", "data.git")
    assert (said.code, "is COMPLETED already" in said.err) == (2, True)
    endless = ("--param", "wait_for=never", "--timeout", "0.1")
    free = perago("run", "cli_bodies:wait_free", *endless, "--json").json["run_id"]
    said = perago("run", "--resume", free, "--onto-head")
    assert "has no workspace, so no branch head to start from" in said.err
    assert said.code == 2


def test_an_old_ref_is_told_what_to_do_with_it(repository, perago):
    first = repository.head()
    repository.git("tag", "v1", first)
    perago("run", "cli_bodies:write", *REPO)
    said = perago("run", "cli_bodies:write", "--param", "text=late", *REPO, "--ref", "v1")
    assert said.code == 3
    (hint,) = [line for line in said.err.splitlines() if line.startswith("--ref")]
    assert hint.startswith("--ref v1 is not the head of branch main. Leave --ref out, or create a branch there with `")
    [command] = re.findall(r"`([^`]+)`", hint)
    subprocess.run(command.replace("NEW", "later"), shell=True, check=True, env=repository.environment)
    assert repository.head("later") == first
    other = ("--repo", "data.git", "--branch", "later")
    assert perago("run", "cli_bodies:write", *other, "--ref", "v1").code == 0
    assert "--ref" not in perago("run", "cli_bodies:leave", *REPO, "--ref", "v1", "--dry-run").err


def test_what_a_body_prints_logs_and_reports_goes_to_stderr(repository, perago):
    said = repository.run("run", "cli_bodies:count", *REPO)
    assert said.code == 0
    assert json.loads(said.out) == {"length": 3}
    assert "printed by the body" in said.err
    assert "INFO perago.task.count: counted steps=3" in said.err


def test_a_module_of_the_current_directory_runs(repository):
    (repository.path / "here.py").write_text(
        "from cli_bodies import *\n\n@task(name='here', owner_email=OWNER, workspace=WorkspaceSpec())\n"
        "def here(workspace: Path, params: Params) -> Result:\n    return write(workspace, params)\n"
    )
    said = repository.run("run", "here", *REPO)
    assert said.code == 0, said.err
    assert repository.show("out.txt") == "out"


def test_the_workspace_root_is_left_as_it_was(repository, perago):
    perago("run", "cli_bodies:write", *REPO, "--workspace-root", "elsewhere")
    assert list((repository.path / "elsewhere").iterdir()) == []
    assert not repository.workspace_root.exists()


def test_the_log_tells_who_published_what_from_what(repository, perago):
    first = repository.head()
    run_id = perago("run", "cli_bodies:write", "--param", "text=hi", *REPO, "--json").json["run_id"]
    said = perago("log", *REPO)
    lines = [line for line in said.out.splitlines() if not line.startswith("    code ")]  # of the tests' own checkout
    assert said.code == 0
    assert lines[0].startswith(repository.head()[:12])
    assert lines[0].endswith(f"write, run {run_id}")
    assert lines[1] == f"    from    {first[:12]}"
    assert '"text": "hi"' in lines[2]
    assert lines[3] == '    result  {"length": 2}'
    assert lines[4].startswith("    files   1 added, in ")
    assert lines[5].startswith(first[:12])
    assert lines[5].endswith(": Import source")
    newest, imported = perago("log", *REPO, "--json").json
    assert (newest["kind"], newest["commit"], newest["added"]) == ("publication", repository.head(), 1)
    assert newest["stamp"]["input_ref"] == first
    assert (imported["kind"], imported["stamp"]) == ("commit", None)


def test_the_log_stops_at_its_limit_and_says_so(repository, perago):
    perago("run", "cli_bodies:write", *REPO)
    said = perago("log", *REPO, "-n", "1")
    assert "Import source" not in said.out
    assert "There are older commits; -n 5 shows more" in said.err


def test_secrets_among_the_params_are_neither_recorded_nor_published_nor_shown(repository, perago):
    (repository.path / "p.json").write_text('{"password": "hunter2"}')
    said = perago("run", "cli_bodies:write", "--params", "@p.json", *REPO)
    assert said.code == 0
    shown = (
        said.out + said.err + perago("log", *REPO, "--json").out + perago("runs", "--repo", "data.git", "--json").out
    )
    assert "hunter2" not in shown
    for path in repository.repo.rglob("*"):
        assert not path.is_file() or b"hunter2" not in path.read_bytes()


def test_what_a_body_says_of_its_secrets_is_neither_recorded_nor_shown(repository, perago):
    (repository.path / "p.json").write_text('{"password": "tok-very-long-secret"}')
    said = repository.run("run", "cli_bodies:log_in", "--params", "@p.json", *REPO)
    assert said.code == 1
    assert "logged in with ****" in said.err
    assert "the server did not take ****" in said.err
    assert "very-long" not in said.out + said.err
    for path in repository.repo.rglob("*"):
        assert not path.is_file() or b"very-long" not in path.read_bytes()


def test_files_that_the_workspace_leaves_out_are_told_of(repository, perago):
    said = perago("run", "cli_bodies:leave_out", *REPO)
    assert said.code == 0
    assert "diff: 1 added" in said.err
    assert "warning: a changed file is not published, because no include pattern of the workspace matches: " in said.err
    assert "report.json" in said.err
    assert "scratch" not in said.err  # which is excluded, on purpose
    assert repository.show("kept.txt") == "out"


BESIDE = "The body wrote to the current directory, which is not its workspace: "


def beside(said):
    text = " ".join(said.err.split())
    return text[text.index(BESIDE) + len(BESIDE) :].partition(". ")[0] if BESIDE in text else None


@pytest.mark.parametrize("options", [(), ("--dry-run",), ("--debug",), ("--json",)])
def test_a_body_that_writes_in_the_current_directory_is_told_where_its_workspace_is(repository, perago, options):
    (repository.path / "there.csv").write_text("old")
    (repository.path / "results").mkdir()
    written = "out.csv there.csv results/a.csv .cache __pycache__/x.pyc"
    said = perago("run", "cli_bodies:write_beside", "--param", f"kind={written}", *REPO, *options)
    assert said.code == 0, said.err
    assert beside(said) == "'out.csv', 'results', 'there.csv'"
    assert "Write below the path that the body is given, such as workspace / 'out.csv'." in said.err
    again = perago("run", "cli_bodies:write_beside", *REPO, *options)
    assert (again.code, beside(again)) == (0, None)


def test_a_body_that_changes_its_workspace_too_is_not_told(repository, perago):
    pairs = ("--param", "kind=scratch.txt", "--param", "touch=a.txt")
    assert beside(perago("run", "cli_bodies:write_beside", *pairs, *REPO)) is None


def test_output_that_goes_to_a_file_of_the_current_directory_is_no_write_of_the_body(repository):
    with (repository.path / "run.log").open("w") as log:
        assert repository.run("run", "cli_bodies:write_beside", *REPO, stderr=log, stdout=log).code == 0
    told = (repository.path / "run.log").read_text()
    assert "Nothing changed" in told
    assert BESIDE not in told


def test_many_files_in_the_current_directory_are_not_looked_at(repository, perago, monkeypatch):
    monkeypatch.setattr("perago.running.watch.MAX_ENTRIES", 10)
    for number in range(20):
        (repository.path / f"{number}.txt").write_text("")
    assert beside(perago("run", "cli_bodies:write_beside", "--param", "kind=out.csv", *REPO)) is None


def test_what_has_no_effect_is_told(repository, perago):
    said = perago("run", "cli_bodies:write_in_vain", "--param", "txet=x", *REPO)
    assert said.code == 0
    lines = said.err.splitlines()
    assert "warning: the task ignores unknown params: 'txet'; it has kind, password, text, " in said.err
    assert "warning: no file matches the workspace's include '*.csv'; '**/*.csv' matches in directories, too." in lines
    assert "warning: a changed file is not published, because the task is read_only: 'new.csv'." in lines


def test_threads_that_a_body_leaves_at_work_are_waited_for(repository, perago):
    said = repository.run("run", "cli_bodies:leave_a_thread", *REPO)
    assert (said.code, said.err.count("still run")) == (0, 0)
    assert repository.show("late.txt") == "written"

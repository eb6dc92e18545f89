"""`perago run` on workflows, and the other commands that take them, without a server."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from cli_project import BODIES
from perago.engines.local import WorkflowRun
from perago.errors import EngineError
from perago.values.stamps import MAX_STORED_BYTES, json_digest
from servers.machine import slowness

WORDS = ("--param", 'words=["a","b","c"]')


@pytest.fixture
def on(project, perago, monkeypatch, tmp_path):
    """The options that name a branch with a file."""
    project.write({"first.txt": "1"})
    assert perago("import", "source", "--repo", str(project.repo)).code == 0
    monkeypatch.setenv("CLI_GATE", str(tmp_path / "gate"))
    return ("--repo", str(project.repo), "--branch", "main")


def test_a_workflow_runs_its_tasks_and_prints_its_result(perago, project, on):
    said = perago("run", "cli_workflow:plain", *WORDS, *on)
    assert said.code == 0, said.err
    assert said.json == {"written": 3, "read": 3}
    assert project.git("show", "main:words.txt") == "a\nb\nc"
    for line in ("cli_write: started", "cli_write: written", "cli_write: COMPLETED", "again: COMPLETED", "is done"):
        assert line in said.err


def test_a_run_as_json_has_its_tasks_and_runs_lists_them(perago, on):
    said = perago("run", "cli_workflow:plain", *WORDS, *on, "-j", "1", "--json").json
    assert (said["workflow"], said["status"], said["exit_code"]) == ("cli_plain", "COMPLETED", 0)
    assert [(task["reference_name"], task["status"]) for task in said["tasks"]] == [
        ("cli_write", "COMPLETED"),
        ("cli_read", "COMPLETED"),
        ("again", "COMPLETED"),
    ]
    assert said["output"]["workspace"]["ref"] == said["tasks"][0]["output"]["workspace"]["ref"]
    (listed,) = perago("runs", *on[:2], "--json").json
    assert (listed["run_id"], listed["kind"], listed["task_name"]) == (said["run_id"], "workflow", "cli_plain")
    assert [task["reference_task_name"] for task in listed["tasks"]] == ["cli_write", "cli_read", "again"]
    assert listed["params"] == {"words": ["a", "b", "c"]}
    stamp = perago("log", *on, "-n", "1", "--json").json[0]["stamp"]
    assert stamp["workflow_params"] == listed["params"]
    assert stamp["workflow_params_digest"] == json_digest(listed["params"])
    assert '\n    workflow params {"words": ["a", "b", "c"]}\n' in perago("log", *on, "-n", "1").out
    shown = perago("runs", *on[:2]).out
    assert '    params {"words": ["a", "b", "c"]}\n' in shown
    assert "cli_plain, 3 tries" in shown
    assert "COMPLETED   cli_read" in shown


def test_large_params_of_a_workflow_are_a_digest_in_stamps_and_a_remark_in_lists(perago, on):
    words = ["a" * MAX_STORED_BYTES]
    assert perago("run", "cli_workflow:plain", "--params", json.dumps({"words": words}), *on).code == 0
    stamp = perago("log", *on, "-n", "1", "--json").json[0]["stamp"]
    assert (stamp["workflow_params"], stamp["workflow_params_digest"]) == (None, json_digest({"words": words}))
    assert "    workflow params (too large to keep)\n" in perago("log", *on, "-n", "1").out
    assert "    params (too large to show; see --json)\n" in perago("runs", *on[:2]).out
    assert perago("runs", *on[:2], "--json").json[0]["params"] == {"words": words}


def test_the_commit_of_the_code_is_in_the_record_and_in_the_stamp(perago, project, on):
    here = ("-C", str(project.path), "-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    code = (BODIES / "cli_workflow.py").read_text()
    (project.path / "own_workflow.py").write_text(code)
    for command in ("init --quiet", "add own_workflow.py", "commit --quiet --message code"):
        project.git(*here, *command.split())
    commit = project.git(*here, "rev-parse", "HEAD")
    assert perago("run", "own_workflow:plain", *WORDS, *on).code == 0
    (run,) = perago("runs", *on[:2], "--json").json
    assert [task["code"] for task in run["tasks"]] == [{"commit": commit, "is_dirty": False}] * 3
    assert f"    code {commit[:12]}\n" in perago("runs", *on[:2]).out
    stamp = perago("log", *on, "-n", "1", "--json").json[0]["stamp"]
    assert (stamp["code_commit"], stamp["code_dirty"]) == (commit, False)
    assert f"    code    {commit[:12]}\n" in perago("log", *on, "-n", "1").out


def test_a_workflow_that_failed_goes_on_after_what_has_completed(perago, on, tmp_path):
    said = perago("run", "cli_workflow:gated", *WORDS, *on, "--fast-retries")
    assert said.code == 1
    assert said.out == ""
    assert "task 'cli_gate' is FAILED: the gate is closed" in said.err
    assert said.err.count("cli_gate: try 2 started") == 1
    run_id = perago("runs", *on[:2], "--json").json[0]["run_id"]
    assert f"perago run --resume {run_id}" in said.err
    (tmp_path / "gate").touch()
    again = perago("run", "--resume", run_id, *on[:2])
    assert again.code == 0, again.err
    assert again.json == {"count": 3}
    assert "cli_gate: try 3 started" in again.err
    assert "cli_write" not in again.err
    assert perago("run", "--resume", run_id, *on[:2]).code == 2


def test_a_sub_workflow_runs_within_another_and_goes_on_where_it_failed(perago, project, on, tmp_path):
    said = perago("run", "cli_workflow:outer", *WORDS, *on, "--fast-retries", "-j", "1", "--json")
    assert said.code == 1
    assert said.json["reason"] == "task 'inner' is FAILED: task 'cli_gate' is FAILED: the gate is closed"
    listed = perago("runs", *on[:2])
    lines = [line.split(",")[0] for line in listed.out.splitlines()[1:]]
    assert [line for line in lines if "FAILED  " in line or "COMPLETED  " in line] == [
        "    FAILED      inner",
        "      COMPLETED   cli_write",
        "      FAILED      cli_gate",
        "    COMPLETED   cli_length",
    ]
    (tmp_path / "gate").touch()
    again = perago("run", "--resume", said.json["run_id"], *on[:2], "--json")
    assert again.code == 0, again.err
    assert again.json["output"]["result"] == {"written": 3, "read": 3}
    assert {task["reference_name"]: (task["status"], task["tries"]) for task in again.json["tasks"]} == {
        "inner": ("COMPLETED", 2),
        "inner/cli_write": ("COMPLETED", 1),
        "inner/cli_gate": ("COMPLETED", 3),
        "cli_length": ("COMPLETED", 1),
        "cli_read": ("COMPLETED", 1),
    }
    assert "inner/cli_gate: COMPLETED" in again.err


def test_what_still_runs_in_a_sub_workflow_that_failed_is_cancelled_and_the_rest_goes_on(perago, on):
    began = time.monotonic()
    said = perago("run", "cli_workflow:lenient", "--json")
    assert said.code == 0, said.err
    assert time.monotonic() - began < 60 * slowness()
    assert [(task["reference_name"], task["status"]) for task in said.json["tasks"]] == [
        ("cli_hopeless", "FAILED"),
        ("cli_hopeless/cli_wait", "CANCELED"),
        ("cli_hopeless/cli_fail", "FAILED"),
        ("cli_length", "COMPLETED"),
    ]


def test_what_follows_a_sub_workflow_whose_writers_ran_beside_each_other_has_what_all_have_written(perago, on):
    said = perago("run", "cli_workflow:around_joined", *on)
    assert said.code == 0, said.err
    assert said.json == {"names": ["a.txt", "b.txt", "c.txt", "first.txt"]}


def test_a_definition_names_others_in_files_and_modules(perago, project, on, tmp_path):
    (tmp_path / "gate").touch()
    assert perago("extract", "cli_workflow:outer", "-o", "outer.json").code == 0
    assert perago("extract", "cli_workflow:gated", "-o", "gated.json").code == 0
    of_module = perago("run", "outer.json", "--tasks", "cli_workflow", *WORDS, *on)
    assert of_module.json == {"written": 3, "read": 3}, of_module.err
    document = json.loads((project.path / "gated.json").read_text())
    (project.path / "gated.json").write_text(json.dumps({**document, "version": 2}))
    outer = json.loads((project.path / "outer.json").read_text())
    del outer["tasks"][0]["forkTasks"][1][0]["subWorkflowParam"]["version"]
    (project.path / "outer.json").write_text(json.dumps(outer))
    of_file = perago("run", "outer.json", "--tasks", "cli_workflow", "--workflows", "gated.json", *WORDS, *on, "--json")
    assert of_file.code == 0, of_file.err
    (inner,) = [task for task in of_file.json["tasks"] if task["reference_name"] == "inner"]
    assert inner["output"]["result"] == {"count": 3}
    shown = perago("check", "outer.json", "--tasks", "cli_workflow", "--workflows", "gated.json")
    assert "inner (workflow cli_gated):" in shown.out


def test_a_sub_workflow_that_is_not_found_or_contains_itself_is_refused_by_name(perago, project, on):
    def refused(**param):
        within = {"name": "s", "taskReferenceName": "s", "type": "SUB_WORKFLOW", "subWorkflowParam": param}
        (project.path / "own.json").write_text(json.dumps({"name": "own", "tasks": [within]}))
        said = perago("run", "own.json", "--tasks", "cli_workflow", "--workflows", "own.json")
        assert said.code == 2
        return " ".join(said.err.split())

    assert "workflow 'cli_gatd', which 's' runs, is not found; did you mean 'cli_gated'?" in refused(name="cli_gatd")
    assert "version 7 of workflow 'cli_gated', which 's' runs, is not found; the known versions are 1" in refused(
        name="cli_gated", version=7
    )
    assert "workflow 'own' contains itself (own > own)" in refused(name="own")
    assert perago("runs", "--json").json == []


def test_what_follows_writers_beside_each_other_has_what_all_have_written(perago, project, on, tmp_path):
    said = perago("run", "cli_workflow:joined", *on, "--fast-retries")
    assert said.code == 1, said.out
    listed = perago("runs", *on[:2], "--json").json[0]
    (tmp_path / "gate").touch()
    again = perago("run", "--resume", listed["run_id"], *on[:2])
    assert again.code == 0, again.err
    assert again.json == {"names": ["a.txt", "b.txt", "c.txt", "d.txt", "first.txt"]}
    assert project.git("show", "main:names.txt") == "a.txt b.txt c.txt d.txt first.txt"
    newest, *_ = perago("log", *on, "--json").json
    tries = perago("runs", *on[:2], "--json").json[0]["tasks"]
    published = {task["output_ref"] for task in tries if task["task_name"] == "cli.put"}
    assert newest["stamp"]["input_ref"] in published


def test_a_run_that_somebody_has_committed_behind_is_refused_and_the_hint_works(perago, project, on, tmp_path):
    failed = perago("run", "cli_workflow:joined", *on, "--fast-retries", "--json")
    assert failed.code == 1
    project.write({"names.txt": "theirs"}, "theirs")
    assert perago("import", "theirs", *on).code == 0
    (tmp_path / "gate").touch()
    refused = perago("run", "--resume", failed.json["run_id"], *on[:2])
    assert (refused.code, project.show("names.txt")) == (3, "theirs"), refused.err
    again = perago(*refused.next_command)
    assert (again.code, again.json["names"]) == (0, ["a.txt", "b.txt", "c.txt", "d.txt", "first.txt", "names.txt"])


def test_a_workflow_that_ends_with_writers_beside_each_other_names_the_newest_commit(perago, project, on):
    said = perago("run", "cli_workflow:writers", *on)
    assert f": commit {project.head()}." in said.err, said.err


def test_an_interrupt_cancels_the_workflow_and_says_how_to_go_on(perago, project, on, tmp_path):
    environment = {"CLI_GATE": str(tmp_path / "gate")}
    process = project.start("run", "cli_workflow:waiting", *WORDS, *on, env=environment)
    project.wait_for(tmp_path / "gate")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60 * slowness())
    assert process.returncode == 130, err
    assert "error: workflow cli_waiting was cancelled.\n" in err
    (listed,) = perago("runs", *on[:2], "--json").json
    assert listed["status"] == "TERMINATED"
    assert [task["status"] for task in listed["tasks"]] == ["COMPLETED", "CANCELED"]


def test_a_definition_in_a_file_runs_with_the_tasks_of_a_module(perago, project, on):
    assert perago("extract", "cli_workflow:plain", "-o", "plain.json").code == 0
    document = json.loads((project.path / "plain.json").read_text())
    assert (document["name"], document["description"]) == ("cli_plain", "writes, and reads")
    said = perago("run", "plain.json", "--tasks", "cli_workflow", *WORDS, *on)
    assert said.code == 0, said.err
    assert said.json == {"written": 3, "read": 3}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tasks: tasks[0].update(type="HTTP"), "Perago does not run tasks of type HTTP"),
        (lambda tasks: tasks[0].update(name="cli.writ"), "tasks 'cli.writ' are not found"),
        (
            lambda tasks: tasks[0]["inputParameters"]["params"].update(wordz=1),
            "task 'cli_write': it has no param 'wordz'; did you mean 'words'?",
        ),
        (lambda tasks: tasks[0]["inputParameters"].pop("workspace"), "its input has no 'workspace'"),
        (
            lambda tasks: tasks[1]["forkTasks"][0][0]["inputParameters"].update(
                params={"count": "${cli_write.output.result.cuont}"}
            ),
            "has no field 'cuont'; did you mean 'count'?",
        ),
        (
            lambda tasks: tasks[1]["forkTasks"][0][0]["inputParameters"].update(
                params={"count": "${cli_write.output.resutl.count}"}
            ),
            "the output of 'cli_write' has no 'resutl'; did you mean 'result'?",
        ),
    ],
    ids=["type", "task", "param", "workspace", "field", "output"],
)
def test_a_file_that_is_wrong_is_refused_before_anything_starts(perago, project, on, change, said):
    assert perago("extract", "cli_workflow:plain", "-o", "plain.json").code == 0
    document = json.loads((project.path / "plain.json").read_text())
    change(document["tasks"])
    (project.path / "plain.json").write_text(json.dumps(document))
    refused = perago("run", "plain.json", "--tasks", "cli_workflow", *WORDS, *on)
    assert refused.code == 2
    assert said in " ".join(refused.err.split())
    assert perago("runs", *on[:2], "--json").json == []


def test_what_a_definition_hands_to_its_tasks_is_validated_before_anything_starts(perago, project, on):
    assert perago("extract", "cli_workflow:plain", "-o", "plain.json").code == 0
    document = json.loads((project.path / "plain.json").read_text())
    document["tasks"][0]["inputParameters"]["params"] = {"words": "${workflow.input.rows}"}
    (beside,), (again,) = document["tasks"][1]["forkTasks"]
    beside["inputParameters"]["params"] = {"count": "${workflow.input.many}"}
    again["inputParameters"]["params"] = {"token": "${workflow.input.token}"}
    (project.path / "plain.json").write_text(json.dumps(document))
    refused = perago(
        "run", "plain.json", "--tasks", "cli_workflow", "--param", "many=hunter2", "--param", "rows=3", *on
    )
    told = " ".join(refused.err.split())
    assert refused.code == 2
    assert "${workflow.input.many} for param 'count' of task 'cli_read': value (Input should be a valid integer" in told
    assert "${workflow.input.rows} for param 'words' of task 'cli_write': value (Input should be a valid array)" in told
    assert "${workflow.input.token} for param 'token' of task 'again': it is not given" in told
    assert "hunter2" not in told
    assert perago("runs", *on[:2], "--json").json == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("cli_workflow:plain", "--param", "words=3"), "params.words"),
        (("cli_workflow:plain", "--param", "word=[]", "--param", 'words=["a"]'), "params.word"),
        (("cli_workflow:plain", *WORDS, "--dry-run"), "--dry-run is for one task"),
        (("cli_workflow:write", *WORDS, "--fast-retries"), "--fast-retries is for workflows"),
        (("cli_workflow:plain", *WORDS, "--tasks", "cli_workflow"), "--tasks is for a workflow in a file"),
        (("missing.json", "--tasks", "cli_workflow"), "missing.json cannot be read"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_starts(perago, on, arguments, said):
    refused = perago("run", *arguments, *on)
    assert refused.code == 2
    assert said in " ".join(refused.err.split())
    assert perago("runs", *on[:2], "--json").json == []


def test_a_secret_among_the_params_is_masked_in_the_record_and_needed_to_resume(perago, monkeypatch, tmp_path):
    monkeypatch.setenv("CLI_GATE", str(tmp_path / "gate"))
    said = perago("run", "cli_workflow:secret", "--param", "token=hunter2", "--fast-retries", "--json")
    assert said.code == 1
    assert "hunter2" not in said.out + said.err
    run_id = said.json["run_id"]
    (tmp_path / "gate").touch()
    refused = perago("run", "--resume", run_id)
    assert refused.code == 2
    assert "contain secrets" in refused.err
    assert perago("run", "--resume", run_id, "--param", "token=hunter2").code == 0


def test_a_secret_that_was_not_given_is_not_needed_to_resume(perago, monkeypatch, project, tmp_path):
    monkeypatch.setenv("CLI_GATE", str(tmp_path / "gate"))
    said = perago("run", "cli_workflow:kept_secrets", "--param", "count=3", "--retries", "0", "--json")
    run_id = said.json["run_id"]
    assert f"  perago run --resume {run_id}\n" in said.err
    assert perago("run", "--resume", run_id).code == 1
    assert perago("run", "--resume", run_id, "--param", "count=4").code == 2
    (tmp_path / "gate").touch()
    done = perago("run", "--resume", run_id)
    assert (done.code, done.json) == (0, {"count": 3 + len("of-the-code")}), done.err
    assert "of-the-code" not in records_of(project) + said.out + said.err + done.err


def test_only_a_secret_that_was_given_is_needed_to_resume_and_is_named(perago, monkeypatch, project, tmp_path):
    monkeypatch.setenv("CLI_GATE", str(tmp_path / "gate"))
    given = ("--param", "count=3", "--param", "token=hunter2hunter2", "--retries", "0", "--json")
    said = perago("run", "cli_workflow:kept_secrets", *given)
    again = ("run", "--resume", said.json["run_id"])
    assert f"  perago {' '.join(again)} --params @FILE\n" in said.err
    assert "Put the params that are not recorded into FILE: token.\n" in said.err
    refused = perago(*again)
    assert (refused.code, "not stored: token. To resume it, give them again" in refused.err) == (2, True)
    (tmp_path / "gate").touch()
    done = perago(*again, "--param", "token=hunter2hunter2")
    assert (done.code, done.json) == (0, {"count": 3 + len("of-the-code")}), done.err
    assert "hunter2" not in records_of(project) + said.out + said.err + done.err


def records_of(project):
    return "".join(path.read_text() for path in (project.path.parent / "state").rglob("run.json"))


def test_a_secret_that_only_its_type_tells_is_in_no_record(perago, project):
    said = perago("run", "cli_workflow:phrase", "--param", "phrase=hunter2hunter2", "--json")
    assert said.code == 0, said.err
    assert said.json["output"]["result"] == {"count": 14}
    assert "cli_length" in records_of(project)
    assert "hunter2" not in records_of(project) + said.out + said.err


def test_a_secret_that_is_a_default_reaches_the_task_and_no_record_or_definition(perago, project):
    said = perago("run", "cli_workflow:phrase")
    assert said.code == 0, said.err
    assert said.json == {"count": len("of-the-code")}
    assert "of-the-code" not in records_of(project)
    assert perago("extract", "cli_workflow:phrase", "-o", "phrase.json").code == 0
    text = (project.path / "phrase.json").read_text()
    assert "of-the-code" not in text
    assert "inputTemplate" not in text  # which would give a task the mask for the secret


def test_a_report_that_fails_ends_what_runs_beside(perago, monkeypatch):
    def refuse(self, task_id, result):
        raise EngineError("the disk is full")

    monkeypatch.setattr(WorkflowRun, "report", refuse)
    began = time.monotonic()
    said = perago("run", "cli_workflow:beside")
    assert said.code == 1
    assert "the disk is full" in said.err
    assert time.monotonic() - began < 40 * slowness()  # its neighbour would sleep for a minute


def test_check_shows_a_workflow_and_warns_of_tasks_that_will_refuse_each_other(perago):
    said = perago("check", "cli_workflow:plain")
    assert said.code == 0
    assert "Workflow cli_workflow:plain" in said.out
    for line in ("cli_write (cli.write)", "side by side:", "  again (cli.read)"):
        assert line in said.out
    assert "warning" not in said.err
    warned = perago("check", "cli_workflow:rivals")
    assert "publish at the same time" in warned.err
    assert perago("check", "cli_workflow:plain", "--json").json["workflows"][0]["name"] == "cli_plain, version 1"


def test_a_workflow_without_a_result_prints_none(perago):
    said = perago("run", "cli_workflow:quiet", "--param", "word=abc")
    assert (said.code, said.out) == (0, ""), said.err
    assert "Workflow cli_quiet is done" in said.err
    assert perago("extract", "cli_workflow:quiet", "-o", "quiet.json").code == 0
    of_file = perago("run", "quiet.json", "--tasks", "cli_workflow", "--param", "word=abc", "--json")
    assert of_file.json["output"] == {"result": {"count": 3}}  # as on a server


def test_a_map_runs_its_task_for_each_item_and_gathers_the_results_in_order(perago):
    words = ["a", "${b}", "", *("x" * number for number in range(9))]
    said = perago("run", "cli_workflow:mapped", "--params", json.dumps({"words": words}), "-j", "2")
    assert said.code == 0, said.err
    assert said.json == {"counts": [{"count": len(word) + 1} for word in words]}
    listed = perago("runs").out
    assert f"cli_mapped, {len(words)} tries" in listed
    assert [line.split()[1] for line in listed.splitlines() if line.startswith("    COMPLETED")] == [
        f"cli_size_{number}," for number in range(1, len(words) + 1)
    ]
    assert "perago.map" in [task["task_name"] for task in perago("runs", "--json").json[0]["tasks"]]
    empty = perago("run", "cli_workflow:mapped", "--params", '{"words": []}')
    assert (empty.code, empty.json) == (0, {"counts": []})


def test_tasks_that_are_retried_beside_each_other_do_not_end_the_run(perago, monkeypatch, tmp_path):
    words = [f"w{number}" for number in range(12)]
    for number in range(int(os.environ.get("PERAGO_TEST_RETRIED_RUNS", "4"))):
        monkeypatch.setenv("CLI_ONCE", str(tmp_path / f"once-{number}"))
        (tmp_path / f"once-{number}").mkdir()
        said = perago("run", "cli_workflow:all_once", "--params", json.dumps({"words": words}), "-j", "3", "--json")
        assert (said.code, said.json["output"]["result"]["counts"]) == (0, [{"count": len(word)} for word in words])
        tries = {task["reference_name"]: task["tries"] for task in said.json["tasks"]}
        assert [tries[f"cli_once_{number}"] for number in range(1, 13)] == [2] * 12


def record_of(project, said):
    (record,) = Path(project.environment["XDG_STATE_HOME"]).rglob(f"{said.json['run_id']}/run.json")
    assert "perago.map" in record.read_text()
    return record.read_text()


def test_a_secret_of_a_map_is_in_no_record(perago, project):
    secret = "open-sesame-says-ali-baba"
    said = perago("run", "cli_workflow:mapped", "--params", json.dumps({"words": ["a"], "phrase": secret}), "--json")
    assert said.json["output"] == {"result": {"counts": [{"count": 2 + len(secret)}]}}
    assert secret not in said.out + said.err + record_of(project, said) + perago("runs", "--json").out


def test_a_map_over_secrets_leaves_them_in_no_record(perago, project):
    secrets = [f"open-sesame-says-thief-{number}" for number in range(3)]
    said = perago("run", "cli_workflow:phrases", "--params", json.dumps({"phrases": secrets}), "--json")
    assert said.json["output"]["result"] == {"counts": [{"count": len(secrets[0])}] * 3}
    assert "says-thief" not in said.out + said.err + record_of(project, said)


def test_a_map_that_failed_goes_on_with_what_has_not_completed(perago, on):
    said = perago("run", "cli_workflow:mapped", "--params", '{"words": ["a", "bad", "c"]}', "-j", "1", "--fast-retries")
    assert (said.code, "task 'cli_size' for 'bad' (cli_size_2) is FAILED: a bad word" in said.err) == (1, True)
    run_id = perago("runs", "--json").json[0]["run_id"]
    again = perago("run", "--resume", run_id, "--fast-retries")
    assert again.code == 1
    assert "cli_size_2 (bad): try 5 started" in again.err
    assert "cli_size_1 " not in again.err


def test_what_follows_a_map_of_writers_takes_the_commit_that_holds_all_of_theirs(perago, project, on):
    said = perago("run", "cli_workflow:put_all", "--param", 'words=["a.txt", "b.txt", "c.txt"]', *on, "-j", "2")
    assert said.code == 0, said.err
    assert said.json == {"names": ["a.txt", "b.txt", "c.txt", "first.txt"]}
    assert project.git("show", "main:names.txt") == "a.txt b.txt c.txt first.txt"
    empty = perago("run", "cli_workflow:put_all", "--param", "words=[]", *on)
    assert empty.json["names"] == ["a.txt", "b.txt", "c.txt", "first.txt", "names.txt"], empty.err


def test_a_file_with_a_map_names_no_module_of_perago(perago):
    assert perago("extract", "cli_workflow:mapped", "-o", "mapped.json").code == 0
    said = perago("run", "mapped.json", "--tasks", "cli_workflow", "--params", '{"words": ["a", "${b}"], "phrase": ""}')
    assert said.json == {"counts": [{"count": 2}, {"count": 5}]}, said.err
    declared = perago("check", "cli_workflow:mapped").out
    assert ("cli_size (cli.size), for each item of params.words" in declared, "${" in declared) == (True, False)
    checked = perago("check", "mapped.json", "--tasks", "cli_workflow")
    assert (checked.code, "perago.map" in checked.out) == (0, False), checked.err
    assert "cli_size (cli.size), for each item of ${workflow.input.params.words}" in checked.out

"""`perago run` of a task that fails, and what `perago runs` tells of it."""

from __future__ import annotations

import importlib
import re
import shutil
import sys
from pathlib import Path

import pytest

from servers.machine import slowness

REPO = ("--repo", "data.git", "--branch", "main")


@pytest.fixture
def untouched(repository):
    """After the test: the branch stands where it stood, and no workspace is left."""
    head = repository.head()
    yield repository
    assert repository.head() == head
    assert [path.name for path in repository.workspace_root.iterdir() if path.name != "kept"] == []


@pytest.mark.parametrize(
    ("kind", "said", "status"),
    [
        ("", "not today", "FAILED"),
        ("terminal", "never again", "FAILED_WITH_TERMINAL_ERROR"),
        ("exit", "sys.exit(7)", "FAILED"),
        ("die", "exited with code 9", "FAILED"),
        ("link", "'link' is a symbolic link", "FAILED"),
        ("fifo", "'pipe'", "FAILED"),
        ("kind", "other.txt", "FAILED"),
        ("result", "result.length", "FAILED"),
    ],
)
def test_a_body_that_fails_exits_with_1_and_says_why(untouched, perago, kind, said, status):
    done = perago("run", "cli_bodies:fail", "--param", f"kind={kind}", *REPO)
    assert done.code == 1
    assert re.search(r"^error: task fail failed: .*" + re.escape(said), done.err, re.MULTILINE | re.DOTALL)
    assert done.out == ""
    assert "Traceback" not in done.err
    [listed] = perago("runs", "--repo", "data.git", "--json").json
    assert listed["status"] == status
    assert said in listed["reason"]
    is_final = status == "FAILED_WITH_TERMINAL_ERROR"
    assert (f"perago run --resume {listed['run_id']} --repo data.git" in done.err) is not is_final
    assert f"Run {listed['run_id']} ended." in done.err


@pytest.mark.parametrize(
    ("task", "said", "status"),
    [
        ("needs_more", "require_file('missing.csv')", "FAILED_WITH_TERMINAL_ERROR"),
        ("guarded", "forbid_glob('*.tmp')", "FAILED"),
    ],
)
def test_a_guard_that_does_not_hold_fails_the_task(untouched, perago, task, said, status):
    done = perago("run", f"cli_bodies:{task}", *REPO, "--json")
    assert done.code == 1
    assert (done.json["status"], done.json["exit_code"], done.json["output"]) == (status, 1, None)
    assert said in done.json["reason"]
    assert ("--resume" in done.err) is (status == "FAILED")


def test_an_error_of_the_bodys_own_names_its_place_and_with_a_variable_its_traceback(untouched, perago, monkeypatch):
    (untouched.path / "broken_body.py").write_text(
        "from cli_bodies import *\n\n@task(name='broken', owner_email=OWNER, workspace=WorkspaceSpec())\n"
        "def broken(workspace: Path, params: Params) -> Result:\n    return {}['missing']\n"
    )
    said = perago("run", "broken_body", *REPO)
    assert said.code == 1
    assert "failed: KeyError: 'missing' (at " in said.err
    assert "broken_body.py:5 in broken)" in said.err
    assert "Traceback" not in said.err
    assert said.err.count("broken_body.py") == 1
    assert "broken_body.py:5 in broken)" in perago("runs", "--repo", "data.git").out
    for options in ((), ("--dry-run",)):
        reason = perago("run", "broken_body", *REPO, "--json", *options).json["reason"]
        assert reason.startswith("KeyError: 'missing' (at ")
        assert reason.endswith("broken_body.py:5 in broken)")
    monkeypatch.setenv("PERAGO_TRACEBACK", "1")
    assert "Traceback" in perago("run", "broken_body", *REPO).err


@pytest.mark.parametrize("options", [("saying", *REPO), ("saying", *REPO, "--dry-run"), ("free",)])
def test_a_result_that_no_engine_would_keep_fails_for_good_before_anything_is_published(untouched, perago, options):
    (untouched.path / "much_to_say.py").write_text(
        "from pathlib import Path\nfrom pydantic import BaseModel\nfrom perago import WorkspaceSpec, task\n"
        "class Params(BaseModel):\n    pass\nclass Text(BaseModel):\n    text: str\n"
        "@task(name='saying', owner_email='a@example.org', workspace=WorkspaceSpec())\n"
        "def saying(workspace: Path, params: Params) -> Text:\n"
        "    (workspace / 'out.txt').write_text('out')\n    return Text(text='x' * 4_000_000)\n"
        "@task(name='free', owner_email='a@example.org')\n"
        "def free(params: Params) -> Text:\n    return Text(text='x' * 4_000_000)\n"
    )
    name, *others = options
    told = perago("run", f"much_to_say:{name}", *others, "--json").json
    assert told["exit_code"] == 1
    assert told["reason"].startswith("the result is too large for the engine: 4000011 bytes of JSON, above ")
    assert told.get("status") in (None, "FAILED_WITH_TERMINAL_ERROR")


def test_the_reason_is_cut_where_the_settings_say(untouched, perago, monkeypatch):
    monkeypatch.setenv("PERAGO_FAILURE_REASON_MAX_LENGTH", "5")
    assert perago("run", "cli_bodies:fail", *REPO, "--json").json["reason"] == "not t"


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_a_reason_and_its_place_fit_where_the_settings_cut(untouched, perago, monkeypatch, options):
    (untouched.path / "wordy_body.py").write_text(
        "from cli_bodies import *\n\n@task(name='wordy', owner_email=OWNER, workspace=WorkspaceSpec())\n"
        "def wordy(workspace: Path, params: Params) -> Result:\n    raise ValueError('x' * 1000)\n"
    )
    reason = perago("run", "wordy_body", *REPO, *options, "--json").json["reason"]
    assert reason.startswith("ValueError: xxx")
    assert reason.endswith("wordy_body.py:5 in wordy)")
    assert len(reason) == 500
    monkeypatch.setenv("PERAGO_FAILURE_REASON_MAX_LENGTH", "20")  # no room for a place
    assert perago("run", "wordy_body", *REPO, *options, "--json").json["reason"] == "ValueError: xxxxxxxx"


def test_a_failed_workspace_is_kept_on_request(untouched, perago):
    told = perago("run", "cli_bodies:fail", *REPO, "--keep", "--json").json
    assert (Path(told["kept"]) / "half.txt").read_text() == "half done"
    assert perago("run", "cli_bodies:fail", *REPO, "--json").json["kept"] is None
    said = perago("run", "cli_bodies:fail", *REPO, "--keep")
    kept = re.search(r"Its workspace was kept: (.*)", said.err)
    assert kept is not None
    assert Path(kept[1]).is_dir()


def test_a_workspace_that_did_not_fail_is_not_kept(repository, perago):
    told = perago("run", "cli_bodies:write", *REPO, "--keep", "--json").json
    assert told["kept"] is None
    assert list(repository.workspace_root.iterdir()) == []


def test_a_body_that_takes_too_long_is_ended(untouched, perago):
    said = perago("run", "cli_bodies:write", "--param", "wait_for=/nowhere/x", *REPO, "--timeout", "0.5")
    assert said.code == 1
    assert "the body took longer than 0.5 s and was stopped" in said.err


def test_a_tasks_own_timeout_holds_where_none_is_given(untouched, perago):
    (untouched.path / "slow_body.py").write_text(
        "import time\nfrom cli_bodies import *\nfrom perago import TaskControls, TimeoutPolicy\n\n"
        "@task(name='slow', owner_email=OWNER, workspace=WorkspaceSpec(),\n"
        "      controls=TaskControls(timeout=TimeoutPolicy(seconds=1)))\n"
        "def slow(workspace: Path, params: Params) -> Result:\n    time.sleep(60)\n"
    )
    assert "took longer than 1 s" in perago("run", "slow_body", *REPO).err


def test_retries_are_only_made_when_asked_for(repository, perago, tmp_path):
    marker = f"touch={tmp_path / 'tried'}"
    assert perago("run", "cli_bodies:fail_once", "--param", marker, *REPO).code == 1
    (tmp_path / "tried").unlink()
    said = perago("run", "cli_bodies:fail_once", "--param", marker, *REPO, "--retries", "3", "--json")
    assert said.code == 0
    assert said.json["tries"] == 2
    assert "try 1 failed: the first time" in said.err
    assert perago("runs", "--repo", "data.git", "--json").json[0]["tries"] == 2
    assert ", try 2" in perago("log", *REPO).out


def test_no_retry_is_spent_where_none_can_help(untouched, perago):
    for task, param in (("fail", "kind=terminal"), ("needs_more", "kind=")):
        told = perago("run", f"cli_bodies:{task}", "--param", param, *REPO, "--retries", "3", "--json").json
        assert told["tries"] == 1


def test_a_failed_run_is_resumed_from_the_same_input_with_the_same_params(repository, perago, tmp_path):
    first = repository.head()
    failed = perago("run", "cli_bodies:fail_once", "--param", f"touch={tmp_path / 'tried'}", *REPO, "--json").json
    said = perago("run", "--resume", failed["run_id"], "--repo", "data.git", "--json")
    assert said.code == 0
    assert (said.json["run_id"], said.json["tries"], said.json["how"]) == (failed["run_id"], 2, "published")
    assert repository.git("rev-parse", "main~1") == first
    again = perago("run", "--resume", failed["run_id"], "--repo", "data.git")
    assert again.code == 2
    assert "COMPLETED already" in again.err


def test_a_resumed_run_wants_its_secrets_again(untouched, perago):
    failed = perago("run", "cli_bodies:fail", "--param", "password=hunter2", *REPO, "--json").json
    resume = ("run", "--resume", failed["run_id"], "--repo", "data.git")
    said = perago(*resume)
    assert said.code == 2
    assert "contain secrets, which are not stored" in said.err
    assert perago(*resume, "--param", "password=hunter2").code == 1


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("password=hunter2", "text=tuesday", "kind=full"), 'text was "monday"'),
        (("password=hunter2", "text=monday", "kind=full", "touch=elsewhere"), "touch was null"),
        (("text=monday", "kind=full"), 'password was "**********"'),
    ],
)
def test_a_run_with_secrets_is_not_resumed_with_other_params(untouched, perago, given, told):
    params = ("--param", "text=monday", "--param", "kind=full", "--param", "password=hunter2")
    failed = perago("run", "cli_bodies:fail", *params, *REPO, "--json").json
    again = [part for pair in given for part in ("--param", pair)]
    said = perago("run", "--resume", failed["run_id"], "--repo", "data.git", *again)
    assert said.code == 2
    assert f"these are not the original params of run {failed['run_id']}: {told}. " in said.err
    assert perago("runs", "--repo", "data.git", "--json").json[0]["tries"] == 1
    assert perago("run", "--resume", failed["run_id"], "--repo", "data.git", *params).code == 1


def test_a_resumed_run_needs_only_its_secrets_again_and_says_which(untouched, perago, tmp_path):
    params = ("--param", "text=monday", "--param", "touch=touched", "--param", "password=hunter2")
    said = perago("run", "cli_bodies:fail_once", *params, *REPO, "--json")
    again = ("run", "--resume", said.json["run_id"], "--params", "@FILE", "--repo", "data.git")
    assert f"  perago {' '.join(again)}\n" in said.err
    assert "Put the params that are not recorded into FILE: password.\n" in said.err
    Path("touched").unlink()
    Path("FILE").write_text('{"password": "hunter2"}')
    assert perago(*again).code == 1
    assert Path("touched").exists()  # the other params are those of the record


def test_a_resumed_run_takes_no_other_params_and_no_other_task(untouched, perago):
    failed = perago("run", "cli_bodies:fail", *REPO, "--json").json
    resume = ("--resume", failed["run_id"], "--repo", "data.git")
    said = perago("run", *resume, "--param", "text=other")
    assert (said.code, "these are not the original params" in said.err) == (2, True)
    said = perago("run", "cli_single", *resume)
    assert (said.code, "is of cli_bodies:fail, not of cli_single" in said.err) == (2, True)
    assert perago("run", "cli_bodies:fail", *resume).code == 1


def test_a_run_whose_module_was_renamed_says_what_to_do(untouched, perago):
    old, new = untouched.path / "was_named.py", untouched.path / "is_named.py"
    old.write_text("from cli_bodies import fail\n")
    failed = perago("run", "was_named:fail", *REPO, "--json").json
    resume = ("run", "--resume", failed["run_id"], "--repo", "data.git")
    old.rename(new)
    sys.modules.pop("was_named")
    shutil.rmtree(untouched.path / "__pycache__", ignore_errors=True)
    importlib.invalidate_caches()
    for named in ((), ("is_named:fail",)):
        said = perago(*resume, *named)
        assert said.code == 2
        assert f"began as was_named:fail, and there is no module 'was_named' in {untouched.path}" in said.err
    line = re.search(r"`(from is_named import \*)`", said.err)
    old.write_text(line[1] + "\n")
    importlib.invalidate_caches()
    assert "ended after 2 tries" in perago(*resume).err


def test_a_run_that_another_process_has_is_not_resumed(repository, perago, tmp_path):
    params = ("--param", f"touch={tmp_path / 'there'}", "--param", f"wait_for={tmp_path / 'go'}")
    with repository.start("run", "cli_bodies:write", *params, *REPO, "--json") as process:
        repository.wait_for(tmp_path / "there")
        [listed] = perago("runs", "--repo", "data.git", "--json").json
        said = perago("run", "--resume", listed["run_id"], "--repo", "data.git")
        (tmp_path / "go").write_text("")
        process.communicate(timeout=30 * slowness())
    assert listed["status"] == "running"
    assert said.code == 2
    assert "is executed by process" in said.err
    assert process.returncode == 0


def test_runs_are_listed_newest_first_for_people_and_programs(repository, perago):
    assert "There are no runs yet" in perago("runs", "--repo", "data.git").err
    perago("run", "cli_bodies:write", *REPO)
    head = repository.head()
    perago("run", "cli_bodies:fail", *REPO)
    said = perago("runs", "--repo", "data.git")
    lines = [line for line in said.out.splitlines() if not line.startswith("    code ")]
    assert re.fullmatch(r"\S+  FAILED      fail, \d+\.\d s", lines[0])
    assert lines[1] == f"    main  {head[:12]}"
    assert lines[2] == "    not today"
    assert re.fullmatch(r"\S+  COMPLETED   write, \d+\.\d s", lines[3])
    assert lines[4].endswith(f" -> {head[:12]}")
    newest, oldest = perago("runs", "--repo", "data.git", "--json").json
    assert (newest["status"], oldest["status"], oldest["output_ref"]) == ("FAILED", "COMPLETED", head)
    limited = perago("runs", "--repo", "data.git", "-n", "1")
    assert limited.out.splitlines() == said.out.splitlines()[: len(limited.out.splitlines())]
    assert re.findall(r"^\S+", limited.out, re.MULTILINE) == [newest["run_id"]]
    assert "There are older runs; -n 5 shows more" in limited.err


def test_without_a_repository_the_list_says_where_else_runs_are(repository, perago):
    perago("run", "cli_bodies:write", *REPO)
    said = perago("runs")
    assert said.code == 0
    assert said.out == ""
    assert "--repo REPO lists the runs on a repository" in said.err


def test_a_reason_names_the_task_once(repository, perago):
    said = perago("run", "cli_bodies:fail", "--param", "kind=exit", "--retries", "1", *REPO)
    assert "error: task fail failed: the body called sys.exit(7)" in said.err
    assert "try 1 failed: the body called sys.exit(7)" in said.err
    assert "\n    the body called sys.exit(7)" in perago("runs", "--repo", "data.git").out
    rehearsed = perago("run", "cli_bodies:fail", "--param", "kind=exit", "--dry-run", *REPO)
    assert "error: task fail failed: the body called sys.exit(7)" in rehearsed.err


def test_a_file_that_cannot_be_read_in_the_repository_is_a_failure_with_a_reason(untouched, perago):
    blob = untouched.git("rev-parse", "main:other.txt")
    path = untouched.repo / "objects" / blob[:2] / blob[2:]
    path.chmod(0o600)
    path.write_bytes(b"damaged")
    said = perago("run", "cli_bodies:write", *REPO)
    assert said.code == 1
    assert said.err.count("error: ") == 1

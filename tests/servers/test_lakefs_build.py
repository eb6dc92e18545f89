"""lakeFS is built once, whoever asks first; what is half built is never taken for whole. A script stands in for Go."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOME_GO = """#!/bin/sh
echo "$@" >> "$CALLS"
case "$1" in
mod) printf '{"Dir": "%s"}' "$PWD" ;;
build)
    echo half > "$5/lakefs"
    sleep 0.3
    [ -e "$FAIL" ] && { echo "no space left on device" >&2; exit 1; }
    echo whole > "$5/lakefs"; echo whole > "$5/lakectl" ;;
esac
"""


@pytest.fixture
def machine(tmp_path):
    """Environment of a machine whose Go notes its calls and builds text files; it fails while `fail` is there."""
    (tmp_path / "bin").mkdir()
    go = tmp_path / "bin" / "go"
    go.write_text(SOME_GO)
    go.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{go.parent}:/usr/bin:/bin",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "CALLS": str(tmp_path / "calls"),
        "FAIL": str(tmp_path / "fail"),
    }


def start_build(machine):
    command = [sys.executable, "-m", "servers.lakefs", "build"]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=machine,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(build):
    output, errors = build.communicate(timeout=60)
    return build.returncode, output, errors


def kept(machine):
    return sorted(path.name for path in (Path(machine["XDG_CACHE_HOME"]) / "perago" / "servers").iterdir())


def test_two_builders_at_once_build_once(machine, tmp_path):
    builds = [start_build(machine), start_build(machine)]
    results = [finish(build) for build in builds]
    directory = tmp_path / "cache" / "perago" / "servers" / "lakefs-1.84.0"
    assert [(code, output) for code, output, _ in results] == [(0, f"{directory}\n")] * 2
    assert (directory / "lakefs").read_text() == (directory / "lakectl").read_text() == "whole\n"
    assert [call.split()[0] for call in (tmp_path / "calls").read_text().splitlines()] == ["mod", "build"]
    assert sum("Building lakeFS 1.84.0" in errors for _, _, errors in results) == 1
    assert kept(machine) == ["lakefs-1.84.0", "lakefs-1.84.0.lock"]


def test_a_build_that_fails_says_why_and_leaves_nothing(machine, tmp_path):
    (tmp_path / "fail").touch()
    code, output, errors = finish(start_build(machine))
    assert (code, output) == (1, "")
    assert "no space left on device" in errors
    assert "Traceback" not in errors
    assert kept(machine) == ["lakefs-1.84.0.lock"]
    (tmp_path / "fail").unlink()
    assert finish(start_build(machine))[0] == 0


def test_a_builder_that_is_killed_is_in_nobodys_way(machine, tmp_path):
    build = start_build(machine)
    while not (tmp_path / "calls").exists():
        assert build.poll() is None
    os.killpg(build.pid, 9)
    finish(build)
    assert finish(start_build(machine))[0] == 0
    assert kept(machine) == ["lakefs-1.84.0", "lakefs-1.84.0.lock"]


def test_without_go_it_says_what_it_needs(machine, tmp_path):
    (tmp_path / "bin" / "go").unlink()
    code, _, errors = finish(start_build(machine))
    assert code == 1
    assert "needs Go 1.26 or newer on the PATH" in errors


A_TEST = """
def test_it(lakefs_repository):
    pass
"""


def run_a_test(machine, tmp_path, **environment):
    """What pytest says of a test that uses lakeFS, on that machine."""
    tests = tmp_path / "tests"
    tests.mkdir()
    for ours in ("conftest.py", "figures.py"):
        (tests / ours).write_text((ROOT / "tests" / ours).read_text())
    (tests / "test_it.py").write_text(A_TEST)
    options = ["-c", ROOT / "pyproject.toml", "--rootdir", ROOT, "-p", "no:cacheprovider"]
    environment = {**machine, "CI": "", "PERAGO_PROVE": "", "PERAGO_TEST_LAKEFS_URL": "", **environment}
    command = [sys.executable, "-m", "pytest", *options, tests]
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60).stdout


def test_without_go_tests_are_skipped_and_that_is_said_plainly(machine, tmp_path):
    (tmp_path / "bin" / "go").unlink()
    said = run_a_test(machine, tmp_path)
    assert "1 skipped" in said
    assert "NOT TESTED HERE (1): needs Go 1.26 or newer on the PATH" in said


def test_without_go_ci_fails(machine, tmp_path):
    (tmp_path / "bin" / "go").unlink()
    said = run_a_test(machine, tmp_path, CI="true")
    assert "1 error" in said
    assert "CI=true, and this test needs Go" in said


def test_where_it_cannot_be_built_the_reason_is_said(machine, tmp_path):
    (tmp_path / "fail").touch()
    said = run_a_test(machine, tmp_path)
    assert "1 skipped" in said
    assert "NOT TESTED HERE (1): needs lakeFS, which could not be built" in said
    assert "no space left on device" in said


def test_a_server_that_is_named_is_used_and_nothing_is_built(machine, tmp_path, lakefs_server):
    (tmp_path / "bin" / "go").unlink()
    named = {
        "PERAGO_TEST_LAKEFS_URL": lakefs_server.url,
        "PERAGO_TEST_LAKEFS_ACCESS_KEY_ID": lakefs_server.access_key_id,
        "PERAGO_TEST_LAKEFS_SECRET_ACCESS_KEY": lakefs_server.secret_access_key,
        "PERAGO_TEST_LAKEFS_STORAGE": lakefs_server.storage,
    }
    assert "1 passed" in run_a_test(machine, tmp_path, CI="true", **named)

"""Tests ignore what the caller's shell has set for Perago or its servers."""

from __future__ import annotations

from inner_run import run_tests

OF_A_SHELL = {
    "LAKECTL_SERVER_ENDPOINT_URL": "http://127.0.0.1:1",
    "CONDUCTOR_SERVER_URL": "http://127.0.0.1:1/api",
    "PERAGO_FENCE": "loose",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
    "NO_COLOR": "1",
    "PYTHONBREAKPOINT": "0",
}
TESTS = """
import os, subprocess, sys

def test_this_process_and_those_that_it_starts():
    shown = subprocess.run([sys.executable, "-c", "import os; print(*os.environ)"], capture_output=True, text=True)
    names = {names!r}
    assert [name for name in names if name in os.environ or name in shown.stdout.split()] == []
    assert os.environ["PERAGO_TEST_KEPT"] == "1"
"""


def test_tests_do_not_see_the_callers_settings(tmp_path):
    run = run_tests(tmp_path, TESTS.replace("{names!r}", repr(list(OF_A_SHELL))), PERAGO_TEST_KEPT="1", **OF_A_SHELL)
    assert run.returncode == 0, run.stdout


def test_nor_do_those_that_several_processes_share(tmp_path):
    code = TESTS.replace("{names!r}", repr(list(OF_A_SHELL)))
    run = run_tests(tmp_path, code, "-n", "1", PERAGO_TEST_KEPT="1", **OF_A_SHELL)
    assert run.returncode == 0, run.stdout

"""The workflow of docs/worker.md, from the import to its result, as it stands there."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest

from pages import PROJECT, blocks, environment, run_script

PAGE = PROJECT / "docs" / "worker.md"
SHELL = {block.name: block.text for block in blocks(PAGE, "sh")}


@pytest.fixture
def here(lakefs_repository):
    """The page's texts with a repository of the test's own, as the server is shared."""
    return lambda text: text.replace("lakefs://penguins", f"lakefs://{lakefs_repository.name}")


@pytest.fixture
def given(tmp_path, conductor_server, lakefs_server):
    """The environment of somebody in the clone, with the settings that the page begins with."""
    (tmp_path / "examples").symlink_to(PROJECT / "examples")
    return environment(
        tmp_path,
        CONDUCTOR_SERVER_URL=conductor_server.api_url,
        LAKECTL_SERVER_ENDPOINT_URL=lakefs_server.url,
        LAKECTL_CREDENTIALS_ACCESS_KEY_ID=lakefs_server.access_key_id,
        LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY=lakefs_server.secret_access_key,
        PERAGO_LOG_ROOT=str(tmp_path / "logs"),
        PYTHONPATH="examples",
    )


@pytest.fixture
def worker(given, tmp_path):
    """Starts the page's worker, which ends with the test."""
    started = []

    def start() -> None:
        command = ["bash", "-c", SHELL["worker"].replace("perago start", "exec perago start")]
        started.append(subprocess.Popen(command, cwd=tmp_path, env=given))

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(60) == 0
        finally:
            process.kill()


def test_a_workflow_from_nothing_to_its_result(here, given, worker, tmp_path):
    assert list(SHELL) == ["settings", "prepare", "worker", "run", "look"]
    run_script(here(SHELL["prepare"]), tmp_path, given)
    worker()
    (shown,) = blocks(PAGE, "json")
    assert json.loads(run_script(here(SHELL["run"]), tmp_path, given)) == json.loads(shown.text)
    assert "clean_penguins" in run_script(here(SHELL["look"]), tmp_path, given)
    assert (tmp_path / "tables" / "reports" / "summary.csv").is_file()

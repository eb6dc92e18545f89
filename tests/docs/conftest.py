"""Servers for pages that begin with the settings of two, and workers that they start."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from pages import environment
from servers.once import cache_directory, one_at_a_time


@pytest.fixture
def server_settings(tmp_path, conductor_server, lakefs_server):
    """The environment of somebody in the clone who has set the settings of both servers."""
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
def alone_with_penguins():
    """Pages register and serve the same tasks at one server: a worker would take those of another page."""
    with one_at_a_time(cache_directory() / "pages.lock"):
        yield


@pytest.fixture
def worker_of_page(alone_with_penguins, server_settings):
    """Starts a page's worker, which ends with the test."""
    started = []

    def start(command: str, directory: Path) -> None:
        line = ["bash", "-c", command.replace("perago start", "exec perago start")]
        started.append(subprocess.Popen(line, cwd=directory, env=server_settings))

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(60) == 0
        finally:
            process.kill()

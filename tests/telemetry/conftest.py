from __future__ import annotations

from pathlib import Path

import pytest

from otlp_receiver import Receiver
from perago.stores.git import GitStore
from start_support import StartedWorker, TaskFlow

MODULES = Path(__file__).parent / "modules"
MODULE = "telemetry_tasks"


@pytest.fixture
def receiver():
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def repository(tmp_path):
    """A git repository with one file on branch main."""
    files = tmp_path / "files"
    files.mkdir()
    (files / "readme.txt").write_text("data")
    store = GitStore.create(tmp_path / "data.git")
    store.import_directory(files, "main", "begin")
    return store


@pytest.fixture
def flow(conductor, monkeypatch):
    monkeypatch.syspath_prepend(str(MODULES))
    return TaskFlow(conductor, MODULE)


@pytest.fixture
def start(conductor_server, tmp_path, flow):
    """Makes workers for the flow's domain; they begin when entered."""
    made = []

    def make(*options, url=None, **variables):
        options = ("--domain", flow.domain, *options)
        variables = {"PYTHONPATH": str(MODULES), **variables}
        worker = StartedWorker(tmp_path, url or conductor_server.api_url, [MODULE], *options, **variables)
        made.append(worker)
        return worker

    yield make
    for worker in made:
        worker.__exit__()

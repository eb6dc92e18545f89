"""What a supervisor is told of the settings."""

from __future__ import annotations

import platform
from datetime import timedelta

import pytest

from clocks import LaterClock
from perago import load_runtime_config
from perago.ports import no_queue
from perago.running.repos.address import parse_address, queue_for
from perago.settings.stores import configured_store
from perago.stores.git import GitStore
from perago.stores.git.provider import git_settings
from perago.worker.attempts.journal import Journal
from perago.worker.configuration import executor_configuration, worker_id_of, worker_settings
from perago.worker.executor.runner import AttemptRunner, ExecutorStore
from perago.worker.supervisor.housekeeping import Housekeeping, KnownRepositories
from perago.worker.supervisor.polling import Pace
from perago.worker.supervisor.slot import Wear

PACE = Pace(after=lambda _idle: 1.0, after_failures=lambda _failures, _jitter: 1.0)


def wear(directory, **environment):
    config = load_runtime_config("app.features", cwd=directory, process_env=environment, probe_roots=False)
    return worker_settings(config, "w", directory, slots=1, pace=PACE).wear


def test_executors_are_replaced_as_the_settings_say(tmp_path):
    assert wear(tmp_path) == Wear(None, None)
    given = {"PERAGO_EXECUTOR_MAX_ATTEMPTS": "100", "PERAGO_EXECUTOR_MAX_MEMORY": "512MB"}
    assert wear(tmp_path, **given) == Wear(max_attempts=100, max_memory_bytes=512 * 1024 * 1024)


def test_a_workers_id_is_the_same_at_each_start_and_another_in_another_root(tmp_path):
    def id_in(root, **environment):
        given = {"PERAGO_WORKSPACE_ROOT": str(tmp_path / root), **environment}
        return worker_id_of(load_runtime_config("app.features", cwd=tmp_path, process_env=given, probe_roots=False))

    assert id_in("a") == id_in("a")
    assert id_in("a").startswith(f"appfeatures-{platform.node()}-")
    assert id_in("a") != id_in("b")
    assert id_in("a", PERAGO_WORKER_ID="mine") == "mine"


LAKEFS = {
    "LAKECTL_SERVER_ENDPOINT_URL": "http://127.0.0.1:1",
    "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": "key",
    "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": "secret",
}


@pytest.mark.parametrize(("given", "expected"), [({}, "md5"), ({"PERAGO_CHECKSUMS": "opaque"}, "opaque")])
def test_an_executors_store_takes_checksums_as_the_settings_say(tmp_path, monkeypatch, given, expected):
    made = []
    monkeypatch.setattr("perago.stores.lakefs.store.LakeFSStore", lambda **options: made.append(options))
    environment = {**LAKEFS, **given, "PERAGO_CACHE_MAX_SIZE": "0"}
    config = load_runtime_config("app.features", cwd=tmp_path, process_env=environment, probe_roots=False)
    ExecutorStore(configured_store(config)).open(lambda _event: None)
    assert made[0]["checksums"] == expected


def test_a_worker_and_a_run_of_one_repository_wait_in_one_queue(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name, value in LAKEFS.items():
        monkeypatch.setenv(name, value)
    config = load_runtime_config("app.features", cwd=tmp_path, process_env=LAKEFS, probe_roots=False)

    def queue(store):
        return AttemptRunner.of(executor_configuration(config, "w", ["app.features"], store), {}).queue

    server, repository = configured_store(config), git_settings(tmp_path / "data.git")
    assert queue(server) == queue_for(parse_address("lakefs://data"))
    assert queue(repository) == queue_for(parse_address(str(tmp_path / "data.git")))
    assert queue(server) != queue(repository)
    assert queue(server).directory == tmp_path / "state" / "perago" / "queue"


def test_a_worker_begins_and_ends_runs_only_on_repositories_of_its_store(tmp_path):
    config = load_runtime_config("app.features", cwd=tmp_path, process_env=LAKEFS, probe_roots=False)

    def may_have(name, repository=None):
        store = configured_store(config) if repository is None else git_settings(repository)
        return worker_settings(config, "w", tmp_path, slots=1, pace=PACE, store=store).may_have(name)

    assert may_have("data")
    assert not may_have("data.git")
    assert may_have("data.git", tmp_path / "data.git")
    assert not may_have("data", tmp_path / "data.git")

    def modules(store):
        return {target.split(":")[0] for target in executor_configuration(config, "w", ["m"], store).load.targets}

    beginning = "perago.workflows.transaction"
    assert beginning in modules(configured_store(config))
    assert beginning not in modules(None)


def test_executors_of_a_user_without_a_home_directory_wait_for_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr("perago.worker.configuration.find_state_directory", lambda: None)
    config = load_runtime_config("app.features", cwd=tmp_path, process_env=LAKEFS, probe_roots=False)
    configuration = executor_configuration(config, "w", ["app.features"], configured_store(config))
    assert AttemptRunner.of(configuration, {}).queue is no_queue


class Chores(list):
    """A slot that keeps its chores."""

    add_chore = list.append


@pytest.mark.parametrize(("given", "is_kept"), [({}, True), ({"PERAGO_RUN_BRANCH_TTL": "1h"}, False)])
def test_a_worker_sweeps_branches_of_runs_as_the_settings_say(tmp_path, given, is_kept):
    repository, source, chores = tmp_path / "data.git", tmp_path / "source", Chores()
    source.mkdir()
    (source / "a").write_text("1")
    store = GitStore.create(repository, clock=LaterClock(timedelta(days=-1)))
    store.import_directory(source, "main", "files")
    branch = "perago-run-20260101t000000z-wf-0"
    head = store.create_run_branch("data", branch, "main")
    config = load_runtime_config("app.features", cwd=tmp_path, process_env=given, probe_roots=False)
    settings = worker_settings(config, "w", tmp_path / "worker", slots=1, pace=PACE, store=git_settings(repository))
    known = KnownRepositories(settings.directory)
    known.note("data")
    ages = {"ttl_seconds": settings.gc_ttl_seconds, "run_branch_ttl_seconds": settings.run_branch_ttl_seconds}
    housekeeping = Housekeeping(tmp_path / "root", Journal(None), [chores], known, interval_seconds=1.0, **ages)
    assert housekeeping.turn() == 1.0
    (order,) = chores
    ExecutorStore(git_settings(repository)).sweep(
        order.repository, order.older_than_seconds, order.runs_older_than_seconds
    )
    assert store.branch_head(branch) == (head if is_kept else None)

"""What a supervisor is told of the settings."""

from __future__ import annotations

import pytest

from perago import load_runtime_config
from perago.worker.configuration import store_settings, worker_settings
from perago.worker.executor.runner import ExecutorStore
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
    ExecutorStore(store_settings(config, None)).open(lambda _event: None)
    assert made[0]["checksums"] == expected

"""What a supervisor is told of the settings."""

from __future__ import annotations

from perago import load_runtime_config
from perago.worker.configuration import worker_settings
from perago.worker.polling import Pace
from perago.worker.slot import Wear

PACE = Pace(after=lambda _idle: 1.0, after_failures=lambda _failures, _jitter: 1.0)


def wear(directory, **environment):
    config = load_runtime_config("app.features", cwd=directory, process_env=environment, probe_roots=False)
    return worker_settings(config, "w", directory, slots=1, pace=PACE).wear


def test_executors_are_replaced_as_the_settings_say(tmp_path):
    assert wear(tmp_path) == Wear(None, None)
    given = {"PERAGO_EXECUTOR_MAX_ATTEMPTS": "100", "PERAGO_EXECUTOR_MAX_MEMORY": "512MB"}
    assert wear(tmp_path, **given) == Wear(max_attempts=100, max_memory_bytes=512 * 1024 * 1024)

"""Commands tell a variable of our name that is no setting, and a worker has it in its log."""

from __future__ import annotations

import json

import pytest

from conductor_stub import StubConductor
from perago import load_runtime_config
from perago.cli.start import warn_of_unsent_metrics

TOLD = "PERAGO_LOG_ROT in the environment is not a setting and has no effect; did you mean PERAGO_LOG_ROOT?"


@pytest.mark.parametrize(
    "command",
    [
        ("run", "cli_bodies:add", "--param", "numbers=[1]"),
        ("check", "cli_single"),
        ("cache",),
    ],
)
def test_a_variable_that_is_no_setting_is_a_warning(project, command):
    said = project.run(*command, env={"PERAGO_LOG_ROT": "x"})
    assert said.code == 0, said.err
    assert said.err.splitlines()[0] == f"warning: {TOLD}"
    assert said.err.count(TOLD) == 1


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_worker_has_it_in_its_log_and_shows_it_at_once(project, tmp_path, options):
    with StubConductor(500, {"message": "out of order"}) as conductor:
        settings = {"PERAGO_LOG_ROT": "x", "PERAGO_LOG_ROOT": str(tmp_path / "logs")}
        said = project.run("start", "cli_single", *options, env={**settings, "CONDUCTOR_SERVER_URL": conductor.url})
    assert said.code == 2
    (path,) = (tmp_path / "logs").glob("*.jsonl")
    (line,) = [json.loads(line) for line in path.read_text().splitlines()]
    assert (line["level"], line["message"]) == ("WARNING", TOLD)
    if options:
        assert json.loads(said.out.splitlines()[0])["message"] == TOLD
    else:
        assert f" WARNING {TOLD}" in said.err
    assert (said.out + said.err).count(TOLD) == 1


def test_a_worker_whose_settings_are_wrong_tells_it_too(project):
    said = project.run("start", "cli_single", env={"PERAGO_LOG_ROT": "x", "PERAGO_FENCE": "x"})
    assert said.code == 2
    assert f"warning: {TOLD}" in said.err


@pytest.mark.parametrize(
    ("tasks", "settings", "warned"),
    [
        (["train"], {}, True),
        ([], {}, False),
        (["train"], {"PERAGO_PROMETHEUS": "on", "PERAGO_HEALTH_ADDRESS": "127.0.0.1:9464"}, False),
        (["train"], {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, False),
        (["train"], {"OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_metrics_that_nothing_receives_are_warned_of(tmp_path, caplog, tasks, settings, warned):
    config = load_runtime_config("cli_single", cwd=tmp_path, process_env=settings, probe_roots=False)
    warn_of_unsent_metrics(tasks, config)
    assert ("the metrics of train are discarded" in caplog.text) == warned

"""What a variable may hold, and what it comes to."""

from __future__ import annotations

import pwd
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from perago import ConductorConfig, LakeFSConfig

LAKEFS = {
    "LAKECTL_SERVER_ENDPOINT_URL": "http://lakefs:8000",
    "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": "AKIA",
    "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": "shh",
}


def test_the_defaults_are_those_of_the_contract(settings):
    config = settings.load("app.features")
    assert config.workspace_root == settings.home / ".local/state/perago/workspaces"
    assert config.log_root == settings.home / ".local/state/perago/logs"
    assert config.cache_dir == settings.home / ".cache/perago"
    assert config.root_parents == "checked"
    assert config.log_file_max_size == 100 * 1024 * 1024
    assert config.log_retention == timedelta(days=30)
    assert config.worker_id_prefix == "appfeatures"
    assert config.worker_id is None
    assert config.execution_mode == "process"
    assert config.failure_reason_max_length == 500
    assert config.fence == "exact"
    assert config.workspace_gc_ttl == timedelta(hours=24)
    assert config.workspace_gc_interval == timedelta(hours=1)
    assert config.run_branch_ttl == timedelta(days=7)
    assert config.shutdown_force_kill_after is None
    assert (config.conductor, config.lakefs, config.metrics) == (None, None, None)


@pytest.mark.parametrize(
    ("text", "size"), [("1B", 1), ("512KB", 512 * 1024), ("100mb", 100 * 1024**2), ("1.5 GB", 1536 * 1024**2)]
)
def test_sizes_have_a_unit(settings, text, size):
    assert settings.load(PERAGO_LOG_FILE_MAX_SIZE=text).log_file_max_size == size
    assert settings.load(PERAGO_CACHE_MAX_SIZE=text).cache_max_size == size


@pytest.mark.parametrize("text", ["0", "0B", "0 GB", "0.0mb", " 0 "])
def test_a_cache_may_have_no_size_at_all(settings, text):
    assert settings.load(PERAGO_CACHE_MAX_SIZE=text).cache_max_size == 0


@pytest.mark.parametrize("text", ["100", "-1MB", "0.1B", "00", "none"])
def test_what_is_no_size_of_a_cache_is_refused_with_examples(settings, text):
    assert settings.fault(PERAGO_CACHE_MAX_SIZE=text) == (
        f"PERAGO_CACHE_MAX_SIZE (the environment) must be a size such as '512MB' or '10GB', or 0 for none, not {text!r}"
    )


@pytest.mark.parametrize("text", ["100", "0MB", "-1MB", "MB", "1KiB", "1 2 MB", "0.1B"])
def test_what_is_no_size_is_refused_with_an_example(settings, text):
    assert settings.fault(PERAGO_LOG_FILE_MAX_SIZE=text) == (
        f"PERAGO_LOG_FILE_MAX_SIZE (the environment) must be a size such as '512KB', '100MB' or '1.5GB', not {text!r}"
    )


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("90s", timedelta(seconds=90)),
        ("5m", timedelta(minutes=5)),
        ("24h", timedelta(days=1)),
        ("30d", timedelta(30)),
        ("1.5H", timedelta(minutes=90)),
    ],
)
def test_durations_have_a_unit(settings, text, span):
    names = ("PERAGO_LOG_RETENTION", "PERAGO_WORKSPACE_GC_TTL", "PERAGO_WORKSPACE_GC_INTERVAL")
    config = settings.load(**dict.fromkeys(names, text), PERAGO_SHUTDOWN_FORCE_KILL_AFTER=text)
    assert config.log_retention == config.workspace_gc_ttl == config.workspace_gc_interval == span
    assert config.shutdown_force_kill_after == span


@pytest.mark.parametrize("text", ["90", "0s", "-5m", "1w", "1h30m", "none", "9" * 40 + "d"])
def test_what_is_no_duration_is_refused_with_an_example(settings, text):
    assert "must be a duration such as '90s', '5m', '24h' or '30d'" in settings.fault(PERAGO_LOG_RETENTION=text)


def test_a_shutdown_may_wait_for_good(settings):
    assert settings.load(PERAGO_SHUTDOWN_FORCE_KILL_AFTER="None").shutdown_force_kill_after is None
    assert "must be 'none', or a duration" in settings.fault(PERAGO_SHUTDOWN_FORCE_KILL_AFTER="never")


def test_words_are_taken_in_either_case_and_others_refused(settings):
    config = settings.load(PERAGO_EXECUTION_MODE="Thread", PERAGO_FENCE="cooperative", PERAGO_CHECKSUMS="OPAQUE")
    assert (config.execution_mode, config.fence, config.checksums) == ("thread", "cooperative", "opaque")
    assert "must be 'process' or 'thread', not 'fiber'" in settings.fault(PERAGO_EXECUTION_MODE="fiber")
    assert "must be 'exact' or 'cooperative', not 'loose'" in settings.fault(PERAGO_FENCE="loose")
    assert "must be 'md5' or 'opaque', not 'none'" in settings.fault(PERAGO_CHECKSUMS="none")


@pytest.mark.parametrize("text", ["0", "-1", "x", "1.5", "٣"])
def test_the_length_of_a_reason_is_a_whole_number_from_one_up(settings, text):
    assert settings.load(PERAGO_FAILURE_REASON_MAX_LENGTH="12").failure_reason_max_length == 12
    assert "must be a whole number of at least 1" in settings.fault(PERAGO_FAILURE_REASON_MAX_LENGTH=text)


def test_a_worker_id_prefix_holds_letters_and_digits_or_is_made_of_the_module(settings):
    assert settings.load(PERAGO_WORKER_ID_PREFIX="gpu7").worker_id_prefix == "gpu7"
    assert settings.load("app.my_features:build").worker_id_prefix == "appmyfeaturesbuild"
    assert "may have only ASCII letters and digits, not 'gpu-7'" in settings.fault(PERAGO_WORKER_ID_PREFIX="gpu-7")
    assert "PERAGO_WORKER_ID_PREFIX (the default) would be empty" in settings.fault("_._")


@pytest.mark.parametrize("url", ["lakefs:8000", "ftp://lakefs", "http://", "http://host:port", "https://[::1"])
def test_a_server_is_named_by_an_http_url(settings, url):
    assert "CONDUCTOR_SERVER_URL (the environment) must be a URL that begins with http" in settings.fault(
        CONDUCTOR_SERVER_URL=url
    )


def test_a_conductor_server_may_be_given_with_or_without_a_key(settings):
    url = "http://conductor:8080/api"
    assert settings.load(CONDUCTOR_SERVER_URL=url).conductor == ConductorConfig(server_url=url)
    config = settings.load(CONDUCTOR_SERVER_URL=url, CONDUCTOR_AUTH_KEY="k", CONDUCTOR_AUTH_SECRET="shh")
    assert config.conductor == ConductorConfig(server_url=url, auth_key="k", auth_secret=SecretStr("shh"))


def test_lakefs_is_given_by_three_variables(settings):
    assert settings.load(**LAKEFS).lakefs == LakeFSConfig(
        endpoint_url="http://lakefs:8000", access_key_id="AKIA", secret_access_key=SecretStr("shh")
    )


@pytest.mark.parametrize("missing", LAKEFS)
def test_half_of_lakefs_names_what_is_missing_and_what_is_given(settings, missing):
    given = {name: value for name, value in LAKEFS.items() if name != missing}
    fault = settings.fault(**given)
    assert f"The lakeFS settings are incomplete: {missing} is missing" in fault
    assert all(f"{name} (the environment)" in fault for name in given)


def test_half_a_conductor_key_is_refused(settings):
    url = {"CONDUCTOR_SERVER_URL": "http://c"}
    assert "CONDUCTOR_AUTH_KEY (the environment) is set, but CONDUCTOR_AUTH_SECRET is not" in settings.fault(
        CONDUCTOR_AUTH_KEY="k", **url
    )
    assert "CONDUCTOR_AUTH_SECRET (the environment) is set, but CONDUCTOR_AUTH_KEY is not" in settings.fault(
        CONDUCTOR_AUTH_SECRET="shh", **url
    )
    fault = settings.fault(CONDUCTOR_AUTH_KEY="k", CONDUCTOR_AUTH_SECRET="shh")
    assert "but CONDUCTOR_SERVER_URL is not" in fault


@pytest.mark.parametrize("name", [*LAKEFS, "CONDUCTOR_SERVER_URL", "PERAGO_WORKER_ID", "OTEL_EXPORTER_OTLP_ENDPOINT"])
@pytest.mark.parametrize("text", ["replace-me", "https://Replace-Me.example.org"])
def test_a_placeholder_is_refused_wherever_it_stands(settings, name, text):
    assert f"{name} (the environment) still holds the placeholder" in settings.fault(**{**LAKEFS, name: text})


def test_opentelemetry_variables_say_where_metrics_go(settings):
    general = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel:4318/", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}
    metrics = settings.load(**general, PERAGO_INSTANCE_ID="i-1", OTEL_METRIC_EXPORT_INTERVAL="5000").metrics
    assert metrics.endpoint == "http://otel:4318/v1/metrics"
    assert (metrics.instance_id, metrics.compression, metrics.export_interval_millis) == ("i-1", "gzip", 5000)
    own = {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://m/x", "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION": "none"}
    metrics = settings.load(**general, **own).metrics
    assert (metrics.endpoint, metrics.compression) == ("http://m/x", None)
    assert settings.load(**general, OTEL_SDK_DISABLED="true").metrics is None


def test_roots_are_absolute_and_count_from_the_project(settings):
    config = settings.load(PERAGO_WORKSPACE_ROOT="work", PERAGO_LOG_ROOT="~/logs")
    assert config.workspace_root == settings.cwd / "work"
    assert config.log_root == Path.home() / "logs"


def test_roots_lie_where_the_user_has_state_and_caches_and_nobody_else_can_write(settings, tmp_path):
    homes = {"XDG_STATE_HOME": str(tmp_path / "state"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    config = settings.load(**homes, probe_roots=True)
    assert config.workspace_root == tmp_path / "state/perago/workspaces"
    assert config.log_root == tmp_path / "state/perago/logs"
    assert config.cache_dir == tmp_path / "cache/perago"
    made = [tmp_path / "state", *(tmp_path / "state").rglob("*")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o700}
    relative = settings.load(XDG_STATE_HOME="state", XDG_CACHE_HOME="", HOME="/home/ada")
    assert relative.workspace_root == Path("/home/ada/.local/state/perago/workspaces")
    assert relative.cache_dir == Path("/home/ada/.cache/perago")


def test_who_has_no_home_is_told_what_to_set(settings, monkeypatch):
    def unknown(_uid):
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert "PERAGO_WORKSPACE_ROOT (the default) belongs in the home directory, but this user has none; set XDG" in (
        settings.fault(HOME="")
    )
    given = {"HOME": "", "PERAGO_WORKSPACE_ROOT": "w", "PERAGO_LOG_ROOT": "l", "PERAGO_CACHE_DIR": "c"}
    assert settings.load(**given).workspace_root == settings.cwd / "w"


def test_a_root_that_others_may_write_to_or_put_another_in_the_place_of_is_a_fault_of_its_variable(settings):
    (settings.cwd / "open").mkdir()
    (settings.cwd / "open").chmod(0o777)
    fault = settings.fault(PERAGO_WORKSPACE_ROOT="open", PERAGO_LOG_ROOT="open/logs", probe_roots=True)
    assert f"PERAGO_WORKSPACE_ROOT (the environment) is {settings.cwd}/open, which can be written by all users" in fault
    assert f"PERAGO_LOG_ROOT (the environment) is {settings.cwd}/open/logs, which lies below" in fault
    trusted = {"PERAGO_ROOT_PARENTS": "trusted", "PERAGO_LOG_ROOT": "open/logs", "PERAGO_WORKSPACE_ROOT": "work"}
    assert settings.load(**trusted, probe_roots=True).root_parents == "trusted"
    assert "PERAGO_WORKSPACE_ROOT" in settings.fault(**trusted | {"PERAGO_WORKSPACE_ROOT": "open"}, probe_roots=True)
    assert "must be 'checked' or 'trusted'" in settings.fault(PERAGO_ROOT_PARENTS="no")


@pytest.mark.parametrize("text", [".", "./", "sub/..", "/"])
def test_neither_the_current_nor_the_root_directory_is_written_to(settings, text):
    (settings.cwd / "sub").mkdir()
    fault = settings.fault(PERAGO_WORKSPACE_ROOT=text, probe_roots=True)
    assert "PERAGO_WORKSPACE_ROOT (the environment) is /" in fault
    assert "give a directory that nothing else writes to" in fault
    assert [path.name for path in settings.cwd.iterdir()] == ["sub"]


def test_a_blank_root_is_the_default_and_not_the_current_directory(settings):
    assert settings.load(PERAGO_WORKSPACE_ROOT="  ").workspace_root.name == "workspaces"


def test_probing_makes_the_roots_and_leaves_nothing_in_them(settings):
    settings.load(PERAGO_WORKSPACE_ROOT="a/b", PERAGO_LOG_ROOT="logs", probe_roots=True)
    assert sorted(str(path.relative_to(settings.cwd)) for path in settings.cwd.rglob("*")) == ["a", "a/b", "logs"]


def test_a_root_that_cannot_be_made_is_a_fault_of_its_variable(settings):
    (settings.cwd / "file").write_text("")
    fault = settings.fault(PERAGO_WORKSPACE_ROOT="file/x", PERAGO_LOG_ROOT="file", probe_roots=True)
    assert f"PERAGO_WORKSPACE_ROOT (the environment) is {settings.cwd}/file/x, which cannot be written" in fault
    assert f"PERAGO_LOG_ROOT (the environment) is {settings.cwd}/file, which cannot be written" in fault


def test_the_values_are_frozen_and_take_no_unknown_field(settings):
    config = settings.load()
    with pytest.raises(ValueError, match="frozen"):
        config.execution_mode = "thread"
    with pytest.raises(ValueError, match="Extra inputs"):
        type(config)(**config.model_dump(), colour="red")


def test_where_a_worker_tells_of_itself(settings):
    config = settings.load(PERAGO_HEALTH_ADDRESS="[::1]:9464", PERAGO_PROMETHEUS="on")
    assert (config.health_address, config.prometheus) == ("[::1]:9464", "on")
    assert (settings.load().health_address, settings.load().prometheus) == (None, "off")


def test_traces_and_metrics_are_switched_each_by_itself(settings):
    general = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel:4318/", "OTEL_EXPORTER_OTLP_TIMEOUT": "2000"}
    config = settings.load(**general, OTEL_METRICS_EXPORTER="none")
    assert config.metrics is None
    assert (config.traces.endpoint, config.traces.timeout_millis) == ("http://otel:4318/v1/traces", 2000)
    assert settings.load(**general, OTEL_TRACES_EXPORTER="none").traces is None
    assert settings.load(**general, OTEL_SDK_DISABLED="true").traces is None

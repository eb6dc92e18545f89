"""Where settings come from, which source wins, and how each fault names its own."""

from __future__ import annotations

import os

import pytest

from perago import load_runtime_config

SECRET = "hunter2-Tr0ub4dor"


def test_the_environment_wins_over_dotenv_over_perago_toml_over_pyproject(settings):
    settings.write(
        pyproject='[tool.perago]\nworker_id = "project"\nworker_id_prefix = "p"\nfailure_reason_max_length = 1\n'
        'log_retention = "1d"\n',
        toml='worker_id = "toml"\nworker_id_prefix = "t"\nfailure_reason_max_length = 2\n',
        dotenv="PERAGO_WORKER_ID=dotenv\nPERAGO_WORKER_ID_PREFIX=d\n",
    )
    config = settings.load(PERAGO_WORKER_ID="environment")
    assert config.worker_id == "environment"
    assert config.worker_id_prefix == "d"
    assert config.failure_reason_max_length == 2
    assert config.log_retention.days == 1


def test_tables_of_a_toml_file_hold_the_servers(settings):
    settings.write(
        toml='[conductor]\nserver_url = "http://c/api"\nauth_key = "k"\nauth_secret = "s"\n'
        '[lakefs]\nendpoint_url = "http://l"\naccess_key_id = "a"\nsecret_access_key = "s"\n'
    )
    config = settings.load()
    assert config.conductor.server_url == "http://c/api"
    assert config.conductor.auth_secret.get_secret_value() == "s"
    assert config.lakefs.secret_access_key.get_secret_value() == "s"


def test_half_a_configuration_may_be_spread_over_sources_and_is_told_by_source(settings):
    settings.write(toml='[lakefs]\nendpoint_url = "http://l"\n', dotenv="LAKECTL_CREDENTIALS_ACCESS_KEY_ID=a\n")
    fault = settings.fault()
    assert "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY is missing" in fault
    assert "LAKECTL_SERVER_ENDPOINT_URL (`lakefs.endpoint_url` in perago.toml)" in fault
    assert "LAKECTL_CREDENTIALS_ACCESS_KEY_ID (.env)" in fault
    assert settings.load(LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY="s").lakefs is not None


def test_a_blank_value_hides_those_below_it(settings):
    settings.write(dotenv="CONDUCTOR_SERVER_URL=http://c\n")
    assert settings.load().conductor is not None
    assert settings.load(CONDUCTOR_SERVER_URL="").conductor is None


def test_every_fault_names_its_variable_its_key_and_its_source_all_at_once(settings):
    settings.write(
        pyproject='[tool.perago]\nlog_retention = "soon"\nfence = "none"\n',
        toml='execution_mode = "fiber"\ncache_max_size = 5\n',
        dotenv="PERAGO_LOG_FILE_MAX_SIZE=big\n",
    )
    lines = settings.fault(PERAGO_FENCE="loose").splitlines()
    assert lines[0] == "5 settings are wrong:"
    assert sorted(line.split(" must ")[0] for line in lines[1:]) == [
        "- PERAGO_CACHE_MAX_SIZE (`cache_max_size` in perago.toml)",
        "- PERAGO_EXECUTION_MODE (`execution_mode` in perago.toml)",
        "- PERAGO_FENCE (the environment)",
        "- PERAGO_LOG_FILE_MAX_SIZE (.env)",
        "- PERAGO_LOG_RETENTION (`log_retention` in [tool.perago] of pyproject.toml)",
    ]


def test_faults_of_half_configurations_come_with_those_of_values(settings):
    fault = settings.fault(
        PERAGO_FENCE="loose", LAKECTL_SERVER_ENDPOINT_URL="http://l", CONDUCTOR_AUTH_KEY="k", PERAGO_WORKSPACE_ROOT="."
    )
    for part in (
        "PERAGO_FENCE",
        "The lakeFS settings are incomplete",
        "CONDUCTOR_AUTH_SECRET is not",
        "current directory",
    ):
        assert part in fault


def test_a_wrong_value_counts_as_given(settings):
    fault = settings.fault(
        LAKECTL_SERVER_ENDPOINT_URL="nonsense",
        LAKECTL_CREDENTIALS_ACCESS_KEY_ID="a",
        LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY="s",
    )
    assert fault.startswith("LAKECTL_SERVER_ENDPOINT_URL")
    assert "half" not in fault


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('worksapce_root = "x"', "`worksapce_root` in perago.toml is not a setting; did you mean `workspace_root`?"),
        ('PERAGO_LOG_ROOT = "x"', "`PERAGO_LOG_ROOT` in perago.toml is not a setting; did you mean `log_root`?"),
        ('[lakefs]\nendpoint = "x"', "`lakefs.endpoint` in perago.toml is not a setting; did you mean"),
        ('[metrics]\nx = "x"', "`metrics` in perago.toml is not a setting"),
        (
            "zzzzzz = 1",
            "`zzzzzz` in perago.toml is not a setting. Settings are body_start, branch, cache_dir, cache_max_size,",
        ),
        ('conductor = "http://c"', "`conductor` in perago.toml must be a table; write [conductor] above its keys"),
        ("worker_id = 7", "PERAGO_WORKER_ID (`worker_id` in perago.toml) must be text, in quotes, not 7"),
        ("worker_id = ", "perago.toml is not valid TOML"),
    ],
)
def test_a_key_that_is_none_is_a_fault_with_the_nearest_one(settings, toml, said):
    assert said in settings.write(toml=toml).fault()


def test_a_tool_table_is_held_to_the_same(settings):
    fault = settings.write(pyproject='[tool.perago]\nlog_rot = "x"\n[tool.other]\ny = 1\n').fault()
    assert fault == "`log_rot` in [tool.perago] of pyproject.toml is not a setting; did you mean `log_root`?"
    assert "[tool.perago] of pyproject.toml must be a table" in settings.write(pyproject="[tool]\nperago = 1").fault()
    assert settings.write(pyproject="[project]\nname = 'x'").load() is not None


@pytest.mark.parametrize("key", ["conductor.auth_secret", "lakefs.secret_access_key"])
def test_a_secret_in_pyproject_is_refused_with_a_hint_to_dotenv(settings, key):
    table, name = key.split(".")
    fault = settings.write(pyproject=f'[tool.perago.{table}]\n{name} = "{SECRET}"\n').fault()
    assert f"(`{key}` in [tool.perago] of pyproject.toml): a secret must not be in a committed file" in fault
    assert ".env" in fault
    assert SECRET not in fault


def test_no_secret_is_ever_shown(settings):
    given = {
        "CONDUCTOR_SERVER_URL": f"user:{SECRET}@host",
        "CONDUCTOR_AUTH_SECRET": f"{SECRET}",
        "LAKECTL_SERVER_ENDPOINT_URL": f"ftp://user:{SECRET}@host",
        "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": f"{SECRET} replace-me",
    }
    assert SECRET not in settings.fault(**given)
    assert SECRET not in settings.write(toml=f'[conductor]\nauth_secret = ["{SECRET}"]').fault()
    settings.write(toml="")
    keys = {"CONDUCTOR_AUTH_KEY": "k", "CONDUCTOR_AUTH_SECRET": SECRET}
    config = settings.load(CONDUCTOR_SERVER_URL="http://c", **keys)
    assert SECRET not in repr(config) + str(config) + config.model_dump_json()


@pytest.mark.parametrize("name", ["dotenv", "toml", "pyproject"])
def test_a_file_that_is_not_utf8_is_a_fault(settings, name):
    settings.write(**{name: ""})
    path = next(iter(settings.cwd.iterdir()))
    path.write_bytes(b"PERAGO_WORKER_ID='\xff'")
    assert settings.fault() == f"{path.name} cannot be read: it is not UTF-8"


@pytest.mark.parametrize("value", ["ab${cd}ef", "a$HOME", "a=b", "a#b", "'a$b'", "ü"])
def test_a_value_of_dotenv_is_taken_as_it_stands(settings, value):
    settings.write(dotenv=f"CONDUCTOR_SERVER_URL=http://c\nCONDUCTOR_AUTH_KEY=k\nCONDUCTOR_AUTH_SECRET={value}\n")
    assert settings.load(HOME="/root").conductor.auth_secret.get_secret_value() == value.strip("'")


@pytest.mark.parametrize(
    ("text", "named", "line"),
    [
        ('PERAGO_WORKER_ID="w\n', "PERAGO_WORKER_ID", 1),
        ('OTHER=1\nPERAGO_WORKER_ID="w"x"\nPERAGO_FENCE=exact\n', "PERAGO_WORKER_ID", 2),
        ("NOTE='it is\nPERAGO_FENCE=exact\nPERAGO_WORKER_ID=w\nMORE='y\n", "PERAGO_FENCE, PERAGO_WORKER_ID", 1),
    ],
)
def test_a_setting_of_dotenv_that_cannot_be_read_is_a_fault_that_names_its_line(settings, text, named, line):
    settings.write(dotenv=text)
    fault = settings.fault()
    assert f"{named} (.env): line {line} and the following ones cannot be read; check the quotes" in fault


@pytest.mark.parametrize(
    "text",
    [
        "OTHER_PASSWORD='a\nPERAGO_WORKER_ID_OF_OTHERS=1\n",
        "PERAGO_WORKER_ID is ours\n",
        "OTHER='is PERAGO_FENCE=exact\n",
    ],
)
def test_a_statement_of_dotenv_that_is_for_others_is_passed_over(settings, text):
    settings.write(dotenv=text)
    assert settings.load().worker_id is None


def test_other_variables_are_nobodys_business(settings):
    settings.write(dotenv="DATABASE_URL=x\nPERAGO_SERVICE_HOST=10.0.0.1\n")
    assert settings.load(HOME="/", PERAGO_SERVICE_PORT="80").worker_id is None


def test_without_arguments_the_process_is_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("PERAGO_", "CONDUCTOR_", "LAKECTL_", "OTEL_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PERAGO_WORKSPACE_ROOT", "here")
    (tmp_path / "perago.toml").write_text('log_root = "logs"\n')
    config = load_runtime_config("app")
    assert config.workspace_root == tmp_path / "here"
    assert config.workspace_root.is_dir()
    assert config.log_root == tmp_path / "logs"


def test_a_variable_of_our_name_that_is_no_setting_is_warned_of_once_with_the_nearest(settings, caplog):
    others = (
        "PERAGO_TEST_LOG_ROOT",  # the tests' and the benchmarks' own
        "PERAGO_BENCH_KEY_ID",
        "PERAGO_PROVE",
        "PERAGO_TRACEBACK",  # read by the commands
        "PERAGO_SLOTS",  # read by the systemd unit
        "PERAGO_MODULES",
        "PERAGO_LOG_PORT",  # of a Kubernetes service `perago-log`
        "PERAGO_CACHE_SERVICE_HOST",
        "PERAGO_LOG_ROOT",
        "XPERAGO_FENCES",
        "PERAGO_\x1b[2J",
    )
    settings.write(dotenv="PERAGO_RETENTION=secret\nOTHER=1\nPERAGO_FENCE=exact\n")
    for _ in range(2):
        settings.load(**dict.fromkeys(others, "x"), PERAGO_WORKSPCE_ROOT="secret", PERAGO_VERBOSE="secret")
    said = [record.getMessage() for record in caplog.records if record.name == "perago.settings"]
    assert said == [
        "PERAGO_VERBOSE in the environment is not a setting and has no effect",
        (
            "PERAGO_WORKSPCE_ROOT in the environment is not a setting and has no effect; "
            "did you mean PERAGO_WORKSPACE_ROOT?"
        ),
        "PERAGO_RETENTION in .env is not a setting and has no effect; did you mean PERAGO_LOG_RETENTION?",
    ]


def test_what_opentelemetry_reads_from_the_environment_only_is_warned_of_in_dotenv_once(settings, caplog):
    settings.write(
        dotenv="OTEL_SERVICE_NAME=features\nOTEL_EXPORTER_OTLP_HEADERS=api-key=hunter2\n"
        "OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318\n"
    )
    for _ in range(2):
        assert settings.load(OTEL_TRACES_SAMPLER="always_on").traces.endpoint == "http://collector:4318/v1/traces"
    (said,) = [record.getMessage() for record in caplog.records if record.name == "perago.settings"]
    assert said == (
        "OTEL_EXPORTER_OTLP_HEADERS, OTEL_SERVICE_NAME has no effect in .env, because OpenTelemetry reads it only from "
        "the environment; export it"
    )


def test_what_openlineage_reads_from_the_environment_only_is_warned_of_in_dotenv(settings, caplog):
    settings.write(dotenv="OPENLINEAGE_URL=http://marquez:5000\n")
    settings.load()
    (said,) = [record.getMessage() for record in caplog.records if record.name == "perago.settings"]
    assert said == (
        "OPENLINEAGE_URL has no effect in .env, because OpenLineage's client reads it only from the environment; "
        "export it"
    )


@pytest.mark.parametrize("kind", ["dotenv", "toml", "pyproject"])
def test_a_file_of_settings_is_read_up_to_a_limit(settings, kind):
    settings.write(**{kind: f"# {'x' * 2**20}\n"})
    assert "cannot be read: it is larger than 1024 KiB" in settings.fault()

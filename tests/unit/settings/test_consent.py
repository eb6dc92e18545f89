"""A key of the user's goes to no server that only a file of the current directory names."""

from __future__ import annotations

import os
import stat

import pytest

from perago import RuntimeConfigError
from perago.settings import consent
from perago.values.credentials import CONDUCTOR_KEY, CONDUCTOR_SECRET, LAKEFS_KEY_ID, LAKEFS_SECRET, LAKEFS_URL

SECRET = "hunter2-Tr0ub4dor"
KEY = {LAKEFS_KEY_ID: "AKIAUSER", LAKEFS_SECRET: SECRET}
THEIRS = "https://theirs.example"
LAKECTL = f"credentials: {{access_key_id: AKIAUSER, secret_access_key: {SECRET}}}\nserver: {{endpoint_url: SERVER}}\n"
NAMING = {
    "dotenv": f"{LAKEFS_URL}={THEIRS}\n",
    "toml": f'[lakefs]\nendpoint_url = "{THEIRS}"\n',
    "pyproject": f'[tool.perago.lakefs]\nendpoint_url = "{THEIRS}"\n',
}


@pytest.fixture
def lakectl(settings):
    def write(server="http://ours:8000"):
        settings.home.mkdir(exist_ok=True)
        (settings.home / ".lakectl.yaml").write_text(LAKECTL.replace("SERVER", server))

    return write


@pytest.fixture
def consenting(settings, monkeypatch):
    """The user's consent is kept in the home directory of the settings."""
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(settings.home))
    return settings


def refusal(config):
    """Of the login, which is withheld even from code that makes its own connection."""
    with pytest.raises(RuntimeConfigError) as refused:
        config.lakefs_credentials()
    withheld = config.lakefs
    assert (withheld.access_key_id, withheld.secret_access_key.get_secret_value()) == ("", "")
    assert withheld.session_token is None
    assert SECRET not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("file", NAMING)
def test_the_login_of_lakectl_is_not_sent_to_a_server_of_a_projects_file(settings, lakectl, file):
    lakectl()
    said = refusal(settings.write(**{file: NAMING[file]}).load())
    assert "`credentials.secret_access_key` in ~/.lakectl.yaml" in said
    assert f"is not sent to {THEIRS}, because only a file of the current directory names that server" in said
    assert {"dotenv": f"{LAKEFS_URL} (.env)"}.get(file, "`lakefs.endpoint_url` in ") in said
    assert f"run `perago allow {THEIRS}` in {settings.cwd} once" in said
    assert "\n" not in said


def test_neither_is_a_key_of_the_environment_nor_one_in_a_directory_of_secrets(settings, tmp_path):
    settings.write(toml=NAMING["toml"])
    assert f"{LAKEFS_SECRET} (the environment)" in refusal(settings.load(**KEY))
    for name, value in KEY.items():
        (tmp_path / name).write_text(value)
    assert "PERAGO_SECRETS_DIR" in refusal(settings.load(PERAGO_SECRETS_DIR=str(tmp_path)))
    settings.write(dotenv="PERAGO_SECRETS_DIR=..\n")
    assert "PERAGO_SECRETS_DIR" in refusal(settings.load())


def test_a_session_token_is_a_credential_too(settings):
    settings.write(toml=NAMING["toml"])
    assert "SESSION_TOKEN (the environment)" in refusal(settings.load(LAKECTL_CREDENTIALS_SESSION_TOKEN=SECRET))


def test_a_part_of_the_key_from_elsewhere_is_enough_and_only_that_is_named(settings):
    settings.write(dotenv=f"{NAMING['dotenv']}{LAKEFS_KEY_ID}=theirs\n")
    said = refusal(settings.load(**{LAKEFS_SECRET: SECRET}))
    assert said.startswith(f"{LAKEFS_SECRET} (the environment) is not sent")


def test_a_link_in_the_project_to_the_users_other_settings_makes_no_difference(settings, tmp_path):
    (tmp_path / "other.env").write_text("".join(f"{name}={value}\n" for name, value in KEY.items()))
    (settings.cwd / ".env").symlink_to("../other.env")
    assert f"{LAKEFS_SECRET} (.env)" in refusal(settings.write(toml=NAMING["toml"]).load())


def test_a_file_of_lakectl_that_the_project_names_is_a_projects_file(settings, lakectl):
    (settings.cwd / "lakectl.yaml").write_text(f"server: {{endpoint_url: '{THEIRS}'}}\n")
    settings.write(toml='[lakefs]\nconfig_file = "lakectl.yaml"\n')
    assert "in lakectl.yaml" in refusal(settings.load(**KEY))
    (settings.cwd / "lakectl.yaml").write_text(LAKECTL.replace("SERVER", THEIRS))
    assert settings.load().lakefs_credentials()()[LAKEFS_SECRET] == SECRET


@pytest.mark.parametrize("server", [THEIRS, f"{THEIRS.upper()}/", f"{THEIRS}/api/v1"])
def test_a_server_that_the_users_own_file_names_too_gets_the_key(settings, lakectl, server):
    lakectl(server.replace("HTTPS", "https"))
    settings.write(toml=NAMING["toml"])
    assert settings.load().lakefs_credentials()()[LAKEFS_SECRET] == SECRET
    assert settings.load(**KEY).lakefs_credentials()()[LAKEFS_SECRET] == SECRET


def test_a_server_of_the_environment_gets_the_key(settings, lakectl):
    lakectl()
    settings.write(toml=NAMING["toml"])
    assert settings.load(**{LAKEFS_URL: THEIRS}).lakefs_credentials()()[LAKEFS_SECRET] == SECRET


@pytest.mark.parametrize(
    "files",
    [
        {"dotenv": "".join(f"{name}={value}\n" for name, value in {LAKEFS_URL: THEIRS, **KEY}.items())},
        {"toml": f'{NAMING["toml"]}access_key_id = "AKIAUSER"\nsecret_access_key = "{SECRET}"\n'},
    ],
)
def test_a_key_beside_its_server_in_one_file_is_sent_there(settings, files):
    assert settings.write(**files).load().lakefs_credentials()()[LAKEFS_SECRET] == SECRET


def test_a_server_is_allowed_for_one_directory_and_another_one_is_not(consenting, lakectl, tmp_path):
    lakectl()
    consenting.write(toml=NAMING["toml"])
    consent.allow(tmp_path, THEIRS)
    refusal(consenting.load())
    consent.allow(consenting.cwd, f"{THEIRS}/")
    assert consenting.load().lakefs_credentials()()[LAKEFS_SECRET] == SECRET
    assert consent.allowed_servers(consenting.cwd) == [THEIRS]
    consenting.write(toml=NAMING["toml"].replace("theirs", "other"))
    refusal(consenting.load())
    consenting.write(toml=NAMING["toml"])
    assert consent.withdraw(consenting.cwd, THEIRS)
    assert not consent.withdraw(consenting.cwd, THEIRS)
    refusal(consenting.load())
    assert consent.allowed_servers(consenting.cwd) == []


def test_a_consent_that_another_user_could_have_recorded_does_not_count(consenting, lakectl):
    lakectl()
    consenting.write(toml=NAMING["toml"])
    consent.allow(consenting.cwd, THEIRS)
    directory = consenting.home / ".local/state/perago/allowed"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    directory.chmod(0o777)
    refusal(consenting.load())
    with pytest.raises(RuntimeConfigError, match="can be written by all users"):
        consent.allow(consenting.cwd, THEIRS)


def test_what_is_no_url_cannot_be_allowed(consenting):
    with pytest.raises(RuntimeConfigError, match="must be a URL"):
        consent.allow(consenting.cwd, "theirs.example")


def test_conductors_key_is_treated_alike(consenting):
    keys = {CONDUCTOR_KEY: "id", CONDUCTOR_SECRET: SECRET}
    consenting.write(toml=f'[conductor]\nserver_url = "{THEIRS}/api"\n')
    config = consenting.load(**keys)
    with pytest.raises(RuntimeConfigError, match=rf"{CONDUCTOR_SECRET} .the environment. is not sent to {THEIRS}/api"):
        config.conductor_credentials()
    assert config.conductor.auth_secret is None
    assert consenting.load().conductor_credentials() is None
    consent.allow(consenting.cwd, f"{THEIRS}/api")
    assert consenting.load(**keys).conductor_credentials()()[CONDUCTOR_SECRET] == SECRET


def test_headers_of_the_environment_go_to_no_receiver_of_a_projects_file(consenting):
    from perago.running.telemetry import open_telemetry

    consenting.write(dotenv=f"OTEL_EXPORTER_OTLP_ENDPOINT={THEIRS}\n")
    assert not consenting.load().refused
    config = consenting.load(OTEL_EXPORTER_OTLP_HEADERS=f"api-key={SECRET}")
    with pytest.raises(
        RuntimeConfigError, match=r"OTEL_EXPORTER_OTLP_HEADERS .the environment. is not sent"
    ) as refused:
        open_telemetry(config, "w").__enter__()
    assert SECRET not in str(refused.value)
    assert not consenting.load(OTEL_EXPORTER_OTLP_HEADERS="a=b", OTEL_EXPORTER_OTLP_ENDPOINT=THEIRS).refused
    consent.allow(consenting.cwd, THEIRS)
    assert not consenting.load(OTEL_EXPORTER_OTLP_HEADERS="a=b").refused


def test_withheld_keys_are_masked_still(settings, lakectl):
    from perago.values.redaction import mask_text

    lakectl()
    settings.write(toml=NAMING["toml"]).load()
    assert SECRET not in mask_text(f"a text with {SECRET} in it")


# ---------------------------------------------------------------- files that others can write


@pytest.fixture
def heard(caplog):
    from perago.settings.load import _warn

    _warn.cache_clear()
    return caplog


@pytest.mark.parametrize(
    ("file", "name", "text"),
    [
        ("dotenv", ".env", "PERAGO_WORKER_ID=theirs\n"),
        ("toml", "perago.toml", 'worker_id = "theirs"\n'),
        ("pyproject", "pyproject.toml", '[tool.perago]\nworker_id = "theirs"\n'),
    ],
)
@pytest.mark.parametrize("where", ["the file", "the directory", "above"])
def test_a_file_that_others_can_write_or_replace_is_passed_over_and_named(settings, heard, file, name, text, where):
    settings.write(**{file: text})
    path = settings.cwd / name
    assert settings.load().worker_id == "theirs"
    {"the file": path, "the directory": settings.cwd, "above": settings.cwd.parent}[where].chmod(0o777)
    config = settings.load()
    settings.load()
    assert config.worker_id is None
    (told,) = config.passed_over
    assert told.startswith(f"{path} is passed over: it ")
    assert "all users (mode 0777)" in told
    assert heard.text.count(told) == 1
    assert settings.load(PERAGO_ROOT_PARENTS="trusted").worker_id == "theirs"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for files of two users")
def test_a_file_of_another_user_is_passed_over(settings, heard):
    settings.write(toml="this is not TOML", dotenv="PERAGO_WORKER_ID=mine\n")
    os.chown(settings.cwd / "perago.toml", 31337, -1)
    config = settings.load()
    assert config.worker_id == "mine"
    assert "perago.toml is passed over: it belongs to user 31337, who can change its content" in heard.text


@pytest.mark.parametrize(
    ("files", "label"),
    [
        ({"dotenv": "PERAGO_ROOT_PARENTS=trusted\n"}, ".env"),
        ({"toml": 'root_parents = "trusted"\n'}, "perago.toml"),
        ({"pyproject": '[tool.perago]\nroot_parents = "trusted"\n'}, "[tool.perago] of pyproject.toml"),
    ],
)
def test_a_projects_file_switches_off_no_check_of_the_host(settings, heard, files, label):
    settings.write(**files)
    assert settings.load().root_parents == "checked"
    assert f"PERAGO_ROOT_PARENTS has no effect in {label}, because it switches off a check of this host" in heard.text
    assert settings.load(PERAGO_ROOT_PARENTS="trusted").root_parents == "trusted"

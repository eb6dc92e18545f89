"""The credentials of lakeFS and Conductor: lakectl's file, session tokens, and files that change."""

from __future__ import annotations

import logging

import pytest

from perago import RuntimeConfigError
from perago.settings.sources import LAKECTL_KEYS
from perago.settings.values import read_secret
from perago.settings.variables import DECLARED, SECRETS
from perago.values.credentials import (
    CONDUCTOR_SECRET,
    CREDENTIALS,
    LAKEFS_KEY_ID,
    LAKEFS_SECRET,
    LAKEFS_TOKEN,
    LAKEFS_URL,
)
from perago.values.redaction import mask_text
from waiting import wait_for

SECRET = "hunter2-Tr0ub4dor"
FILE = f"""\
credentials:
  access_key_id: AKIAFILE
  secret_access_key: {SECRET}
server:
  endpoint_url: http://file:8000
metastore:
  type: hive
"""


@pytest.fixture
def lakectl(settings):
    """Writes the file of lakectl in the home directory, or elsewhere."""

    def write(text=FILE, name=".lakectl.yaml"):
        settings.home.mkdir(exist_ok=True)
        (settings.home / name).write_text(text)
        return settings.home / name

    return write


def test_every_credential_that_settings_declare_is_in_the_list_of_those_that_bodies_do_not_see():
    declared_secrets = {name for name, where in DECLARED.items() if where.setting.read is read_secret}
    assert declared_secrets == set(CREDENTIALS)
    assert set(CREDENTIALS) >= SECRETS


def test_keys_of_lakectls_file_are_lakectls_variables():
    for variable, key in LAKECTL_KEYS.items():
        assert variable == f"LAKECTL_{key.upper().replace('.', '_')}"


def test_lakectls_file_is_enough(settings, lakectl):
    lakectl()
    lakefs = settings.load().lakefs
    assert (lakefs.endpoint_url, lakefs.access_key_id) == ("http://file:8000", "AKIAFILE")
    assert lakefs.secret_access_key.get_secret_value() == SECRET
    assert SECRET not in mask_text(f"a text with {SECRET} in it")


def test_lakectls_file_is_where_its_variable_says(settings, lakectl):
    lakectl("server: {endpoint_url: replace-me}")  # not read
    path = lakectl(name="other.yaml")
    assert settings.load(LAKECTL_CONFIG_FILE=str(path)).lakefs.access_key_id == "AKIAFILE"
    settings.write(toml='[lakefs]\nconfig_file = "../home/other.yaml"\n')
    assert settings.load().lakefs.access_key_id == "AKIAFILE"
    assert "cannot be read: No such file or directory" in settings.fault(LAKECTL_CONFIG_FILE="/not/there.yaml")


@pytest.mark.parametrize("name", [LAKEFS_URL, LAKEFS_KEY_ID, LAKEFS_SECRET])
def test_each_value_of_lakectls_file_is_overridden_by_itself(settings, lakectl, name):
    lakectl()
    given = "http://environment" if name == LAKEFS_URL else "environment"
    config = settings.load(**{name: given})
    found = config.lakefs_credentials()
    in_file = {LAKEFS_URL: "http://file:8000", LAKEFS_KEY_ID: "AKIAFILE", LAKEFS_SECRET: SECRET}
    assert found() == {**in_file, name: given}
    origins = {variable: origin.label for variable, origin in found.origins.items()}
    assert origins == {
        variable: "the environment" if variable == name else f"`{LAKECTL_KEYS[variable]}` in ~/.lakectl.yaml"
        for variable in in_file
    }


def test_dotenv_and_toml_override_lakectls_file_too(settings, lakectl):
    lakectl()
    settings.write(dotenv=f"{LAKEFS_KEY_ID}=dotenv\n", toml='[lakefs]\nendpoint_url = "http://file:8000/"\n')
    lakefs = settings.load().lakefs
    assert (lakefs.endpoint_url, lakefs.access_key_id) == ("http://file:8000/", "dotenv")
    assert lakefs.secret_access_key.get_secret_value() == SECRET


def test_lakectls_file_is_not_read_if_it_is_not_needed(settings, lakectl):
    lakectl(": not YAML [")
    given = {LAKEFS_URL: "http://l", LAKEFS_KEY_ID: "a", LAKEFS_SECRET: "s"}
    assert settings.load(**given).lakefs.access_key_id == "a"
    assert "not valid YAML" in settings.fault(**{LAKEFS_URL: "http://l"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"credentials:\n  secret_access_key: '{SECRET}\n", "~/.lakectl.yaml, the configuration of lakectl, cannot"),
        (f"- {SECRET}\n", "it is not a YAML mapping"),
        (f"!!python/object/apply:os.system ['{SECRET}']", "it is not valid YAML in line 1"),
        (
            FILE.replace("AKIAFILE", "12345"),
            f"{LAKEFS_KEY_ID} (`credentials.access_key_id` in ~/.lakectl.yaml) must be",
        ),
        (FILE.replace("http://file:8000", "file"), f"{LAKEFS_URL} (`server.endpoint_url` in ~/.lakectl.yaml) must be"),
    ],
)
def test_a_fault_of_lakectls_file_names_it_and_shows_no_secret(settings, lakectl, text, said):
    lakectl(text)
    fault = settings.fault()
    assert said in fault
    assert SECRET not in fault


def test_upper_case_keys_are_keys_as_for_lakectl(settings, lakectl):
    lakectl(FILE.replace("credentials", "Credentials").replace("endpoint_url", "ENDPOINT_URL"))
    assert settings.load().lakefs.access_key_id == "AKIAFILE"


def test_half_of_lakefs_in_lakectls_file_alone_is_a_warning_and_no_server(settings, lakectl, caplog):
    lakectl("server:\n  endpoint_url: http://file:8000\ncredentials:\n  provider: {type: aws_iam}\n")
    for _ in range(2):
        assert settings.load().lakefs is None
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    missing = "`credentials.access_key_id`, `credentials.secret_access_key`"
    assert said == [f"~/.lakectl.yaml has no {missing}, so that no lakeFS server is configured"]


def test_half_of_lakefs_in_the_environment_and_a_part_in_the_file_is_a_fault_with_both_sources(settings, lakectl):
    lakectl("credentials: {access_key_id: AKIAFILE}")
    fault = settings.fault(**{LAKEFS_URL: "http://l"})
    assert f"The lakeFS settings are incomplete: {LAKEFS_SECRET} is missing" in fault
    assert f"{LAKEFS_KEY_ID} (`credentials.access_key_id` in ~/.lakectl.yaml)" in fault
    assert f"{LAKEFS_URL} (the environment)" in fault


# ---- session tokens


def test_a_session_token_takes_the_place_of_a_key(settings):
    given = {LAKEFS_URL: "http://l", LAKEFS_TOKEN: SECRET}
    for more in ({}, {LAKEFS_KEY_ID: "a", LAKEFS_SECRET: "s"}, {LAKEFS_KEY_ID: "a"}):
        config = settings.load(**given, **more)
        assert config.lakefs_credentials()() == given
        assert config.lakefs.access_key_id == ""
        assert SECRET not in repr(config) + config.model_dump_json()


def test_a_session_token_alone_names_what_is_missing(settings):
    assert f"{LAKEFS_URL} is missing, but {LAKEFS_TOKEN} (the environment) is set" in settings.fault(
        **{LAKEFS_TOKEN: SECRET}
    )


def test_a_key_overrides_the_token_of_a_weaker_source(settings, lakectl):
    lakectl(f"server: {{endpoint_url: 'http://file'}}\ncredentials: {{session_token: {SECRET}}}\n")
    assert settings.load().lakefs.session_token.get_secret_value() == SECRET
    lakefs = settings.load(**{LAKEFS_KEY_ID: "a", LAKEFS_SECRET: "s"}).lakefs
    assert (lakefs.session_token, lakefs.access_key_id) == (None, "a")


def test_a_token_in_pyproject_is_refused(settings):
    fault = settings.write(pyproject=f'[tool.perago.lakefs]\nsession_token = "{SECRET}"\n').fault()
    assert "a secret must not be in a committed file" in fault
    assert SECRET not in fault


# ---- a directory of secrets


@pytest.fixture
def secrets_dir(settings):
    directory = settings.cwd.parent / "secrets"
    directory.mkdir()
    return directory


def test_a_directory_holds_a_file_for_each_credential(settings, secrets_dir, lakectl):
    lakectl()
    (secrets_dir / LAKEFS_SECRET).write_text("from-the-directory\n")
    (secrets_dir / "CONDUCTOR_AUTH_KEY").write_text("key")
    (secrets_dir / CONDUCTOR_SECRET).write_text("secret")
    (secrets_dir / "PERAGO_FENCE").write_text("nonsense")  # not a credential
    config = settings.load(PERAGO_SECRETS_DIR=str(secrets_dir), CONDUCTOR_SERVER_URL="http://c")
    assert config.lakefs.secret_access_key.get_secret_value() == "from-the-directory"
    assert config.conductor.auth_secret.get_secret_value() == "secret"
    given = {"PERAGO_SECRETS_DIR": "../secrets", "CONDUCTOR_SERVER_URL": "http://c"}
    assert settings.load(**given).lakefs is not None
    over = settings.load(**given, **{LAKEFS_SECRET: "environment"})
    assert over.lakefs.secret_access_key.get_secret_value() == "environment"


def test_a_directory_of_secrets_that_is_missing_or_unreadable_is_a_fault(settings, secrets_dir):
    assert "not a directory" in settings.fault(PERAGO_SECRETS_DIR="nowhere")
    (secrets_dir / LAKEFS_SECRET).write_bytes(b"\xff")
    assert f"{LAKEFS_SECRET} (PERAGO_SECRETS_DIR {secrets_dir}) cannot be read: it is not UTF-8" in settings.fault(
        PERAGO_SECRETS_DIR=str(secrets_dir)
    )


# ---- files that change


@pytest.mark.parametrize("how", ["lakectl", "dotenv", "toml", "directory", "link"])
def test_credentials_of_a_file_are_read_again_when_it_changes(settings, lakectl, secrets_dir, how):
    url, given = {LAKEFS_URL: "http://file:8000"}, {}

    def write(secret):
        match how:
            case "lakectl":
                lakectl(FILE.replace(SECRET, secret))
            case "dotenv":
                settings.write(dotenv=f"{LAKEFS_URL}=http://file:8000\n{LAKEFS_KEY_ID}=a\n{LAKEFS_SECRET}='{secret}'\n")
            case "toml":
                table = f'endpoint_url = "http://file:8000"\naccess_key_id = "a"\nsecret_access_key = "{secret}"\n'
                settings.write(toml=f"[lakefs]\n{table}")
            case "directory":
                (secrets_dir / LAKEFS_KEY_ID).write_text("a")
                (secrets_dir / LAKEFS_SECRET).write_text(secret)
            case "link":  # as Kubernetes mounts a Secret
                version = secrets_dir / f"..{secret}"
                version.mkdir()
                (version / LAKEFS_KEY_ID).write_text("a")
                (version / LAKEFS_SECRET).write_text(secret)
                (secrets_dir / "..new").symlink_to(version)
                (secrets_dir / "..new").rename(secrets_dir / "..data")
                for name in (LAKEFS_KEY_ID, LAKEFS_SECRET):
                    if not (secrets_dir / name).is_symlink():
                        (secrets_dir / name).symlink_to(f"..data/{name}")

    if how in ("directory", "link"):
        given = {**url, "PERAGO_SECRETS_DIR": str(secrets_dir)}
    write("first-secret")
    credentials = settings.load(**given).lakefs_credentials()
    assert credentials()[LAKEFS_SECRET] == "first-secret"
    write("second-secret")
    wait_for(lambda: credentials()[LAKEFS_SECRET] == "second-secret", "the new secret", 10)
    assert credentials()[LAKEFS_URL] == "http://file:8000"
    assert "second-secret" not in mask_text("a text with second-secret in it")
    write("third-secret")
    assert credentials.renew()[LAKEFS_SECRET] == "third-secret"


def test_what_the_environment_gives_stays_when_a_file_changes(settings, lakectl):
    lakectl()
    credentials = settings.load(**{LAKEFS_KEY_ID: "environment"}).lakefs_credentials()
    lakectl(FILE.replace(SECRET, "second-secret").replace("AKIAFILE", "AKIAOTHER"))
    assert credentials.renew() == {
        LAKEFS_URL: "http://file:8000",
        LAKEFS_KEY_ID: "environment",
        LAKEFS_SECRET: "second-secret",
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (": [", f"{LAKEFS_URL} (`server.endpoint_url` in ~/.lakectl.yaml) cannot be read again: it is not valid YAML"),
        ("server: {endpoint_url: 'http://file:8000'}", "cannot be read again: it has no value there; the old value"),
        (
            FILE.replace("file:8000", "other:8000").replace(SECRET, "new-secret"),
            "has changed; restart to use the",
        ),
        (None, "cannot be read again: No such file or directory"),
    ],
)
def test_a_file_that_became_unusable_leaves_the_old_credentials(settings, lakectl, caplog, text, said):
    path = lakectl()
    credentials = settings.load().lakefs_credentials()
    before = credentials()
    if text is None:
        path.unlink()
    else:
        lakectl(text)
    assert credentials.renew() == before
    assert said in caplog.text
    assert SECRET not in caplog.text
    lakectl(FILE.replace(SECRET, "second-secret"))
    assert credentials.renew()[LAKEFS_SECRET] == "second-secret"


def test_credentials_name_their_sources_and_show_no_value(settings, lakectl):
    lakectl()
    credentials = settings.load(**{LAKEFS_KEY_ID: "AKIAMINE"}).lakefs_credentials()
    assert credentials.sources() == (
        f"{LAKEFS_KEY_ID} (the environment), {LAKEFS_SECRET} (`credentials.secret_access_key` in ~/.lakectl.yaml)"
    )
    assert SECRET not in repr(credentials)
    assert "AKIAMINE" not in repr(credentials)


@pytest.mark.parametrize(
    "text",
    [
        "credentials: &a {access_key_id: *a}",
        "credentials: " + "[" * 5000,
        "a: &a [x]\nb: &b [*a, *a]\n" + "".join(f"c{n}: &c{n} [*b, *b]\n" for n in range(20)),
        "credentials: {access_key_id: !!int ''}",
        "credentials: 2001-99-99",
        "credentials: {? [a] : b}",
        "{1: 2, null: 3, true: {credentials: 4}}",
        "server: null\ncredentials: []",
        "\x00",
        "%YAML 9.9\n---\n",
    ],
)
def test_whatever_is_in_lakectls_file_is_a_fault_or_no_server(settings, lakectl, text):
    lakectl(text)
    found, fault = None, "~/.lakectl.yaml"
    try:
        found = settings.load().lakefs
    except RuntimeConfigError as exc:
        fault = str(exc)
    assert found is None
    assert "~/.lakectl.yaml" in fault

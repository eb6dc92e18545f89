"""What is taken for a secret, and what is not."""

import time

import pytest

from perago.redaction import MASK, is_secret_key, mask_json, mask_text, text_of


@pytest.mark.parametrize(
    "key",
    [
        "secret_key",
        "aws_secret_key",
        "signing_key",
        "pwd",
        "passwords",
        "password",
        "db_password",
        "apiKey",
        "API_KEY",
        "secret",
        "clientSecret",
        "access_key_id",
        "auth-token",
    ],
)
def test_names_of_secrets(key):
    assert is_secret_key(key)


@pytest.mark.parametrize("key", ["tokens", "max_tokens", "tokenizer", "key", "author", "secretary", "password_length"])
def test_names_that_only_look_alike(key):
    assert not is_secret_key(key)


@pytest.mark.parametrize(
    "text",
    [
        "cannot reach https://me:hunter2@host/x",
        "cannot reach https://hunter2@host/x",
        "password=hunter2 is wrong",
        'password="my hunter2 pass"',
        "Authorization: token hunter2",
        "secret_key=hunter2",
        "https://h/?token=hunter2",
        "Authorization: Bearer hunter2",
        '{"api_key": "hunter2"}',
        "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY=hunter2",
    ],
)
def test_a_message_of_somebody_else_is_masked(text):
    assert "hunter2" not in mask_text(text)
    assert MASK in mask_text(text)


def test_a_harmless_message_is_left_alone():
    assert mask_text("12 tokens in a/b.txt: no such file") == "12 tokens in a/b.txt: no such file"


@pytest.mark.parametrize("unit", ["x", "a.", "a-", "a:", "a://", "token ", "secret=", "http://a:", " "])
def test_masking_takes_time_in_proportion_to_the_text(unit):
    """A body may raise, and a person may pass, megabytes of anything."""

    def seconds(length):
        text = unit * (length // len(unit))
        began = time.process_time()
        mask_text(text)
        mask_json({"a": text})
        return time.process_time() - began

    assert seconds(2_000_000) < 3


@pytest.mark.parametrize("value", ["hunter2", 123, ["hunter2"], {"value": "hunter2"}])
def test_what_stands_under_a_secret_name_is_masked_whatever_it_is(value):
    assert mask_json({"password": value, "has_token": True, "secret": None}) == {
        "password": MASK,
        "has_token": True,
        "secret": None,
    }


def test_a_secret_within_a_text_of_a_json_value_is_masked():
    assert "hunter2" not in str(mask_json({"dsn": "Server=db;Password=hunter2;", "urls": ["https://h/?token=hunter2"]}))


def test_an_exception_that_cannot_say_its_message_has_none():
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert text_of(Mute()) == ""
    assert text_of(ValueError("password=hunter2")) == f"password={MASK}"

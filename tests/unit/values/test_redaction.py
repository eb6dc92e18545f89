"""What is taken for a secret, and what is not."""

import time

import pytest

from perago.values import redaction
from perago.values.redaction import MASK, is_secret_key, mask_json, mask_json_alike, mask_text, text_of


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
        "CONDUCTOR_AUTH_KEY",
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
        "GET https://bucket.example/key?X-Amz-Credential=a&X-Amz-Signature=hunter2&X-Amz-Date=1",
        "GET https://account.example/container/blob?sv=1&sig=hunter2",
        "GET https://bucket.example/key?X-Amz-Security-Token=hunter2&x=1",
        "GET https://bucket.example/key?X-Amz-Date=1&amp;X-Amz-Signature=hunter2",
        "GET https://account.example/container/blob?sv=1&amp;sig=hunter2",
        "AWS4-HMAC-SHA256 SignedHeaders=host, Signature=hunter2",
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


def test_a_secret_that_was_learnt_is_masked_wherever_it_stands():
    redaction.learn(["hunter2-hunter2", "with/slash+plus", "short"])
    assert mask_text("it is hunter2-hunter2!") == f"it is {MASK}!"
    assert mask_text("https://h/with%2Fslash%2Bplus") == f"https://h/{MASK}"
    assert mask_text("short is not masked") == "short is not masked"
    assert mask_json({"note": ["hunter2-hunter2"]}) == {"note": [MASK]}
    redaction.learn(["another secret"])
    assert mask_text("hunter2-hunter2, another secret") == f"{MASK}, {MASK}"


def test_secrets_of_an_attempt_are_known_until_it_is_forgotten():
    redaction.learn(["lasting-secret"])
    redaction.learn_of("one", ["secret-of-one", "secret-of-both", "short", "with/slash+plus"])
    redaction.learn_of("two", ["secret-of-both", "secret-of-both-and-more"])
    text = "secret-of-one, secret-of-both, secret-of-both-and-more, short, lasting-secret, with%2Fslash%2Bplus"
    assert mask_text(text) == f"{MASK}, {MASK}, {MASK}, short, {MASK}, {MASK}"
    redaction.forget("one")
    redaction.learn_of("two", ["further-secret"])
    assert mask_text("secret-of-one, secret-of-both") == f"secret-of-one, {MASK}"
    redaction.forget("two")
    redaction.forget("two")
    redaction.learn_of("three", ["secret-of-three"])
    assert mask_text(text) == text.replace("lasting-secret", MASK)


def test_of_attempts_that_nobody_forgets_only_so_many_are_known(monkeypatch):
    monkeypatch.setattr(redaction, "MAX_OWNERS", 40)  # learning takes time in proportion to what is known
    for number in range(redaction.MAX_OWNERS + 1):
        redaction.learn_of(str(number), [f"secret-number-{number:04}"])
    assert mask_text("secret-number-0001, secret-number-0000") == f"{MASK}, secret-number-0000"


def test_a_secret_that_no_url_can_hold_is_masked_all_the_same():
    redaction.learn_of("one", ["\ud800-lone-surrogate"])
    assert mask_text("it is \ud800-lone-surrogate") == f"it is {MASK}"


def test_what_digests_are_made_of_does_not_depend_on_what_a_process_has_learnt():
    value = {"note": "hunter2-hunter2", "password": "x", "url": "http://me:pw@host"}
    before = mask_json_alike(value)
    redaction.learn(["hunter2-hunter2"])
    assert (
        mask_json_alike(value) == before == {"note": "hunter2-hunter2", "password": MASK, "url": f"http://{MASK}@host"}
    )


def test_an_environment_is_searched_for_secrets():
    environment = {
        "PATH": "/usr/bin",
        "PWD": "/home/me",
        "DB_PASSWORD": "one",
        "AWS_SECRET_ACCESS_KEY": "two",
        "HTTPS_PROXY": "http://me:three@proxy:8080",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20four,x-team=blue",
    }
    found = set(redaction.secrets_of_environment(environment))
    assert {"one", "two", "three", "Bearer four", "four"} <= found
    assert not {"/usr/bin", "/home/me"} & found


def test_secrets_of_a_lineage_transport_are_found_in_its_json():
    environment = {
        "OPENLINEAGE__TRANSPORT": '{"auth": {"type": "api_key", "apiKey": "one"}, "more": [{"token": "two"}]}',
        "OPENLINEAGE__TRANSPORT__AUTH": '{"type": "api_key", "apiKey": "three"}',
        "OPENLINEAGE__TRANSPORT__AUTH__APIKEY": "four",
        "OPENLINEAGE_API_KEY": "five",
        "OPENLINEAGE__TAGS": "{no json",
    }
    assert set(redaction.secrets_of_environment(environment)) == {"one", "two", "three", "four", "five"}


def test_a_secret_that_is_but_a_word_for_one_hides_no_other():
    redaction.learn_of("attempt", ["password", "Credentials"])
    redaction.learn(["passphrase"])
    assert mask_text("db_password=realsecret99") == f"db_password={MASK}"
    assert mask_text("passphrase: realsecret99") == f"passphrase: {MASK}"


def test_as_many_attempts_as_a_worker_can_have_keep_their_secrets_at_once():
    for number in range(1024):
        redaction.learn_of(f"attempt-{number}", [f"secret of {number:04}"])
    assert mask_text("secret of 0000, secret of 1023") == f"{MASK}, {MASK}"

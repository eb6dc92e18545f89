"""A secret is masked in every form in which a program writes it."""

from __future__ import annotations

import base64
import html
import io
import json
import logging
import pprint
import re
import shlex
import subprocess
import traceback
import urllib.parse
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Secret, SecretBytes, SecretStr

from forgetting import no_secrets_known
from perago.tasks.secrets import secrets_of
from perago.values import redaction
from perago.values.redaction import MASK, mask_lines, mask_text, traceback_of
from perago.values.secret_forms import MIN_LENGTH
from perago.worker.body.printed import MAX_LINE_BYTES, Printed

Way = Callable[[Any], str]


def printed_by(say: Callable[[Any], None]) -> Way:
    """What a function prints for a secret."""

    def tell(secret: Any) -> str:
        with io.StringIO() as out, redirect_stdout(out), redirect_stderr(out):
            say(secret)
            return out.getvalue()

    return tell


def logged(secret: Any) -> str:
    record = logging.makeLogRecord({"msg": "logged in with %r and %s", "args": (secret, secret)})
    return logging.Formatter().format(record)


def raised(fail: Callable[[Any], None]) -> Way:
    def tell(secret: Any) -> str:
        try:
            fail(secret)
        except Exception as exc:
            return "".join(traceback.format_exception(exc))
        raise AssertionError("it fails")

    return tell


def fail(secret: Any) -> None:
    raise ConnectionError(f"not taken: {secret}", secret)


def fail_in_a_chain(secret: Any) -> None:
    try:
        fail(secret)
    except ConnectionError as exc:
        raise KeyError(secret) from exc


def fail_in_a_group(secret: Any) -> None:
    raise ExceptionGroup(f"all of {secret}", [ValueError(secret), KeyError(secret)])


def fail_as_a_command(secret: Any) -> None:
    raise subprocess.CalledProcessError(1, ["curl", "-u", f"user:{secret}", f"--pass={secret}"])


def with_locals(secret: Any) -> str:
    try:
        fail(secret)
    except ConnectionError as exc:
        return "".join(traceback.TracebackException.from_exception(exc, capture_locals=True).format())
    raise AssertionError("it fails")


def warned(secret: Any) -> str:
    return warnings.formatwarning(UserWarning(f"deprecated: {secret}"), UserWarning, "a.py", 1, "call()")


def width_for(secret: Any) -> int:
    """Bytes, unlike text, are broken within words, which nothing puts together again."""
    return 10_000 if isinstance(secret, bytes) else 80


def as_bytes(secret: Any) -> bytes:
    return secret if isinstance(secret, bytes) else str(secret).encode()


def in_a_url(secret: Any) -> str:
    data = as_bytes(secret)
    forms = [urllib.parse.quote(data, safe=safe) for safe in ("", "/", "/:@!$&'()*+,;=")]
    forms += [urllib.parse.quote_plus(data), urllib.parse.urlencode({"x": data}), urllib.parse.quote(forms[0])]
    lower = "".join(part if part[0] != "%" else part.lower() for part in _percent(forms[0]))
    return "\n".join(
        ["https://example.org/" + form for form in [*forms, lower]]
        + ([] if isinstance(secret, bytes) else [html.escape(str(secret))])
    )


def _percent(text: str) -> list[str]:
    return [part for part in re.split(r"(%[0-9A-F]{2})", text) if part]


def as_json(secret: Any) -> str:
    plain = json.dumps({"value": [secret]}, default=str)
    forms = [plain, plain.replace("/", "\\/"), json.dumps({"value": secret}, ensure_ascii=False, default=str)]
    return "\n".join([*forms, json.dumps(plain), repr(plain)])


def by_a_child(secret: Any) -> str:
    """As a command is shown that a shell runs."""
    return f"+ curl -u {shlex.quote(str(secret))}\n+ sh -c {shlex.quote(shlex.join(['curl', str(secret)]))}"


def encoded(secret: Any) -> str:
    data, texts = as_bytes(secret), []
    for before in (b"", b"u", b"us", b"user:"):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            texts += [encode(before + data + after).decode() for after in (b"", b"x", b"xy")]
    return "\n".join(["Basic " + text for text in [*texts, *(text.rstrip("=") for text in texts)]])


WAYS: dict[str, Way] = {
    "print": printed_by(lambda secret: print(secret, [secret], {"a": secret}, str(secret).encode(errors="replace"))),
    "repr": repr,
    "log": logged,
    "JSON": as_json,
    "exception": raised(fail),
    "chained": raised(fail_in_a_chain),
    "grouped": raised(fail_in_a_group),
    "command": raised(fail_as_a_command),
    "f-string": lambda value: f"{value=} {value!s:>60}",
    "pprint": lambda secret: pprint.pformat({"a": [secret] * 2, "b": {"deep": (secret,)}}, width=width_for(secret)),
    "locals": with_locals,
    "warning": warned,
    "table": lambda secret: f"| name | value |\n| a    | {secret} |",
    "URL": in_a_url,
    "shell": by_a_child,
    "base64": encoded,
}

LETTERS = st.characters(codec="utf-8")
ODD = st.sampled_from("aZ0/+='\"\\ \n\t%&<é€😀$;:@")
TEXTS = (st.text(LETTERS, min_size=MIN_LENGTH) | st.text(ODD, min_size=MIN_LENGTH)).map(str.strip)
SECRETS = st.one_of(
    TEXTS.map(SecretStr),
    TEXTS.map(Secret[str]),
    st.binary(min_size=MIN_LENGTH).map(lambda data: data.strip(b"&%* \t\r\n\v\f")).map(SecretBytes),  # or is the mask
    st.integers(min_value=10**MIN_LENGTH).map(Secret[int]),
    st.decimals(allow_nan=False, allow_infinity=False).map(Secret[Decimal]),
    st.uuids().map(Secret[UUID]),
)
ANOTHER: dict[type, Any] = {
    str: "AnotherSecret",
    bytes: b"AnotherSecret",
    int: 77777777777,
    Decimal: Decimal(77777777777),
    UUID: UUID("77777777-7777-7777-7777-777777777777"),
}


class Held(BaseModel):
    value: list[dict[str, SecretStr | SecretBytes | Secret[Any]]]


def masked(way: Way, value: Any, secret: Any) -> str:
    with no_secrets_known():
        redaction.learn_of("attempt", secrets_of(Held(value=[{"a": secret}])))
        return mask_text(way(value))


def is_learnt(value: Any) -> bool:
    """Whether it is long enough, and no word such as "authorization"."""
    text = value.decode(errors="surrogateescape") if isinstance(value, bytes) else str(value)
    return len(text) >= MIN_LENGTH and not redaction.is_secret_key(text)


@pytest.mark.property
@pytest.mark.parametrize("way", [name for name in WAYS if name != "base64"])
@given(secret=SECRETS)
def test_a_secret_of_any_type_is_masked_in_whatever_way_it_is_told(way, secret):
    """What is shown of it is what is shown of any other secret, but for quotes and spaces."""
    value = secret.get_secret_value()
    another = ANOTHER[type(value)]
    if is_learnt(value):
        shown, expected = masked(WAYS[way], value, secret), masked(WAYS[way], another, Secret(another))
        assert MASK in expected
        assert bare(shown) == bare(expected)


def bare(text: str) -> str:
    """Without quotes and spaces, and with one mask for several: behind a name such as `secret`, `b` is masked, too."""
    return re.sub(r"(?:b?\*{10})+", MASK, re.sub(r"""[\s"'\\]""", "", text))


@pytest.mark.property
@given(secret=SECRETS)
def test_a_secret_is_masked_in_base64_whatever_stands_around_it(secret):
    value = secret.get_secret_value()
    if is_learnt(value):
        assert set(masked(encoded, value, secret).split("\n")) == {f"Basic {MASK}"}


@pytest.mark.parametrize("type_", ["text", "bytes"])
def test_a_key_of_several_lines_is_masked_line_by_line(type_):
    body = ["MIIEvQIBADANBgkqhkiG9w0BAQEFAASC", "dGhlIHNlY29uZCBsaW5lIG9mIHRoZSBr", "c2hvcnQ="]
    key = "\n".join(["-----BEGIN PRIVATE KEY-----", *body, "-----END PRIVATE KEY-----", ""])
    redaction.learn_of("attempt", secrets_of(SecretStr(key) if type_ == "text" else SecretBytes(key.encode())))
    assert mask_text(f"the key\n{key}") == f"the key\n{MASK}\n"
    assert mask_text(json.dumps({"key": key})) == json.dumps({"key": MASK + "\n"})
    assert [mask_text(line) for line in body] == [MASK, MASK, "c2hvcnQ="]
    assert mask_text("-----BEGIN PRIVATE KEY-----") == "-----BEGIN PRIVATE KEY-----"


def test_short_secrets_and_short_lines_hide_nothing():
    redaction.learn_of("attempt", ["short", "name: admin\nversion: 1\npassphrase of the day", " " * 20])
    text = "short, name: admin, version: 1" + " " * 20 + "end"
    assert mask_text(text) == text
    assert mask_text("it is passphrase of the day") == f"it is {MASK}"


@pytest.mark.parametrize(
    ("secret", "escaped"),
    [("000000&a", "000000&amp;a"), ("000000%2", "000000%252"), ("0000000\u00c3", r"0000000\xc3\x83")],
)
def test_nothing_is_left_of_an_escaped_form_that_begins_with_a_shorter_one(secret, escaped):
    redaction.learn_of("attempt", [secret])
    assert mask_text(f"it is {escaped}.") == f"it is {MASK}."


def test_a_long_secret_is_masked_in_parts():
    secret = "".join(f"{number:08x}" for number in range(4000))
    redaction.learn_of("attempt", [secret])
    assert "00000100" not in mask_text(f"begins {secret[:20_000]}, and is cut")
    assert mask_text(f"whole {secret}.") == f"whole {MASK}."


def test_a_secret_is_masked_as_key_and_as_number_too():
    redaction.learn_of("attempt", secrets_of([Secret(1234567890), Secret("hunter2-hunter2")]))
    others = {"other": 1234567891, "is": True, "pi": 3.14159265358}
    told = redaction.mask_json({"hunter2-hunter2": 1, "number": 1234567890, **others})
    assert told == {MASK: 1, "number": MASK, **others}


@pytest.mark.property
@given(size=st.integers(1, 40_000), before=st.integers(0, 60_000), after=st.integers(0, 60_000), end=st.booleans())
def test_a_secret_that_reads_and_cuts_split_is_masked_whole(size, before, after, end):
    secret = "s3cr3t!" * 6
    text = ("." * before + secret + "." * after + ("\n" if end else "")).encode()
    told: list[str] = []
    with no_secrets_known():
        redaction.learn_of("attempt", [secret])
        printed = Printed(told.append)
        for start in range(0, len(text), size):
            printed.feed(text[start : start + size])
        printed.end()
    whole = "".join(told)
    assert "s3" not in whole
    assert len(whole) == before + after + len(MASK)
    assert all(len(line) <= max(size, MAX_LINE_BYTES) + 32 * 1024 for line in told)


def test_a_name_at_the_end_of_a_line_makes_no_secret_of_the_next_one():
    assert mask_lines("password:\nnext line, password: hunter2") == f"password:\nnext line, password: {MASK}"


def test_lines_beyond_the_limit_are_counted():
    told: list[str] = []
    printed = Printed(told.append, 2)
    printed.feed(b"one\ntwo\nthree\nfour\nfi")
    printed.feed(b"ve\n" + b"x" * 100_000)
    printed.end()
    assert told[:2] == ["one", "two"]
    assert len(told) == 3
    assert int(re.search(r"\d+", told[2])[0]) in range(4, 12)


def test_an_owner_that_learns_again_keeps_what_it_knows():
    redaction.learn_of("run", ["secret-of-a-task"])
    redaction.learn_of("run", ["secret-of-another"])
    assert mask_text("secret-of-a-task, secret-of-another") == f"{MASK}, {MASK}"


def test_what_an_attempt_leaves_running_is_masked_until_the_next_attempt():
    redaction.learn_of("one", ["secret-of-one"])
    redaction.forget("one")
    assert mask_text("secret-of-one") == MASK
    redaction.learn_of("two", ["secret-of-two"])
    assert mask_text("secret-of-one, secret-of-two") == f"secret-of-one, {MASK}"


def test_a_traceback_that_is_cut_shows_no_part_of_a_secret():
    secret = "x7" * 50
    redaction.learn_of("attempt", [secret])
    for before in range(79_900, 80_000, 7):
        assert "x7" not in traceback_of(ValueError("." * before + secret + "." * 100_000))

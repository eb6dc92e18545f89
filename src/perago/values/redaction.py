"""Recognizing and masking secrets, for logs, errors, traces, records and stamps.

A secret is recognized by its key, by its place in a URL, or by its value if the process has been told it (`learn`).
"""

from __future__ import annotations

import functools
import re
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, unquote

MASK = "**********"
"""Replaces a secret; the same text as in a dump of pydantic's `SecretStr`."""

_WORDS = (
    "passw(?:or)?ds?|passphrases?|pwd|secrets?|token|(?:api|auth|access|private|secret|signing|encryption)_?keys?"
    "|credentials?|authorization"
)
_SECRET_KEY = re.compile(rf"(?:^|[_\-.])(?:{_WORDS})(?:$|_(?:id|value)$)", re.IGNORECASE)
_A_WORD = re.compile(_WORDS, re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# Each pattern matches at few places and reads few characters there, because texts can have megabytes.
_URL_USERINFO = re.compile(r"://[^/\s@]{1,1024}@")
_ASSIGNED = re.compile(
    rf"(?i)((?:{_WORDS})[\"']?\s{{0,8}}[:=]\s{{0,8}}(?:(?:bearer|basic|token)\s{{1,8}})?)"
    r"(?:\"[^\"\n]{0,1024}\"|'[^'\n]{0,1024}'|[^\s,;&\"'}]+)"
)
# Signatures: in a URL, also with "&amp;" for "&" as in HTML, and in an "Authorization" header.
_SIGNED = re.compile(r"(?i)((?:signature|[?&;]sig)=)[^&\s\"'<>]{1,4096}")
_USERINFO = re.compile(r"://([^/\s@:]{0,512}):([^/\s@]{1,512})@")

_DIRECTORIES = frozenset({"PWD", "OLDPWD"})  # variables of the shell; elsewhere `pwd` is a password

MIN_LEARNT_LENGTH = 8
"""Characters. A shorter secret is not masked by value, because it would match by chance."""

_KEPT_LENGTH = 64 * 1024
_MARGIN_LENGTH = 8 * 1024
"""Characters kept at each end of a long text, and further characters scanned there."""

MAX_OWNERS = 4096
"""Attempts whose secrets are known at the same time; a worker has at most 1,024 slots. Beyond it, the oldest are
forgotten."""

_learnt: tuple[frozenset[str], re.Pattern[str] | None] = (frozenset(), None)
_owned: tuple[Mapping[str, frozenset[str]], tuple[str, ...]] = ({}, ())
"""Secrets by owner, and all of them, longest first. They change too often for a regular expression, which is slow to
compile and cached by `re`."""
_learning = threading.Lock()


def learn(secrets: Iterable[str]) -> None:
    """Mask these values in every text from now on, in this process."""
    global _learnt  # noqa: PLW0603 - secrets are known per process
    found = _worth_learning(secrets)
    known = _learnt[0] | found | {_quoted(secret) for secret in found}
    longest_first = sorted(known, key=len, reverse=True)
    _learnt = (frozenset(known), re.compile("|".join(map(re.escape, longest_first))) if known else None)


def learn_of(owner: str, secrets: Iterable[str]) -> None:
    """As `learn`, until `forget` is called for the same owner: an attempt's execution id."""
    found = _worth_learning(secrets)
    if not found:
        return
    with _learning:
        newest = dict([*_owned[0].items(), (owner, found | {_quoted(secret) for secret in found})][-MAX_OWNERS:])
        _own(newest)


def forget(owner: str) -> None:
    """Stop masking the owner's secrets."""
    if owner in _owned[0]:
        with _learning:
            _own({name: secrets for name, secrets in _owned[0].items() if name != owner})


@contextmanager
def learning_for_now() -> Iterator[None]:
    """Forget at the end what is learnt inside. For tests: a process otherwise knows its secrets until it ends."""
    global _learnt, _owned
    before = _learnt, _owned
    try:
        yield
    finally:
        _learnt, _owned = before


def _worth_learning(secrets: Iterable[str]) -> frozenset[str]:
    """The secrets that are long enough, except words like "password": masking such a word hides nothing, and would hide
    that something is assigned to it.
    """
    return frozenset(
        secret for secret in secrets if len(secret) >= MIN_LEARNT_LENGTH and _A_WORD.fullmatch(secret) is None
    )


def _own(owned: Mapping[str, frozenset[str]]) -> None:
    global _owned  # noqa: PLW0603 - as above
    _owned = (owned, tuple(sorted(frozenset().union(*owned.values()), key=len, reverse=True)))


def _quoted(secret: str) -> str:
    return quote(secret, safe="", errors="replace")


def secrets_of_environment(environment: Mapping[str, str]) -> Iterator[str]:
    """The secrets in variables: values of secret-looking names, headers, and passwords in URLs."""
    for name, value in environment.items():
        if name in _DIRECTORIES:
            continue
        if is_secret_key(name):
            yield value
        elif name.startswith("OTEL_") and name.endswith("_HEADERS"):
            for pair in value.split(","):
                header = unquote(pair.partition("=")[2]).strip()
                yield header
                yield header.rpartition(" ")[2]  # what follows "Bearer"
        else:
            yield from (match[2] for match in _USERINFO.finditer(value))


@functools.lru_cache(maxsize=1024)  # the same few names repeat
def is_secret_key(key: str) -> bool:
    """Whether a field of this name holds a secret, judged by its last word: `db_password`, `apiKey`, `auth-token`."""
    return _SECRET_KEY.search(_CAMEL.sub("_", key)) is not None


def mask_json(value: Any) -> Any:
    """A copy of a JSON value, with values of secret-looking keys and secrets in texts masked."""
    return _masked_json(value, mask_text)


def mask_json_alike(value: Any) -> Any:
    """As `mask_json`, without the secrets known by value. The result is the same in every process, as digests need."""
    return _masked_json(value, _mask_patterns)


def _masked_json(value: Any, mask: Callable[[str], str]) -> Any:
    if isinstance(value, str):  # the most frequent case comes first: every log line passes here
        return mask(value)
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, Mapping):
        return {
            key: MASK if not isinstance(item, bool | None) and is_secret_key(str(key)) else _masked_json(item, mask)
            for key, item in value.items()
        }
    return [_masked_json(item, mask) for item in value] if isinstance(value, list | tuple) else value


def mask_urls(text: str) -> str:
    """Mask the user info of every URL in a text, even a user without a password, which can be a token."""
    return _URL_USERINFO.sub(f"://{MASK}@", text)


def text_of(exc: BaseException) -> str:
    """An exception's message, masked; "" if it has none or `str` fails."""
    try:
        return mask_bounded(str(exc))
    except Exception:  # noqa: BLE001 - a foreign `__str__`
        return ""


def traceback_of(exc: BaseException) -> str:
    """An exception's traceback, masked. If it cannot be formatted, the reason for that."""
    try:
        return mask_bounded("".join(traceback.format_exception(exc)))
    except Exception as fault:  # noqa: BLE001 - a foreign exception
        return f"{type(exc).__name__} has a traceback that cannot be shown: {text_of(fault)}\n"


def mask_text(text: str) -> str:
    """Mask a foreign text: values assigned to secret-looking names, users, passwords and signatures in URLs, and the
    secrets that this process knows."""
    for secret in _owned[1]:
        if secret in text:
            text = text.replace(secret, MASK)
    pattern = _learnt[1]
    return _mask_patterns(text if pattern is None else pattern.sub(MASK, text))


def mask_bounded(text: str) -> str:
    """As `mask_text`, for texts of any length. The middle of a long text is dropped unread."""
    if len(text) <= 2 * (_KEPT_LENGTH + _MARGIN_LENGTH):
        return mask_text(text)
    # A secret that the cut splits is not recognized, so the margins at the cuts are dropped after masking.
    head, tail = mask_text(text[: _KEPT_LENGTH + _MARGIN_LENGTH]), mask_text(text[-_KEPT_LENGTH - _MARGIN_LENGTH :])
    return f"{head[:-_MARGIN_LENGTH]} […] {tail[_MARGIN_LENGTH:]}"


def _mask_patterns(text: str) -> str:
    if ":" not in text and "=" not in text:
        return text  # no assignment and no URL
    return _ASSIGNED.sub(rf"\g<1>{MASK}", _SIGNED.sub(rf"\g<1>{MASK}", mask_urls(text)))

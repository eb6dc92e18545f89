"""What counts as a secret, and how it is masked: the one place for logs, errors, traces, records and stamps.

Secrets are known by the name that they stand under, by their place in a URL, or by their value, where a process has
been told it (`learn`).
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
"""What stands in a secret's place; the same text that pydantic's `SecretStr` dumps to."""

_WORDS = (
    "passw(?:or)?ds?|passphrases?|pwd|secrets?|token|(?:api|auth|access|private|secret|signing|encryption)_?keys?"
    "|credentials?|authorization"
)
_SECRET_KEY = re.compile(rf"(?:^|[_\-.])(?:{_WORDS})(?:$|_(?:id|value)$)", re.IGNORECASE)
_A_WORD = re.compile(_WORDS, re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# Each pattern is tried at few places and looks at few characters there: texts of megabytes come by.
_URL_USERINFO = re.compile(r"://[^/\s@]{1,1024}@")
_ASSIGNED = re.compile(
    rf"(?i)((?:{_WORDS})[\"']?\s{{0,8}}[:=]\s{{0,8}}(?:(?:bearer|basic|token)\s{{1,8}})?)"
    r"(?:\"[^\"\n]{0,1024}\"|'[^'\n]{0,1024}'|[^\s,;&\"'}]+)"
)
# In a URL, also where a page writes "&amp;" for "&", and in a header "Authorization".
_SIGNED = re.compile(r"(?i)((?:signature|[?&;]sig)=)[^&\s\"'<>]{1,4096}")
_USERINFO = re.compile(r"://([^/\s@:]{0,512}):([^/\s@]{1,512})@")

_DIRECTORIES = frozenset({"PWD", "OLDPWD"})  # of the shell; `pwd` is a password elsewhere

MIN_LEARNT_LENGTH = 8
"""Characters of a secret that is masked wherever it stands: a shorter one would also be met by chance."""

_KEPT_LENGTH = 64 * 1024
_MARGIN_LENGTH = 8 * 1024
"""Characters at either end of a long text that are kept, and that are looked at besides."""

MAX_OWNERS = 4096
"""Attempts whose secrets are known at once: more than one process runs, as a worker has at most 1,024 slots. Beyond it
the oldest are forgotten."""

_learnt: tuple[frozenset[str], re.Pattern[str] | None] = (frozenset(), None)
_owned: tuple[Mapping[str, frozenset[str]], tuple[str, ...]] = ({}, ())
"""Secrets of each owner, and those of all, the longest first. Looked for one by one: they come and go too often for a
pattern, which takes a long time to be made and is kept by `re`."""
_learning = threading.Lock()


def learn(secrets: Iterable[str]) -> None:
    """Have these values masked wherever they stand in a text, from now on and in this process."""
    global _learnt  # noqa: PLW0603 - what a process knows of secrets is the process's
    found = _worth_learning(secrets)
    known = _learnt[0] | found | {_quoted(secret) for secret in found}
    longest_first = sorted(known, key=len, reverse=True)
    _learnt = (frozenset(known), re.compile("|".join(map(re.escape, longest_first))) if known else None)


def learn_of(owner: str, secrets: Iterable[str]) -> None:
    """As `learn`, until `forget` is called for the same owner: an attempt, by its execution id."""
    found = _worth_learning(secrets)
    if not found:
        return
    with _learning:
        newest = dict([*_owned[0].items(), (owner, found | {_quoted(secret) for secret in found})][-MAX_OWNERS:])
        _own(newest)


def forget(owner: str) -> None:
    """The owner's secrets come by no more."""
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
    """Those long enough, and none that is called "password": masking that word hides nothing, and what is assigned to
    it could not be found any more.
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
    """The secrets that variables hold: under secret-looking names, in headers, and passwords of URLs."""
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


@functools.lru_cache(maxsize=1024)  # the same few names come by again and again
def is_secret_key(key: str) -> bool:
    """Whether a field of this name holds a secret, going by its last word: `db_password`, `apiKey`, `auth-token`."""
    return _SECRET_KEY.search(_CAMEL.sub("_", key)) is not None


def mask_json(value: Any) -> Any:
    """A copy of a JSON value: what stands under secret-looking keys, and secrets within texts, are masked."""
    return _masked_json(value, mask_text)


def mask_json_alike(value: Any) -> Any:
    """As `mask_json`, but for secrets known by value: so that it comes out alike in every process, for digests."""
    return _masked_json(value, _mask_patterns)


def _masked_json(value: Any, mask: Callable[[str], str]) -> Any:
    if isinstance(value, str):  # first what comes most often: each line of a log goes through here
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
    """Mask user and password of every URL in a text; a user alone too, for tokens stand there."""
    return _URL_USERINFO.sub(f"://{MASK}@", text)


def text_of(exc: BaseException) -> str:
    """An exception's message, masked; "" where it has none, or cannot say it."""
    try:
        return mask_bounded(str(exc))
    except Exception:  # noqa: BLE001 - somebody else's `__str__`
        return ""


def traceback_of(exc: BaseException) -> str:
    """An exception's traceback, masked; of one that Python cannot show, why not."""
    try:
        return mask_bounded("".join(traceback.format_exception(exc)))
    except Exception as fault:  # noqa: BLE001 - what somebody else's exception holds
        return f"{type(exc).__name__} has no traceback that can be shown: {text_of(fault)}\n"


def mask_text(text: str) -> str:
    """Mask somebody else's message: what is assigned to secret-looking names, what stands in URLs (users, passwords,
    signatures), and what this process has learnt."""
    for secret in _owned[1]:
        if secret in text:
            text = text.replace(secret, MASK)
    pattern = _learnt[1]
    return _mask_patterns(text if pattern is None else pattern.sub(MASK, text))


def mask_bounded(text: str) -> str:
    """As `mask_text`, of a text of any length: what is far from both its ends is left out, unread."""
    if len(text) <= 2 * (_KEPT_LENGTH + _MARGIN_LENGTH):
        return mask_text(text)
    # A secret that a cut went through is not found: so the margins at the cuts go, once all is masked.
    head, tail = mask_text(text[: _KEPT_LENGTH + _MARGIN_LENGTH]), mask_text(text[-_KEPT_LENGTH - _MARGIN_LENGTH :])
    return f"{head[:-_MARGIN_LENGTH]} […] {tail[_MARGIN_LENGTH:]}"


def _mask_patterns(text: str) -> str:
    if ":" not in text and "=" not in text:
        return text  # nothing is assigned, and no URL is there
    return _ASSIGNED.sub(rf"\g<1>{MASK}", _SIGNED.sub(rf"\g<1>{MASK}", mask_urls(text)))

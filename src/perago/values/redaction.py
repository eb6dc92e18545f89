"""Recognizing and masking secrets, for logs, errors, traces, records and stamps.

A secret is recognized by its key, by its place in a URL, or by its value if the process has been told it (`learn`).
"""

from __future__ import annotations

import functools
import json
import re
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote

from perago.values.secret_forms import ESCAPE_MARKS, MIN_LENGTH, SecretForms, forms_of, mask_runs

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

_KEPT_LENGTH = 64 * 1024
"""Characters kept at each end of a long text."""

_LINE_LENGTH = 2 * 1024
"""Characters kept of a line of a traceback: a long message must not displace the frames."""

MARGIN_LENGTH = 16 * 1024
"""Characters read beyond a cut. A secret that is longer as it is written there can be shown in part."""

MAX_OWNERS = 4096
"""Attempts whose secrets are known at the same time; a worker has at most 1,024 slots. Beyond it, the oldest are
forgotten."""

_LASTING = ""
"""Owner of secrets that are never forgotten."""


@dataclass(frozen=True)
class _Known:
    """The secrets of this process, replaced as a whole when they change.

    They change too often for one regular expression, which is slow to compile.

    Attributes:
        ended: owners whose secrets are forgotten when the next owner's are learnt.
        forms: of all owners, longest first; texts, runs: what is searched for as it is.
    """

    owned: Mapping[str, frozenset[SecretForms]] = field(default_factory=dict)
    ended: frozenset[str] = frozenset()
    forms: tuple[SecretForms, ...] = ()
    texts: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()

    @classmethod
    def of(cls, owned: Mapping[str, frozenset[SecretForms]], ended: frozenset[str] = frozenset()) -> _Known:
        every: frozenset[SecretForms] = frozenset().union(*owned.values())
        forms = tuple(sorted(every, key=lambda one: len(one.text), reverse=True))
        texts = tuple(dict.fromkeys(one.text for one in forms))
        runs = tuple(dict.fromkeys(run for one in forms for run in one.runs))
        return cls(owned, ended, forms, texts, runs)


_known = _Known()
_learning = threading.Lock()


def learn(secrets: Iterable[str]) -> None:
    """Mask these values in every text from now on, in this process."""
    _learn(_LASTING, secrets)


def learn_of(owner: str, secrets: Iterable[str]) -> None:
    """As `learn`, until `forget` is called for the same owner: an attempt's execution id."""
    _learn(owner, secrets)


def _learn(owner: str, secrets: Iterable[str]) -> None:
    global _known  # noqa: PLW0603 - secrets are known per process
    found = frozenset(form for secret in secrets for form in forms_of(secret) if not _A_WORD.fullmatch(form.text))
    with _learning:
        before = _known
        if found <= before.owned.get(owner, frozenset()):
            return
        ended = before.ended - {owner}
        lasting = before.owned.get(_LASTING, frozenset())
        owned = {name: forms for name, forms in before.owned.items() if name not in {owner, _LASTING} | ended}
        owned = dict([*owned.items(), (owner, before.owned.get(owner, frozenset()) | found)][-MAX_OWNERS:])
        _known = _Known.of({_LASTING: lasting, **owned})


def forget(owner: str) -> None:
    """Stop masking the owner's secrets when the next owner's are learnt.

    Until then, what an attempt has left running can still print them. A worker runs nothing more in a process in which
    a body has left a thread.
    """
    global _known  # noqa: PLW0603 - as above
    with _learning:
        if owner in _known.owned:
            _known = replace(_known, ended=_known.ended | {owner})


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
        elif name.startswith("OPENLINEAGE__") and value.lstrip().startswith("{"):
            yield from _secrets_of_json(value)
        else:
            yield from (match[2] for match in _USERINFO.finditer(value))


def _secrets_of_json(text: str) -> Iterator[str]:
    """The values of secret-looking keys in a text that may be a JSON object."""
    with suppress(ValueError, RecursionError):
        waiting: list[Any] = [json.loads(text)]
        while waiting:
            found = waiting.pop()
            if isinstance(found, list):
                waiting += found
            elif isinstance(found, dict):
                waiting += found.values()
                yield from (value for key, value in found.items() if isinstance(value, str) and is_secret_key(key))


@functools.lru_cache(maxsize=1024)  # the same few names repeat
def is_secret_key(key: str) -> bool:
    """Whether a field of this name holds a secret, judged by its last word: `db_password`, `apiKey`, `auth-token`."""
    return _SECRET_KEY.search(_CAMEL.sub("_", key)) is not None


def masked_names(values: Mapping[str, Any]) -> list[str]:
    """The names of JSON values that have something masked in them."""
    return [name for name, value in values.items() if MASK in json.dumps(value)]


def mask_json(value: Any) -> Any:
    """A copy of a JSON value, with values of secret-looking keys and secrets in texts masked."""
    return _masked_json(value, mask_text)


def mask_json_alike(value: Any) -> Any:
    """As `mask_json`, without the secrets known by value. The result is the same in every process, as digests need."""
    return _masked_json(value, _mask_patterns)


def _masked_json(value: Any, mask: Callable[[str], str]) -> Any:
    if isinstance(value, str):  # the most frequent case comes first: every log line passes here
        return mask(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):  # a secret can be a number
        return value if mask is _mask_patterns or _is_unknown(value) else MASK
    if isinstance(value, Mapping):
        return {
            key if mask is _mask_patterns or not isinstance(key, str) else _mask_known(key): MASK
            if not isinstance(item, bool | None) and is_secret_key(str(key))
            else _masked_json(item, mask)
            for key, item in value.items()
        }
    return [_masked_json(item, mask) for item in value] if isinstance(value, list | tuple) else value


def _is_unknown(number: float) -> bool:
    text = repr(number)
    return len(text) < MIN_LENGTH or text not in _known.texts


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
    """An exception's traceback, masked, its long lines cut. If it cannot be formatted, the reason for that."""
    try:
        lines = mask_bounded("".join(traceback.format_exception(exc))).splitlines(keepends=True)
        return "".join(line if len(line) <= _LINE_LENGTH else f"{line[:_LINE_LENGTH]} […]\n" for line in lines)
    except Exception as fault:  # noqa: BLE001 - a foreign exception
        return f"{type(exc).__name__} has a traceback that cannot be shown: {text_of(fault)}\n"


def mask_text(text: str) -> str:
    """Mask a foreign text: values assigned to secret-looking names, users, passwords and signatures in URLs, and the
    secrets that this process knows, in any form (`secret_forms`)."""
    return _mask_patterns(_mask_known(text))


def mask_lines(text: str) -> str:
    """As `mask_text`, for lines that belong together by chance: a name in one line does not make the next line a
    secret."""
    return "\n".join(map(_mask_patterns, _mask_known(text).split("\n")))


def _mask_known(text: str) -> str:
    known = _known
    if any(mark in text for mark in ESCAPE_MARKS):
        for form in known.forms:
            if form.pattern is not None:  # first: an escaped form may begin with the plain one, as "x&amp;a" with "x&a"
                text = form.pattern.sub(MASK, text)
            if form.text in text:
                text = text.replace(form.text, MASK)
    else:
        for secret in known.texts:
            if secret in text:
                text = text.replace(secret, MASK)
    return mask_runs(text, known.runs, MASK)


def mask_bounded(text: str) -> str:
    """As `mask_text`, for texts of any length. The middle of a long text is dropped unread."""
    if len(text) <= 2 * (_KEPT_LENGTH + MARGIN_LENGTH):
        return mask_text(text)
    # A secret that the cut splits is not recognized, so the margins at the cuts are dropped after masking.
    head, tail = mask_text(text[: _KEPT_LENGTH + MARGIN_LENGTH]), mask_text(text[-_KEPT_LENGTH - MARGIN_LENGTH :])
    return f"{head[:-MARGIN_LENGTH]} […] {tail[MARGIN_LENGTH:]}"


def _mask_patterns(text: str) -> str:
    if ":" not in text and "=" not in text:
        return text  # no assignment and no URL
    return _ASSIGNED.sub(rf"\g<1>{MASK}", _SIGNED.sub(rf"\g<1>{MASK}", mask_urls(text)))

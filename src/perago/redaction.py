"""What counts as a secret, and how it is masked: the one place for logs, errors, records and stamps."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

MASK = "**********"
"""What stands in a secret's place; the same text that pydantic's `SecretStr` dumps to."""

_WORDS = (
    "passw(?:or)?ds?|passphrases?|pwd|secrets?|token|(?:api|access|private|secret|signing|encryption)_?keys?"
    "|credentials?|authorization"
)
_SECRET_KEY = re.compile(rf"(?:^|[_\-.])(?:{_WORDS})(?:$|_(?:id|value)$)", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# Each pattern is tried at few places and looks at few characters there: texts of megabytes come by.
_URL_USERINFO = re.compile(r"://[^/\s@]{1,1024}@")
_ASSIGNED = re.compile(
    rf"(?i)((?:{_WORDS})[\"']?\s{{0,8}}[:=]\s{{0,8}}(?:(?:bearer|basic|token)\s{{1,8}})?)"
    r"(?:\"[^\"\n]{0,1024}\"|'[^'\n]{0,1024}'|[^\s,;&\"'}]+)"
)


@functools.lru_cache(maxsize=1024)  # the same few names come by again and again
def is_secret_key(key: str) -> bool:
    """Whether a field of this name holds a secret, going by its last word: `db_password`, `apiKey`, `auth-token`."""
    return _SECRET_KEY.search(_CAMEL.sub("_", key)) is not None


def mask_json(value: Any) -> Any:
    """A copy of a JSON value: what stands under secret-looking keys, and secrets within texts, are masked."""
    if isinstance(value, Mapping):
        return {
            key: MASK if not isinstance(item, bool | None) and is_secret_key(str(key)) else mask_json(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [mask_json(item) for item in value]
    return mask_text(value) if isinstance(value, str) else value


def mask_urls(text: str) -> str:
    """Mask user and password of every URL in a text; a user alone too, for tokens stand there."""
    return _URL_USERINFO.sub(f"://{MASK}@", text)


def text_of(exc: BaseException) -> str:
    """An exception's message, masked; "" where it has none, or cannot say it."""
    try:
        return mask_text(str(exc))
    except Exception:  # noqa: BLE001 - somebody else's `__str__`
        return ""


def mask_text(text: str) -> str:
    """Mask somebody else's message: what is assigned to secret-looking names, and URLs' users and passwords."""
    if ":" not in text and "=" not in text:
        return text  # nothing is assigned, and no URL is there
    return _ASSIGNED.sub(rf"\g<1>{MASK}", mask_urls(text))

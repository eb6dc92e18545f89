"""Readers of one value: sizes, durations, URLs, choices. Their `ValueError` completes the sentence "<variable> ...",
and shows no value that may be a secret."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import urlsplit

from perago.values.redaction import mask_urls

PLACEHOLDER = "replace-me"

_SIZE = re.compile(r"(?P<count>\d+(?:\.\d+)?)\s*(?P<unit>B|KB|MB|GB|TB)", re.IGNORECASE)
_ZERO = re.compile(r"0(?:\.0+)?\s*(?:B|KB|MB|GB|TB)", re.IGNORECASE)
_SIZE_UNITS = {"B": 1, "KB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}
_DURATION = re.compile(r"(?P<count>\d+(?:\.\d+)?)\s*(?P<unit>[smhd])", re.IGNORECASE)
_DURATION_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SHOWN_CHARACTERS = 60
_LARGEST_PORT = 65535


def shown(value: object) -> str:
    """A value for a message: URLs without passwords, shortened."""
    text = repr(mask_urls(value) if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."


def read_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text, in quotes, not {shown(value)}")  # noqa: TRY004 - pydantic collects ValueError
    return value.strip()


def read_size(value: object) -> int:
    """Bytes from "512KB", "100MB", "1.5GB". 1 KB is 1024 bytes."""
    match = _SIZE.fullmatch(read_text(value)) if isinstance(value, str) else None
    size = int(float(match["count"]) * _SIZE_UNITS[match["unit"].upper()]) if match else 0
    if size <= 0:
        raise ValueError(f"must be a size such as '512KB', '100MB' or '1.5GB', not {shown(value)}")
    return size


def read_size_or_zero(value: object) -> int:
    """As `read_size`; "0", with or without a unit, is 0."""
    if str(value).strip() == "0" or (isinstance(value, str) and _ZERO.fullmatch(value.strip())):
        return 0
    try:
        return read_size(value)
    except ValueError:
        raise ValueError(f"must be a size such as '512MB' or '10GB', or 0 for none, not {shown(value)}") from None


def read_duration(value: object) -> timedelta:
    """Duration from "90s", "5m", "24h", "30d"."""
    match = _DURATION.fullmatch(read_text(value)) if isinstance(value, str) else None
    seconds = float(match["count"]) * _DURATION_UNITS[match["unit"].lower()] if match else 0
    if not 0 < seconds < timedelta.max.total_seconds():
        raise ValueError(f"must be a duration such as '90s', '5m', '24h' or '30d', not {shown(value)}")
    return timedelta(seconds=seconds)


def read_duration_or_none(value: object) -> timedelta | None:
    """As `read_duration`; "none" is None."""
    if isinstance(value, str) and value.strip().lower() == "none":
        return None
    try:
        return read_duration(value)
    except ValueError:
        raise ValueError(f"must be 'none', or a duration such as '90s', '5m' or '24h', not {shown(value)}") from None


def read_count(value: object) -> int:
    """A whole number of at least 1."""
    text = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ValueError(f"must be a whole number of at least 1, not {shown(value)}")
    return int(text)


def read_url(value: object) -> str:
    text = read_text(value)
    if not _is_http_url(text):
        found = "" if "@" in text else f", not {shown(text)}"  # a password may stand before the @
        raise ValueError(f"must be a URL that begins with http:// or https://{found}")
    return text


def _is_http_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises if the port is not a number
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def read_address(value: object) -> str:
    """Address to listen on: "127.0.0.1:9464", "[::1]:9464", "0.0.0.0:0"."""
    text = read_text(value)
    host, _, port = text.rpartition(":")
    is_sound = bool(host) and "/" not in host and "@" not in host and (":" not in host or host.startswith("["))
    if not (is_sound and port.isascii() and port.isdigit() and int(port) <= _LARGEST_PORT):
        raise ValueError(f"must be an address such as '127.0.0.1:9464', not {shown(value)}")
    return text


def read_letters_and_digits(value: object) -> str:
    text = read_text(value)
    if not (text.isascii() and text.isalnum()):
        raise ValueError(f"may have only ASCII letters and digits, not {shown(value)}")
    return text


def one_of(*choices: str) -> Callable[[object], str]:
    """Make a reader of one of these words, in upper or lower case."""

    def read(value: object) -> str:
        text = value.strip().lower() if isinstance(value, str) else ""
        if text not in choices:
            raise ValueError(f"must be {' or '.join(map(repr, choices))}, not {shown(value)}")
        return text

    return read


def read_secret(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be text, in quotes")  # noqa: TRY004 - pydantic collects ValueError
    return value.strip()

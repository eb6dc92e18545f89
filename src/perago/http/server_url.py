"""Reading the URL of a server from the settings."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from perago.errors import RuntimeConfigError


def split_server_url(url: str, *, not_a_url: str, has_user: str) -> SplitResult:
    """The parts of a server's URL: scheme, host, optional port and path.

    Args:
        not_a_url: message if it is not such a URL.
        has_user: message if it contains a user or a password.

    Raises:
        RuntimeConfigError: with one of the two messages.
    """
    try:
        parts = urlsplit(url.strip())
        valid = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        raise RuntimeConfigError(not_a_url) from None
    if not valid or parts.query or parts.fragment:
        raise RuntimeConfigError(not_a_url)
    if parts.username is not None or parts.password is not None:
        raise RuntimeConfigError(has_user)
    return parts

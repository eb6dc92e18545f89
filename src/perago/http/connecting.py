"""Where a connection goes and what it trusts: the URL of a server, the proxy for it, the connect timeout, certificates.

The environment names proxies: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`, in either case.
"""

from __future__ import annotations

import os
import ssl
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from perago.errors import RuntimeConfigError
from perago.http.answer import FaultKind, HttpFault


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


@dataclass(frozen=True)
class Proxy:
    """A forward proxy.

    Attributes:
        url: without user and password.
        headers: for the proxy: its credentials, if the environment has any.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def proxy_for(url: str) -> Proxy | None:
    """The proxy for requests to this URL; None for a direct connection.

    Raises:
        ValueError: the variable's value is not a proxy URL; the message does not show it.
    """
    parts = urlsplit(url)
    proxies = getproxies_environment()
    named = proxies.get(parts.scheme) or proxies.get("all")
    if not named or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    return _parsed(named if "://" in named else f"http://{named}", parts.scheme)


def _parsed(named: str, scheme: str) -> Proxy:
    fault = f"the environment's proxy for {scheme} is not a URL such as http://proxy.example:3128"
    try:
        parts = urlsplit(named)
        port = parts.port
    except ValueError:
        raise ValueError(fault) from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(fault)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return Proxy(
        url=f"{parts.scheme}://{host}" + (f":{port}" if port is not None else ""),
        headers=_credentials(unquote(parts.username or ""), unquote(parts.password or "")),
    )


def _credentials(user: str, password: str) -> dict[str, str]:
    if not user:
        return {}
    return {"Proxy-Authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()}


CONNECT_SECONDS = 10.0
"""Limit for making a connection, including TLS."""


def trusting(ca_file: str | os.PathLike[str] | None) -> ssl.SSLContext:
    """A TLS context that trusts the system's certificates, or those of `SSL_CERT_FILE`, and those in `ca_file`.

    Raises:
        OSError: the file cannot be read, or contains no certificates.
    """
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(cafile=os.fspath(ca_file))
    return context


def fault_of_tls(error: BaseException) -> HttpFault:
    """The fault for a TLS or certificate error."""
    reasons = (_reason(each) for each in (error, *_causes(error)))
    reason = next((each for each in reasons if each), type(error).__name__)
    return HttpFault(FaultKind.TLS, f"no TLS connection: {reason}")


def _reason(error: object) -> str:
    values = (getattr(error, name, None) for name in ("verify_message", "reason"))
    return next((value for value in values if isinstance(value, str) and value), "")


def _causes(error: BaseException) -> Iterator[object]:
    yield getattr(error, "certificate_error", None)
    yield getattr(error, "os_error", None)
    yield error.__cause__

"""The proxy for a server from the environment: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`, in either case."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass


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

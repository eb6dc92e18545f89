"""Which proxy the environment names for a server: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`, either case."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass


@dataclass(frozen=True)
class Proxy:
    """A forward proxy.

    Attributes:
        url: without user and password.
        user, password: "" where it asks for none.
    """

    url: str
    user: str = ""
    password: str = field(default="", repr=False)


def proxy_for(url: str) -> Proxy | None:
    """The proxy that requests to this URL go through; None: they go straight.

    Raises:
        ValueError: the variable's value is no URL of a proxy; the message does not show it.
    """
    parts = urlsplit(url)
    proxies = getproxies_environment()
    named = proxies.get(parts.scheme) or proxies.get("all")
    if not named or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    return _parsed(named if "://" in named else f"http://{named}", parts.scheme)


def _parsed(named: str, scheme: str) -> Proxy:
    fault = f"the environment's proxy for {scheme} is no URL such as http://proxy.example:3128"
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
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
    )

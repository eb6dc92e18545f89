"""The stores by name and by address: Perago's own, and those that other packages offer.

A package offers a store by an entry point in the group `perago.stores`: its name is the store's kind, and the scheme of
its addresses; its value is the `provider.StoreProvider`.
"""

from __future__ import annotations

import functools
import importlib
import re
from importlib.metadata import entry_points

from perago.errors import RuntimeConfigError
from perago.stores.provider import Host, RepositoryAddress, StoreProvider

_OWN = {"git": "perago.stores.git.provider", "lakefs": "perago.stores.lakefs.provider"}
_OF_PATHS = "git"
"""The store of addresses without a scheme."""

_GROUP = "perago.stores"
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")


@functools.cache
def provider_of(kind: str) -> StoreProvider:
    """The provider of a store.

    Raises:
        RuntimeConfigError: there is no such store.
    """
    if kind in _OWN:
        provider: StoreProvider = importlib.import_module(_OWN[kind]).PROVIDER
        return provider
    for found in entry_points(group=_GROUP, name=kind):
        offered: StoreProvider = found.load()
        return offered
    raise RuntimeConfigError(f"there is no store {kind!r}; {_known()}")


def parse_address(argument: str, host: Host) -> RepositoryAddress:
    """Parse a `--repo` argument.

    Raises:
        RuntimeConfigError: unknown scheme, or invalid name.
    """
    match = _SCHEME.match(argument)
    if match is None:
        return provider_of(_OF_PATHS).parse(argument, host)
    kind = match["scheme"].lower()
    if kind != _OF_PATHS and (kind in _OWN or entry_points(group=_GROUP, name=kind)):
        return provider_of(kind).parse(argument[match.end() :], host)
    raise RuntimeConfigError(
        f"--repo takes {_known()}, not {match['scheme']}://. Clone a remote repository first, with `git clone --bare`"
    )


def _known() -> str:
    others = sorted({found.name for found in entry_points(group=_GROUP)})
    return " or ".join(provider_of(kind).address for kind in (*others, *reversed(_OWN)))

"""The embedded store: a bare git repository.

`GitStore` is loaded, with pygit2, when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perago.stores.git.store import GitStore

__all__ = ["GitStore"]

_HOME_OF = {"GitStore": "store"}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value

"""The store on a lakeFS server.

`LakeFSStore` is loaded, with aiohttp, when it is first used. The store and the functions for the commands are in this
folder. Below it are three folders: publication imports content, content imports api.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perago.stores.lakefs.store import LakeFSStore

__all__ = ["LakeFSStore"]

_HOME_OF = {"LakeFSStore": "store"}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value

"""Where modules of tasks and of libraries are: the first hide no package that Perago itself needs."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_NAMES = """
_cffi_backend _yaml aiohappyeyeballs aiohttp aiosignal annotated_types attr attrs certifi cffi charset_normalizer click
deprecated dotenv frozenlist google idna importlib_metadata markdown_it mdurl multidict opentelemetry prometheus_client
propcache psutil pycparser pydantic pydantic_core pygit2 pygments requests rich structlog
typing_extensions typing_inspection urllib3 wrapt yaml yarl zipp
"""
PACKAGES = frozenset(_NAMES.split())
"""What Perago and its dependencies import, with all extras. Some of it is imported only when it is needed."""


_FOLDERS = tuple(f"{sysconfig.get_paths()[name]}{os.sep}" for name in ("stdlib", "platstdlib", "purelib", "platlib"))

WITHOUT_FILE = ("<frozen ", "<string>", "<__array_function__")
"""Beginnings of the names of a library's code that has no file, such as `<frozen os>`."""

LIBRARIES = (*_FOLDERS, *WITHOUT_FILE)
"""The same of all code of libraries."""


class _InstalledFirst(MetaPathFinder):
    """Finds `PACKAGES` everywhere but in one directory. What is not installed is left to the other finders."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        *parents, last = fullname.split(".")
        if (parents or [last])[0] not in PACKAGES:
            return None
        hidden = {"", ".", os.path.join(self.directory, *parents)}  # noqa: PTH118 - sys.path holds strings
        entries = [entry for entry in (sys.path if path is None else path) if entry not in hidden]
        return PathFinder.find_spec(fullname, entries, target)


def prefer_installed(directory: str) -> None:
    """Let files in a directory on `sys.path` hide no package that Perago needs. All its other modules are found first,
    as in a Python script."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _InstalledFirst)]
    sys.meta_path.insert(0, _InstalledFirst(directory))

"""Finds the file of a module without importing it."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from perago.tasks.sources.untold import UntoldError

if TYPE_CHECKING:
    from _typeshed.importlib import MetaPathFinderProtocol

Kind = Literal["standard", "perago", "installed", "source"]

_MAIN = ("__main__", "__mp_main__")  # the second in processes that multiprocessing has spawned


@dataclass(frozen=True)
class Module:
    """A module that an import would load.

    Attributes:
        kind: "standard" is Python's library, "installed" lies in a directory of installed packages.
        file: None for a package without `__init__.py`, and for what counts by its version.
        folders: of a package, where its submodules are found.
    """

    name: str
    kind: Kind
    file: str | None = None
    folders: tuple[str, ...] = ()

    @property
    def top(self) -> str:
        """The first part of its name."""
        return self.name.partition(".")[0]


def find_module(name: str) -> Module | None:
    """The module of that name; None if there is none.

    Raises:
        UntoldError: it is loaded, but came from no file.
    """
    top = name.partition(".")[0]
    if top == "perago":
        return Module(name, "perago")
    if name in sys.modules:
        return _of_loaded(name)
    spec = _find_spec(name)
    if spec is not None:
        return _of_spec(name, spec)
    return Module(name, "standard") if top in sys.stdlib_module_names else None  # of another platform


def real_name(name: str) -> str:
    """The name under which a module can be imported, which the module that a program starts with does not have."""
    main = sys.modules.get(name)
    if name not in _MAIN or main is None:
        return name
    spec = getattr(main, "__spec__", None)
    if isinstance(spec, ModuleSpec):  # python -m app.tasks
        return spec.name
    file = getattr(main, "__file__", None)
    if not isinstance(file, str):
        return name
    imported = find_module(Path(file).stem)  # python tasks.py
    is_same = imported is not None and imported.file is not None and _is_same(imported.file, file)
    return Path(file).stem if is_same else name


def _is_same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _of_loaded(name: str) -> Module | None:
    loaded = sys.modules[name]
    if loaded is None:  # Python's way to forbid an import
        return None
    spec = getattr(loaded, "__spec__", None)
    if isinstance(spec, ModuleSpec):
        return _of_spec(name, spec)
    file = getattr(loaded, "__file__", None)
    if isinstance(file, str):
        return _module(name, file, _folders_of(name))
    raise UntoldError(f"module {name!r} has no source file")


def _of_spec(name: str, spec: ModuleSpec) -> Module:
    if spec.origin in ("built-in", "frozen"):
        return Module(name, "standard")
    folders = _folders_of(name) if name in sys.modules else tuple(spec.submodule_search_locations or ())
    file = spec.origin if spec.has_location or Path(spec.origin or "").is_file() else None
    if file is None and not folders:
        raise UntoldError(f"module {name!r} has no source file")
    return _module(name, file, folders)


def _module(name: str, file: str | None, folders: tuple[str, ...]) -> Module:
    paths = folders if file is None else (file,)
    if all(map(_is_installed, paths)):
        return Module(name, "installed", file, folders)
    if all(map(_is_standard, paths)):
        return Module(name, "standard")
    # Of a namespace that installed packages share with the project, only the project's part is source.
    return Module(name, "source", file, folders if file else tuple(each for each in folders if not _is_installed(each)))


def _is_installed(path: str) -> bool:
    return not {"site-packages", "dist-packages"}.isdisjoint(Path(path).parts)


def _is_standard(path: str) -> bool:
    return path.startswith(_standard_folders())


@cache
def _standard_folders() -> tuple[str, ...]:
    folders = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), str(Path(os.__file__).parent)}
    return tuple(f"{each}{os.sep}" for folder in folders for each in (folder, os.path.realpath(folder)))


def _folders_of(name: str) -> tuple[str, ...]:
    """The folders with the submodules of a package; empty if it is not one."""
    if name in sys.modules:
        return tuple(getattr(sys.modules[name], "__path__", None) or ())
    spec = _find_spec(name)
    return () if spec is None else tuple(spec.submodule_search_locations or ())


def _find_spec(name: str) -> ModuleSpec | None:
    """As an import would find it. `importlib.util.find_spec` imports the parents, and this does not."""
    parent, _, last = name.rpartition(".")
    path = list(_folders_of(parent)) if parent else None
    if path == []:
        return None
    for finder in sys.meta_path:
        # Python's own finder looks for the last part of the name. With the whole name, it would ask a package without
        # `__init__.py` for its parent, which has to be loaded for that.
        spec = PathFinder.find_spec(last, path) if finder is PathFinder else _ask(finder, name, path)
        if spec is not None:
            return spec
    return None


def _ask(finder: MetaPathFinderProtocol, name: str, path: Sequence[str] | None) -> ModuleSpec | None:
    """Ask a finder of another kind, such as that of an editable installation, or of `tasks.import_path`."""
    if type(finder).__module__ == "_distutils_hack":  # it imports a part of setuptools to answer
        return None
    try:
        return finder.find_spec(name, path)
    except Exception:  # noqa: BLE001 - it is somebody else's, and may rely on a parent that is loaded
        return None

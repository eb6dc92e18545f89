"""Digest of a task's code. A retry adopts the commit of an earlier try only if both ran the same code."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

from perago.tasks.declare import TaskDefinition
from perago.values.spec import function_of

MAX_FILES = 2_000
"""Maximum source files of a package in a digest."""

MAX_BYTES = 64 * 1024 * 1024
"""Maximum total size of these files in bytes."""

MAX_ENTRIES = 100_000
"""Maximum directory entries scanned for them: a package without `__init__.py` may be a data directory, too."""


def code_digest(task: TaskDefinition) -> str:
    """`sha256:<hex>` of the source of a task's function. Read once per process and function; see `forget_digests`.

    It covers every `.py` file of the function's top-level package (or its top-level module), by content and path within
    the package, so it does not depend on the package's location. For a package above `MAX_FILES`, `MAX_BYTES` or
    `MAX_ENTRIES` it covers only the function's file. For a function without a source file, such as one typed at a
    prompt, it covers bytecode and constants, which differ between versions of Python. Imports from other packages do
    not count, except guards, which are covered like the task.
    """
    own, *of_guards = map(_digest_of, functions_of(task))
    further = {*of_guards} - {own}
    return _hex([("", digest.encode()) for digest in (own, *sorted(further))]) if further else own


def forget_digests() -> None:
    """Read the files again for the next digests: bodies that start from now on load what they hold now."""
    for cached in (_digest_of, source_of, source_folders):
        cached.cache_clear()


def functions_of(task: TaskDefinition) -> tuple[Callable[..., object], ...]:
    """The functions that a task's code digest covers: its own, then those of its guards."""
    guards = [] if task.workspace is None else [*task.workspace.pre, *task.workspace.post]
    return (task.fn, *(function for guard in guards if (function := function_of(guard)) is not None))


@lru_cache(maxsize=1024)
def source_of(fn: FunctionType) -> list[tuple[str, Path]] | None:
    """The source files that the digest of a function covers, with their names in it; None if it has no source file."""
    own_file = _source_file(fn)
    if own_file is None:
        return None
    return _package_files(fn) or [(own_file.name, own_file)]


@lru_cache(maxsize=1024)
def source_folders(fn: FunctionType) -> list[Path]:
    """The folders all of whose source files the digest of a function covers; none if it covers its own file alone."""
    package, covered = _top_level_package(fn), source_of(fn) or []
    is_whole = package is not None and any(name.startswith(f"{package.__name__}/") for name, _ in covered)
    return [Path(folder) for folder in package.__path__] if package is not None and is_whole else []


@lru_cache(maxsize=1024)
def _digest_of(fn: FunctionType) -> str:
    files = source_of(fn)
    if files is None:
        return _hex([("code", _describe_code(fn.__code__).encode())])
    # Also by content: two portions of a namespace package may have a file with the same name.
    return _hex(sorted((name, hashlib.sha256(path.read_bytes()).digest()) for name, path in files))


def _hex(parts: Iterable[tuple[str, bytes]]) -> str:
    digest = hashlib.sha256()
    for name, content in parts:
        digest.update(f"{len(name.encode())} {name} {len(content)} ".encode())
        digest.update(content)
    return f"sha256:{digest.hexdigest()}"


def _source_file(fn: FunctionType) -> Path | None:
    module = sys.modules.get(fn.__module__)
    name = getattr(module, "__file__", None) or fn.__code__.co_filename
    path = Path(name)
    return path if path.suffix == ".py" and path.is_file() else None


def _package_files(fn: FunctionType) -> list[tuple[str, Path]] | None:
    """The package's source files with their names in it; None without a package, or above a limit."""
    package = _top_level_package(fn)
    if package is None:
        return None
    files: list[tuple[str, Path]] = []
    size = 0
    for index, entry in enumerate(_walk(Path(folder) for folder in package.__path__)):
        if index >= MAX_ENTRIES:
            return None
        if entry is None:
            continue
        name, path = entry
        files.append((f"{package.__name__}/{name}", path))
        size += path.stat().st_size
        if len(files) > MAX_FILES or size > MAX_BYTES:
            return None
    return files


def _top_level_package(fn: FunctionType) -> ModuleType | None:
    module = sys.modules.get(fn.__module__)
    spec = getattr(module, "__spec__", None)
    full_name = fn.__module__ if spec is None else spec.name  # `python -m app.tasks` runs app.tasks as __main__
    package = sys.modules.get(full_name.partition(".")[0])
    return package if hasattr(package, "__path__") else None


def _walk(folders: Iterable[Path]) -> Iterator[tuple[str, Path] | None]:
    """Each entry below the folders: a source file with its relative name, or None for any other entry."""
    for folder in folders:
        for directory, subdirectories, names in os.walk(folder):
            subdirectories[:] = [name for name in subdirectories if name != "__pycache__"]
            for name in names:
                path = Path(directory, name)
                source = name.endswith(".py") and path.is_file()
                yield (path.relative_to(folder).as_posix(), path) if source else None
            yield from [None] * len(subdirectories)


def _describe_code(code: CodeType) -> str:
    """The parts of a code object that determine what it does, without its location."""
    constants = [_describe_constant(constant) for constant in code.co_consts]
    parts = (
        code.co_code.hex(),
        constants,
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        code.co_flags,
    )
    return repr(parts)


def _describe_constant(constant: object) -> str:
    if isinstance(constant, CodeType):
        return _describe_code(constant)
    if isinstance(constant, frozenset):  # its order differs from one process to the next
        return f"frozenset({sorted(map(_describe_constant, constant))})"
    if isinstance(constant, tuple):
        return f"({[_describe_constant(item) for item in constant]})"
    return repr(constant)

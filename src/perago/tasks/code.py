"""A digest of a task's code: a retry may adopt what an earlier try published only if both ran the same code."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

from perago.tasks.declare import TaskDefinition

MAX_FILES = 2_000
"""Source files of a package that are read for a digest."""

MAX_BYTES = 64 * 1024 * 1024
"""Bytes of them, together."""

MAX_ENTRIES = 100_000
"""Directory entries that are looked at to find them: a package without `__init__.py` may be a data directory too."""


def code_digest(task: TaskDefinition) -> str:
    """`sha256:<hex>` of the source that a task's function lives in. Read once per process and function.

    It covers every `.py` file of the function's top-level package (or its top-level module), by path within the package
    and content, so that it is the same wherever the package lies. A package of more than `MAX_FILES` files,
    `MAX_BYTES` or `MAX_ENTRIES` counts with the function's own file only. A function without a source file, typed in at
    a prompt say, counts with its bytecode and constants, which differ between versions of Python. Code that the package
    imports from elsewhere does not count.
    """
    return _digest_of(task.fn)


@lru_cache(maxsize=1024)
def _digest_of(fn: object) -> str:
    assert isinstance(fn, FunctionType)
    own_file = _source_file(fn)
    if own_file is None:
        return _hex([("code", _describe_code(fn.__code__).encode())])
    files = _package_files(fn)
    if files is None:
        files = [(own_file.name, own_file)]
    # By content where two portions of a namespace package have a file of one name.
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
    """The package's source files, each with its name within it; None: no package, or a bound is passed."""
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
    """Each entry below the folders: a source file with its relative name, or None for what is none."""
    for folder in folders:
        for directory, subdirectories, names in os.walk(folder):
            subdirectories[:] = [name for name in subdirectories if name != "__pycache__"]
            for name in names:
                path = Path(directory, name)
                source = name.endswith(".py") and path.is_file()
                yield (path.relative_to(folder).as_posix(), path) if source else None
            yield from [None] * len(subdirectories)


def _describe_code(code: CodeType) -> str:
    """The parts of a code object that say what it does, and not where it was written."""
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

"""Parses source files."""

from __future__ import annotations

import ast
import threading
import warnings
from functools import lru_cache
from pathlib import Path

from perago.tasks.sources.untold import UntoldError

_PARSING = threading.Lock()
"""`warnings.catch_warnings` changes the whole process: two threads within it may restore each other's filters."""

Definition = tuple[str, int]
"""Name and first line of a function; "<lambda>" for one without a name."""


def parse(file: str, name: str) -> ast.Module:
    """The syntax tree of a source file.

    Raises:
        UntoldError: it cannot be read or parsed.
    """
    try:
        content = Path(file).read_bytes()
        with _PARSING, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the import of the file shows them
            return ast.parse(content, file)
    except OSError as exc:
        raise UntoldError(f"module {name!r} cannot be read: {exc}") from exc
    except SyntaxError as exc:
        raise UntoldError(f"module {name!r} has a syntax error: {exc.msg} (line {exc.lineno})") from exc
    except (ValueError, RecursionError, MemoryError) as exc:
        raise UntoldError(f"module {name!r} cannot be parsed: {exc}") from exc


@lru_cache(maxsize=1024)
def definitions_in(file: str, name: str) -> tuple[Definition, ...]:
    """All functions that a source file defines, by line.

    Raises:
        UntoldError: it cannot be read or parsed.
    """
    found: list[Definition] = []
    for node in ast.walk(parse(file, name)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.decorator_list[0] if node.decorator_list else node
            found.append((node.name, first.lineno))
        elif isinstance(node, ast.Lambda):
            found.append(("<lambda>", node.lineno))
    return tuple(sorted(found, key=lambda each: each[1]))

"""The normal form of a source file: equal for two files whose code does the same in every result."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator, Sequence

_OPTIONS_WITHOUT_EFFECT = frozenset({"owner_email", "description", "controls", "cache", "max_age"})
"""Options of `@task` and `@workflow` that change no result. Retries and timeouts only decide whether there is one."""

_DECORATORS = frozenset({"task", "workflow"})

_DOCSTRINGS = frozenset({"__doc__", "getdoc"})


def digest_of(tree: ast.Module, nodes: Sequence[ast.AST]) -> str:
    """`sha256:<hex>` of a file without comments, layout, docstrings, and options of decorators that change no result.

    Changes the tree. A file that itself reads docstrings, such as for the options of its command line, keeps them.

    Args:
        nodes: of the tree, all of them.

    Raises:
        RecursionError, ValueError: the tree is nested too deeply, or has a number of too many digits.
    """
    _drop_options(nodes)
    if not any(_reads_docstrings(node) for node in nodes):
        _drop_docstrings(nodes)
    return f"sha256:{hashlib.sha256(ast.dump(tree).encode()).hexdigest()}"


def _reads_docstrings(node: ast.AST) -> bool:
    if isinstance(node, ast.Name):
        return node.id in _DOCSTRINGS
    return isinstance(node, ast.Attribute) and node.attr in _DOCSTRINGS


def _drop_docstrings(nodes: Iterable[ast.AST]) -> None:
    for node in nodes:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            match node.body:
                case [ast.Expr(value=ast.Constant(value=str())), *_]:
                    del node.body[0]


def _drop_options(nodes: Sequence[ast.AST]) -> None:
    decorators, packages = _names_of_decorators(nodes)
    if not decorators and not packages:
        return
    others = {name for node in nodes for name in _bound_by(node)}
    if "*" in others:  # `import *` binds names that only the other file lists
        return
    for node in nodes:
        if isinstance(node, ast.Call) and _is_decorator(node.func, decorators - others, packages - others):
            node.keywords = [each for each in node.keywords if each.arg not in _OPTIONS_WITHOUT_EFFECT]


def _is_decorator(called: ast.expr, decorators: set[str], packages: set[str]) -> bool:
    if isinstance(called, ast.Attribute):
        return called.attr in _DECORATORS and isinstance(called.value, ast.Name) and called.value.id in packages
    return isinstance(called, ast.Name) and called.id in decorators


def _names_of_decorators(nodes: Iterable[ast.AST]) -> tuple[set[str], set[str]]:
    """The names that imports give Perago's decorators, and those that they give the package `perago`."""
    decorators, packages = set[str](), set[str]()
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            decorators.update(each.asname or each.name for each in node.names if _is_our_decorator(node, each))
        elif isinstance(node, ast.Import):
            packages.update(each.asname or "perago" for each in node.names if _is_our_package(each))
    return decorators, packages


def _is_our_decorator(node: ast.ImportFrom, imported: ast.alias) -> bool:
    return node.module == "perago" and node.level == 0 and imported.name in _DECORATORS


def _is_our_package(imported: ast.alias) -> bool:
    return imported.name == "perago" or (imported.name.startswith("perago.") and imported.asname is None)


def _bound_by(node: ast.AST) -> Iterator[str]:
    """The names that a node binds to anything else: an import, an assignment, a definition, a parameter, a pattern."""
    if isinstance(node, ast.ImportFrom):
        yield from (each.asname or each.name for each in node.names if not _is_our_decorator(node, each))
    elif isinstance(node, ast.Import):
        yield from (each.asname or each.name.partition(".")[0] for each in node.names if not _is_our_package(each))
    elif isinstance(node, ast.Name):
        if not isinstance(node.ctx, ast.Load):
            yield node.id
    elif not isinstance(node, ast.alias | ast.Attribute | ast.keyword):
        names = (getattr(node, attribute, None) for attribute in ("name", "arg", "rest"))
        yield from (name for name in names if isinstance(name, str))

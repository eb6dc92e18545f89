"""Which variable of the environment an expression in a source file reads."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from enum import Enum, auto

ENVIRONMENT = frozenset({"os.environ", "os.getenv", "os.environb", "os.getenvb", "os.path.expandvars"})


class Reads(Enum):
    """A use that reads no variable."""

    NOTHING = auto()


def variable_of(node: ast.expr, used: str, parents: Mapping[ast.AST, ast.AST]) -> str | Reads | None:
    """The variable that a use of the environment reads; None if any variable may be read.

    Args:
        node: the expression, such as `os.environ`.
        used: what it means, one of `ENVIRONMENT`.
        parents: of each node of the file.
    """
    around = parents[node]
    if used == "os.getenv":
        return _constant(around.args[0]) if isinstance(around, ast.Call) and _calls(around, node) else None
    if used != "os.environ":  # bytes, or a text with variables in it
        return None
    match around:
        case ast.Subscript(value=value) if value is node:
            return _of_item(around, parents)
        case ast.Attribute():
            return _of_method(around, parents)
        case ast.Compare(left=left, ops=[ast.In() | ast.NotIn()]):
            return _constant(left)
        case ast.AugAssign(target=target) if target is node:
            return Reads.NOTHING
    return None


def _of_item(item: ast.Subscript, parents: Mapping[ast.AST, ast.AST]) -> str | Reads | None:
    is_read = isinstance(item.ctx, ast.Load) or isinstance(parents[item], ast.AugAssign)
    if isinstance(item.ctx, ast.Store) and not is_read:
        return Reads.NOTHING
    variable = _constant(item.slice)  # `del` fails for a variable that is not set: it reads whether it is
    return Reads.NOTHING if variable is None and not is_read else variable


def _of_method(method: ast.Attribute, parents: Mapping[ast.AST, ast.AST]) -> str | Reads | None:
    call = parents[method]
    if not isinstance(call, ast.Call) or call.func is not method:
        return None
    if method.attr in ("update", "clear"):
        return Reads.NOTHING
    if method.attr not in ("get", "setdefault", "pop") or not call.args:
        return None
    variable = _constant(call.args[0])
    is_dropped = isinstance(parents[call], ast.Expr) and method.attr != "get"
    return Reads.NOTHING if variable is None and is_dropped else variable


def _calls(call: ast.Call, function: ast.expr) -> bool:
    return call.func is function and bool(call.args)


def _constant(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None

"""What one source file says, without running it: its normal form, what it imports, what it reads of the environment."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from perago.tasks.sources.environment_reads import ENVIRONMENT, variables_of
from perago.tasks.sources.normal_form import digest_of
from perago.tasks.sources.parsing import parse
from perago.tasks.sources.untold import UntoldError

_BY_NAME = frozenset(
    {"builtins.__import__", "importlib.__import__", "importlib.import_module", "runpy.run_module", "runpy.run_path"}
)
"""Functions that import what their first argument names."""

_BY_OTHER_MEANS = frozenset(
    {"importlib.machinery.SourceFileLoader", "importlib.util.spec_from_file_location", "pkgutil.resolve_name"}
)
"""Functions that import what no static reading tells."""

_DATA_BY_NAME = ("importlib.resources.", "pkgutil.get_data")
"""Functions that import the package that their first argument names, and read its data."""

_WATCHED = _BY_NAME | _BY_OTHER_MEANS | ENVIRONMENT
_WATCHED_NAMES = {name.rpartition(".")[2]: name for name in _WATCHED}
_WATCHED_TOPS = {name.partition(".")[0] for name in _WATCHED}


@dataclass(frozen=True)
class Syntax:
    """What one source file says.

    Attributes:
        digest: of its normal form.
        imports: the modules that it imports, by full name; absolute paths of files that it runs as modules.
        members: what it imports from modules, by full name. Each may be a submodule or any other value.
        variables: of the environment, which it reads by name.
        computed_import: line of the first import whose name is not written there.
        whole_environment: line of the first use of the environment that is not the reading of a named variable.
    """

    digest: str
    imports: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    computed_import: int | None = None
    whole_environment: int | None = None


@lru_cache(maxsize=4096)
def read_syntax(file: str, name: str, *, is_package: bool) -> Syntax:
    """Read a source file. Once per process; see `cache_clear`.

    Args:
        name: of its module, to which relative imports are relative.

    Raises:
        UntoldError: it cannot be read or parsed.
    """
    tree = parse(file, name)
    package = name if is_package else name.rpartition(".")[0]
    parents = _parents(tree)
    found = _Reader(parents, package, name if is_package else None).read()
    try:
        digest = digest_of(tree, [tree, *parents])
    except (RecursionError, ValueError) as exc:
        raise UntoldError(f"module {name!r} cannot be compared: {exc}") from exc
    return Syntax(
        digest,
        tuple(dict.fromkeys(found.imports)),
        tuple(dict.fromkeys(found.members)),
        tuple(sorted(found.variables)),
        min(found.computed_imports, default=None),
        min(found.whole_environment, default=None),
    )


class _Reader:
    """Reads one syntax tree.

    Args:
        parents: of each node, parents first.
        package: that relative imports are relative to.
        is_in: name of the package that the file is the `__init__.py` of; None for any other module.
    """

    def __init__(self, parents: Mapping[ast.AST, ast.AST], package: str, is_in: str | None) -> None:
        self._package = package
        self._exports_of = is_in
        self._parents = parents
        self._bound = self._bindings()
        self.imports: list[str] = []
        self.members: list[str] = []
        self.variables: set[str] = set()
        self.computed_imports: list[int] = []
        self.whole_environment: list[int] = []

    def read(self) -> _Reader:
        for node in self._parents:
            match node:
                case ast.Import():
                    self.imports += [each.name for each in node.names]
                case ast.ImportFrom():
                    self._import_from(node)
                case ast.Name() | ast.Attribute():
                    self._use(node)
        return self

    def _import_from(self, node: ast.ImportFrom) -> None:
        module = self._absolute(node)
        if module is not None:
            self.imports.append(module)
            self.members += [f"{module}.{each.name}" for each in node.names if each.name != "*"]

    def _absolute(self, node: ast.ImportFrom) -> str | None:
        """The full name of the module that a `from` names; None beyond the top, where the import fails."""
        if not node.level:
            return node.module
        parts = self._package.split(".") if self._package else []
        if node.level > len(parts):
            return None
        own = parts[: len(parts) - node.level + 1]
        return ".".join([*own, node.module] if node.module else own)

    def _use(self, node: ast.Name | ast.Attribute) -> None:
        if isinstance(node, ast.Name) and node.id == "__all__":
            self._export(node)
            return
        used = _dotted(node, self._bound)
        if used in ENVIRONMENT:
            self._read_environment(node, used)
        elif used in _BY_OTHER_MEANS:
            self.computed_imports.append(node.lineno)
        elif used in _BY_NAME:
            self._import_by_name(node, used)
        elif used is not None and used.startswith(_DATA_BY_NAME):
            self._read_data(node)

    def _export(self, node: ast.AST) -> None:
        """`from package import *` imports the submodules that the package lists in `__all__`."""
        while not isinstance(node, ast.stmt):
            node = self._parents[node]
        if self._exports_of is not None:
            texts = (each.value for each in ast.walk(node) if isinstance(each, ast.Constant))
            self.members += [f"{self._exports_of}.{text}" for text in texts if isinstance(text, str)]

    def _import_by_name(self, node: ast.expr, function: str) -> None:
        named = _named_by(self._parents[node], node, function)
        if named is None:
            self.computed_imports.append(node.lineno)
            return
        self.imports.append(named)
        if function == "runpy.run_module":
            self.members.append(f"{named}.__main__")

    def _read_data(self, node: ast.expr) -> None:
        match self._parents[node]:
            case ast.Call(func=called, args=[ast.Constant(value=str(package)), *_]) if called is node:
                self.imports.append(package)
            # Anything else is a module, which an import statement names, or this module's own name.

    def _read_environment(self, node: ast.expr, used: str) -> None:
        read = variables_of(node, used, self._parents)
        if read is None:
            self.whole_environment.append(node.lineno)
        else:
            self.variables |= read

    def _bindings(self) -> dict[str, str]:
        """What the names of this file mean, of those that matter here: `environ` -> `os.environ`.

        Scopes are not told apart. At worst, a name means more than it does.
        """
        bound = {"__import__": "builtins.__import__"}
        for node in self._parents:
            if isinstance(node, ast.Import):
                bound.update(_bound_by_import(node))
            elif isinstance(node, ast.ImportFrom):
                bound.update(_bound_by_from(node))
        return bound


def _bound_by_import(node: ast.Import) -> Iterator[tuple[str, str]]:
    for each in node.names:
        top = each.name.partition(".")[0]
        if top in _WATCHED_TOPS:
            yield (top, top) if each.asname is None else (each.asname, each.name)


def _bound_by_from(node: ast.ImportFrom) -> Iterator[tuple[str, str]]:
    is_watched = node.level == 0 and (node.module or "").partition(".")[0] in _WATCHED_TOPS
    for each in node.names:
        if each.name == "*" and is_watched:
            yield from ((last, name) for last, name in _WATCHED_NAMES.items() if name == f"{node.module}.{last}")
        elif is_watched:
            yield each.asname or each.name, f"{node.module}.{each.name}"
        elif each.name in _WATCHED_NAMES:  # from a module that has it from there
            yield each.asname or each.name, _WATCHED_NAMES[each.name]


def _named_by(call: ast.AST, called: ast.expr, function: str) -> str | None:
    """The full name, or the absolute path, of what a call imports; None if it is not written there."""
    if not isinstance(call, ast.Call) or call.func is not called:
        return None
    match call.args:
        case [ast.Constant(value=str(name))]:
            pass
        case _:  # no constant, or arguments behind it, which make the name relative or add others
            return None
    if function == "runpy.run_path":
        return name if name.startswith("/") else None
    if name.startswith(("/", ".")) or (call.keywords and function != "runpy.run_module"):
        return None
    return name


def _parents(tree: ast.Module) -> dict[ast.AST, ast.AST]:
    """The parent of each node, parents first."""
    parents: dict[ast.AST, ast.AST] = {}
    waiting: list[ast.AST] = [tree]
    for node in waiting:
        for child in ast.iter_child_nodes(node):
            parents[child] = node
            waiting.append(child)
    return parents


def _dotted(node: ast.expr, bound: Mapping[str, str]) -> str | None:
    """The full name of what an expression such as `os.environ` means; None if that is not of interest."""
    if isinstance(node, ast.Name):
        return bound.get(node.id)
    if isinstance(node, ast.Attribute):
        parent = _dotted(node.value, bound)
        return None if parent is None else f"{parent}.{node.attr}"
    return None

"""The code that a task's results depend on: modules, data files, libraries, variables of the environment.

`tasks.code` covers a whole package with one digest, for tries of one task. Here each part is told alone, so that a
change elsewhere in a package leaves earlier results valid, and so that a person can see what has changed.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import PurePosixPath

from perago.tasks.code import functions_of
from perago.tasks.declare import TaskDefinition
from perago.tasks.sources.held_values import Description, has_file
from perago.tasks.sources.libraries import forget_libraries, is_editable, versions_of
from perago.tasks.sources.modules import Module, find_module, real_name
from perago.tasks.sources.package_data import data_of, entries_below, file_digest
from perago.tasks.sources.parsing import definitions_in
from perago.tasks.sources.syntax import read_syntax
from perago.tasks.sources.untold import UntoldError
from perago.values.cache import CodeParts, Untold
from perago.values.credentials import CREDENTIALS
from perago.values.spec import Guardrail, function_of

ABSENT = "absent"
"""For a module that is imported but not there. The key changes when it is installed."""


def code_parts(task: TaskDefinition, depends: Sequence[str] = ()) -> CodeParts | Untold:
    """The code that results of a task depend on.

    It begins at the modules of the function, its guards, and the models of params and result. From each, it follows the
    import statements anywhere in the source, and imports nothing for it. Reads files again only if they have changed.

    Args:
        depends: further modules, by name, and files, by absolute path. A package counts with all its modules. If any
            are given, imports of modules with computed names are assumed to be covered by them.

    Returns:
        Untold if a part cannot be determined: a smaller key would find results that depend on something else. Also if
        a module has changed since the first call: processes may hold different versions of it.
    """
    try:
        held, modules = _held_by(task)
        found = _found_now(functions_of(task), tuple(sorted(modules)), tuple(depends))
    except UntoldError as exc:
        return Untold(exc.why)
    if isinstance(found, Untold):
        return found
    return CodeParts(
        sources={**found.sources, **held},
        libraries=found.libraries,
        variables={name: _value_of(name) for name in found.variables},
        python=f"{sys.version_info.major}.{sys.version_info.minor} on {sys.platform} {platform.machine()}",
        files=frozenset(found.states),
    )


def files_beyond(code: CodeParts, opened: Sequence[str]) -> list[str]:
    """Those of the files and directories that a body opened which are not in a key.

    Args:
        opened: real paths.
    """
    known = {os.path.realpath(path) for path in code.files} if opened else set()
    return [path for path in opened if path not in known]


def forget_parts() -> None:
    """Read everything again for the next tasks, as `code.forget_digests` does."""
    _found_at_first.cache_clear()
    _latest.clear()
    _forget_files()
    forget_libraries()
    importlib.invalidate_caches()  # where Python keeps what it has seen in directories


def _forget_files() -> None:
    for cached in (read_syntax, definitions_in, data_of):
        cached.cache_clear()


_State = tuple[int, int, int] | None


@dataclass(frozen=True)
class _Found:
    """What was found in files.

    Attributes:
        states: of the files that were read, and of the directories that were listed.
    """

    sources: Mapping[str, str]
    libraries: Mapping[str, str]
    variables: Sequence[str]
    states: Mapping[str, _State]

    @property
    def is_as_it_was(self) -> bool:
        return all(_state(path) == state for path, state in self.states.items())

    @property
    def loaded(self) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """What a process has loaded of it. Data files are read by each body."""
        return {name: digest for name, digest in self.sources.items() if "/" not in name}, self.libraries


def _state(path: str) -> _State:
    try:
        status = os.stat(path)  # noqa: PTH116 - hundreds of them for each key
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


_Of = tuple[tuple[Callable[..., object], ...], tuple[str, ...], tuple[str, ...]]
_latest: dict[_Of, _Found] = {}


def _found_now(
    functions: tuple[Callable[..., object], ...], modules: tuple[str, ...], depends: tuple[str, ...]
) -> _Found | Untold:
    first = _found_at_first(functions, modules, depends)
    if isinstance(first, Untold):
        return first
    latest = _latest.get((functions, modules, depends), first)
    if latest.is_as_it_was:
        return latest
    _forget_files()
    fresh = _found_in_files(modules, depends)
    if isinstance(fresh, Untold):
        return fresh
    if fresh.loaded != first.loaded:
        return Untold("its modules have changed since this process loaded them")
    _latest[functions, modules, depends] = fresh
    return fresh


@lru_cache(maxsize=1024)
def _found_at_first(
    functions: tuple[Callable[..., object], ...],  # noqa: ARG001 - modules that are loaded anew have others
    modules: tuple[str, ...],
    depends: tuple[str, ...],
) -> _Found | Untold:
    return _found_in_files(modules, depends)


def _found_in_files(modules: Sequence[str], depends: Sequence[str]) -> _Found | Untold:
    search = _Search(takes_computed_imports=bool(depends))
    try:
        for name in modules:
            search.begin_at(name)
        for name in depends:
            search.add(name)
        return search.found()
    except UntoldError as exc:
        return Untold(exc.why)


@dataclass
class _Search:
    """Follows imports.

    Attributes:
        takes_computed_imports: whether the task's author has named what is imported by a computed name.
        is_deeper: of each module that was looked at, whether its submodules are looked at one by one.
        places: the files that were read, and the directories that were listed.
    """

    takes_computed_imports: bool
    sources: dict[str, str] = field(default_factory=dict)
    packages: set[str] = field(default_factory=set)
    variables: set[str] = field(default_factory=set)
    tops: set[str] = field(default_factory=set)
    is_deeper: dict[str, bool] = field(default_factory=dict)
    places: set[str] = field(default_factory=set)
    waiting: list[tuple[str, bool]] = field(default_factory=list)

    def begin_at(self, name: str) -> None:
        """Look at a module that the task itself comes from, and all that it imports."""
        if find_module(name) is None:  # it was removed after it was loaded
            raise UntoldError(f"module {name!r} is not found")
        self._follow(name)

    def _follow(self, name: str) -> None:
        self.waiting.append((name, False))
        while self.waiting:
            self._reach(*self.waiting.pop())

    def add(self, name: str) -> None:
        """Look at what the task's author has named."""
        if name.startswith("/"):
            self.places.add(name)
            self.sources[name] = _digest_of(name)
            return
        module = find_module(name)
        if module is None:
            raise UntoldError(f"depends names module {name!r}, which is not there")
        for each in [name, *_submodules(module)]:
            self._follow(each)

    def found(self) -> _Found:
        sources = dict(self.sources)
        for top in sorted(self.tops):
            package = find_module(top)
            if package is not None:
                data = data_of(top, package.folders)
                sources |= data.digests
                self.places |= data.places
        return _Found(
            dict(sorted(sources.items())),
            versions_of(self.packages),
            sorted(self.variables),
            {place: _state(place) for place in sorted(self.places)},
        )

    def _reach(self, name: str, is_member: bool) -> None:
        """Look at a module behind its parents, as an import does.

        Args:
            is_member: it may be any value of a module.
        """
        if name.startswith("/"):
            self._read(Module(name, "source", name))
            return
        parts = name.split(".")
        for count in range(1, len(parts) + 1):
            part = ".".join(parts[:count])
            if part not in self.is_deeper:
                module = find_module(part)
                if module is None and is_member and part == name:
                    return
                self.is_deeper[part] = self._look_at(part, module)
            if not self.is_deeper[part]:
                return

    def _look_at(self, name: str, module: Module | None) -> bool:
        if module is None:
            self.sources[name] = ABSENT
            return False
        # Python counts by its version. Perago does not count: it hands files and params to a body, and what the body
        # makes of them is up to the body. So earlier results can be used after an update of Perago.
        if module.kind in ("standard", "perago"):
            return False
        if module.kind == "installed" and not is_editable(module.top):
            self.packages.add(module.top)
            return False
        if module.file is not None:
            self._read(module)
            self.tops.add(module.top)
        return True

    def _read(self, module: Module) -> None:
        file = module.file or ""
        self.places.add(file)
        if not file.endswith(".py"):
            self.sources[module.name] = _digest_of(file)
            return
        read = read_syntax(file, module.name, is_package=bool(module.folders))
        self.sources[module.name] = read.digest
        if read.computed_import is not None and not self.takes_computed_imports:
            raise UntoldError(
                f"module {module.name!r} imports a module whose name it computes (line {read.computed_import}); "
                f"name it in depends="
            )
        if read.whole_environment is not None:
            raise UntoldError(
                f"module {module.name!r} reads the environment as a whole (line {read.whole_environment})"
            )
        self.variables.update(read.variables)
        self.waiting += [(each, False) for each in read.imports] + [(each, True) for each in read.members]


def _submodules(package: Module) -> Iterator[str]:
    """All modules below a package that is source."""
    if package.kind != "source":
        return
    try:
        for path, _ in entries_below(package.name, package.folders):
            within = PurePosixPath(path)
            parts = within.with_suffix("").parts
            if within.suffix == ".py" and all(map(str.isidentifier, parts)):
                yield ".".join([package.name, *(parts[:-1] if parts[-1] == "__init__" else parts)])
    except OSError as exc:
        raise UntoldError(f"package {package.name!r} cannot be read: {exc}") from exc


def _digest_of(path: str) -> str:
    try:
        return file_digest(path)
    except OSError as exc:
        raise UntoldError(f"{path} cannot be read: {exc.strerror}") from exc


def _held_by(task: TaskDefinition) -> tuple[dict[str, str], set[str]]:
    """Digests of what a task's functions hold, by name, and the modules that all of it comes from."""
    modules = {real_name(model.__module__) for model in (task.params_model, task.output_model)}
    models = [f"{real_name(each.__module__)}:{each.__qualname__}" for each in (task.params_model, task.output_model)]
    texts: dict[str, list[str]] = {}
    for held in _held_functions(task):
        function = function_of(held)
        if function is None or not has_file(function):
            raise UntoldError("the function has no source file")
        description = Description()
        name = f"{real_name(function.__module__)}:{function.__qualname__}"
        text = description.of(held)
        modules |= {real_name(str(function.__globals__.get("__name__"))), *description.modules}
        if text != f"(function {name})":
            texts.setdefault(f"{name} closure", []).append(text)
            texts[f"{name} closure"] += models  # a factory may have been given them, for the annotations alone
    return {name: _text_digest("\n".join(each)) for name, each in sorted(texts.items())}, modules


def _held_functions(task: TaskDefinition) -> list[object]:
    """The task's function and its guards, with the values that a `partial` or a method adds to a guard."""
    guards = [] if task.workspace is None else [*task.workspace.pre, *task.workspace.post]
    return [task.fn, *(guard for guard in guards if not isinstance(guard, Guardrail))]


def _value_of(variable: str) -> str:
    if variable in CREDENTIALS:  # even a digest would tell something of it
        return "credential"
    value = os.environ.get(variable)
    return "unset" if value is None else _text_digest(value)


def _text_digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()}"

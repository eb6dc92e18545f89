"""What `@task` says of the cache: read, and checked beside the rest of the declaration. Loads nothing heavy."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING

from perago.tasks.signature import definition_fault
from perago.values.cache import CacheSpec
from perago.values.sandbox import SandboxSpec
from perago.values.spec import WorkspaceSpec

if TYPE_CHECKING:
    from perago.tasks.declare import TaskDefinition


def read_cache(
    fn: FunctionType, cache: object, *, depends: object, cache_version: object, max_age: object
) -> CacheSpec | None:
    """What a declaration says of the cache; None if the task has none.

    Raises:
        TaskDefinitionError: an option is wrong, or has no effect.
    """
    if not isinstance(cache, bool) and cache != "trusted":
        raise definition_fault(fn, f"cache={cache!r} is no choice", 'write cache=True, or cache="trusted"')
    named = _read_depends(fn, depends)
    if cache_version is not None and (not isinstance(cache_version, str) or not cache_version):
        raise definition_fault(
            fn, f"cache_version={cache_version!r} is not text", 'give one, such as cache_version="3"'
        )
    if max_age is not None and (not isinstance(max_age, timedelta) or max_age <= timedelta()):
        raise definition_fault(
            fn,
            f"max_age={max_age!r} is not a positive duration",
            "give a timedelta above zero, such as max_age=timedelta(days=7)",
        )
    if cache is False:
        for option, value in (("depends", named), ("cache_version", cache_version), ("max_age", max_age)):
            if value:
                raise definition_fault(fn, f"{option} has no effect without a cache", "add cache=True to @task")
        return None
    return CacheSpec(is_trusted=cache == "trusted", depends=named, version=cache_version, max_age=max_age)


def _read_depends(fn: FunctionType, depends: object) -> tuple[str, ...]:
    wanted = 'write depends=[a_module, "app.rules", "/etc/app/rules.csv"], a list of modules and absolute paths'
    if isinstance(depends, str | Path) or not isinstance(depends, Sequence):
        raise definition_fault(fn, f"depends is a {type(depends).__name__}", wanted)
    named = []
    for one in depends:
        name = one.__name__ if isinstance(one, ModuleType) else str(one) if isinstance(one, str | Path) else ""
        is_path = "/" in name
        if not (Path(name).is_absolute() if is_path else all(map(str.isidentifier, name.split(".")))):
            raise definition_fault(fn, f"depends has {one!r}, which is no module and no absolute path", wanted)
        named.append(name)
    return tuple(named)


def check_cache(
    fn: FunctionType, cache: CacheSpec | None, workspace: WorkspaceSpec | None, sandbox: SandboxSpec
) -> None:
    """Check that results of a task can be used again.

    Raises:
        TaskDefinitionError: they cannot; says what to change.
    """
    if cache is None:
        return
    if workspace is None or not (workspace.outputs or workspace.read_only):
        raise definition_fault(
            fn,
            "it has a cache, but neither declares outputs nor is read_only, so that nobody can say what its result is",
            'declare them, such as workspace=WorkspaceSpec(include=["raw/**"], outputs=["clean/**"]), or remove cache',
        )
    if workspace.isolation == "snapshot" and not workspace.read_only:
        raise definition_fault(
            fn,
            'it has a cache, and isolation "snapshot", which takes what others write among its outputs for its own',
            "remove isolation, or cache",
        )
    if cache.is_trusted:
        return
    given = {"network": sandbox.network, "reads": sandbox.reads, "writes": sandbox.writes}
    for option, value in given.items():
        if value:
            raise definition_fault(
                fn,
                f"it has a cache, and {option}, by which its result may depend on what no commit has",
                f'remove {option}, or write cache="trusted" to say that the result depends on none of that',
            )
    if sandbox.mode == "off":
        raise definition_fault(
            fn,
            "it has a cache, and sandbox='off', so that nobody sees what its result depends on",
            'remove sandbox, or write cache="trusted" to say that the result depends on nothing else',
        )


def read_code(tasks: Iterable[TaskDefinition]) -> None:
    """Read the code of those tasks that have a cache now, for their keys.

    A process calls it right after it has loaded them: their files may change before the first attempt, which runs what
    was loaded.
    """
    for task in tasks:
        if task.cache is not None and task.cache.version is None:
            from perago.tasks.sources.parts import code_parts

            code_parts(task, task.cache.depends)


def forget_code() -> None:
    """Read the files again for the next keys."""
    if "perago.tasks.sources.parts" in sys.modules:
        from perago.tasks.sources.parts import forget_parts

        forget_parts()

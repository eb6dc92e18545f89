"""Guards: declares and checks what a workspace must have, or must not have, before and after a body."""

from __future__ import annotations

import difflib
import errno
import functools
import os
import stat
import traceback
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from os import PathLike
from pathlib import Path, PurePath
from typing import Literal

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from perago.errors import (
    GuardrailViolation,
    PostGuardrailViolation,
    PreGuardrailViolation,
    TaskDefinitionError,
    required,
)
from perago.values.names import show_name
from perago.values.redaction import text_of
from perago.values.spec import Guard, GuardKind, Guardrail, function_of

GuardPhase = Literal["pre", "post"]

_SHOWN = 3
_MOST_LISTED = 1000  # entries of a directory that are compared with a missing name


# ---------------------------------------------------------------- declaring


def require_file(path: str | PathLike[str]) -> Guardrail:
    """Require a file at this path.

    Args:
        path: relative to the workspace's prefix, POSIX style.

    Raises:
        TaskDefinitionError: the path is empty, absolute, has a drive, a backslash, or a segment "", "." or "..".
    """
    return _guard("require_file", path)


def require_dir(path: str | PathLike[str]) -> Guardrail:
    """Require a directory at this path. Arguments and errors as in `require_file`."""
    return _guard("require_dir", path)


def require_glob(pattern: str | PathLike[str], *, min_count: int | None = 1, max_count: int | None = None) -> Guardrail:
    """Require a number of paths that match a pattern.

    Args:
        pattern: as in `pathlib`, relative to the workspace's prefix. Matches files and directories, dot files too.
        min_count: minimum number; None means the default, 1.
        max_count: maximum number; None means no limit.

    Raises:
        TaskDefinitionError: as `require_file`; or "**" is only part of a segment, or the counts contradict each other.
    """
    return _guard("require_glob", pattern, 1 if min_count is None else min_count, max_count)


def forbid_glob(pattern: str | PathLike[str]) -> Guardrail:
    """Require that no path matches a pattern. Patterns and errors as in `require_glob`."""
    return _guard("forbid_glob", pattern)


def _guard(
    kind: GuardKind, path: str | PathLike[str], min_count: int | None = None, max_count: int | None = None
) -> Guardrail:
    try:
        text = path.as_posix() if isinstance(path, PurePath) else os.fspath(path)
        return Guardrail(kind=kind, path=text, min_count=min_count, max_count=max_count)
    except TypeError as exc:
        raise TaskDefinitionError(f"{kind}({path!r}): {exc}") from None
    except ValidationError as exc:
        faults = exc.errors(include_url=False, include_input=False)
        raise TaskDefinitionError(f"{kind}({path!r}): {'; '.join(map(_describe_fault, faults))}") from None


def _describe_fault(fault: ErrorDetails) -> str:
    if fault["type"] == "value_error":  # Perago's own, in complete sentences
        return fault["msg"].removeprefix("Value error, ")
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"


# ---------------------------------------------------------------- checking


def check_guardrails(root: str | PathLike[str], guardrails: Iterable[Guardrail | Guard], phase: GuardPhase) -> None:
    """Check a workspace against its guards. Callables are called, in this process, if all others hold.

    A symbolic link within the workspace counts as its target. A link out of the workspace is not followed; it counts
    only for `forbid_glob`.

    Args:
        root: the workspace's directory.

    Raises:
        PreGuardrailViolation, PostGuardrailViolation: guards are violated. The message says what each one found.
        ValueError: `phase` is neither "pre" nor "post".
    """
    guards = list(guardrails)
    check_files(root, guards, phase)
    call_guards(root, guards, phase)


def check_files(root: str | PathLike[str], guards: Sequence[Guardrail | Guard], phase: GuardPhase) -> None:
    """As `check_guardrails`, without the callables."""
    workspace = _Workspace(Path(root))
    named = [guard for guard in guards if isinstance(guard, Guardrail)]
    _expect_none(((guard, _fault(workspace, guard)) for guard in named), guards, phase)


def call_guards(root: str | PathLike[str], guards: Sequence[Guardrail | Guard], phase: GuardPhase) -> None:
    """As `check_guardrails`, only the callables."""
    called = [guard for guard in guards if not isinstance(guard, Guardrail)]
    _expect_none(((guard, _raised_by(guard, Path(root))) for guard in called), guards, phase)


def _expect_none(
    found: Iterable[tuple[Guardrail | Guard, str | None]], guards: Sequence[Guardrail | Guard], phase: GuardPhase
) -> None:
    """Raise the faults of guards, if there are any."""
    error = _error_of(phase)
    faults = [f"{describe_guard(guard)} {fault}" for guard, fault in found if fault is not None]
    if faults:
        count = f"{len(faults)} of {len(guards)} {phase} guards" if len(guards) > 1 else f"the {phase} guard"
        raise error(f"{count} did not hold: {'; '.join(faults)}")


def describe_guard(guard: Guardrail | Guard) -> str:
    """A guard as written in a task module; a callable by its name."""
    if not isinstance(guard, Guardrail):
        return _name_of(guard)
    counts = ""
    if guard.kind == "require_glob":
        least = 1 if guard.min_count is None else guard.min_count
        counts = "" if least == 1 else f", min_count={least}"
        counts += "" if guard.max_count is None else f", max_count={guard.max_count}"
    return f"{guard.kind}({guard.path!r}{counts})"


def _name_of(guard: object) -> str:
    if isinstance(guard, functools.partial):
        given = [*map(repr, guard.args), *(f"{name}={value!r}" for name, value in guard.keywords.items())]
        return f"{_name_of(guard.func)}({', '.join(given)})"
    name = getattr(guard, "__qualname__", None)
    if isinstance(name, str):
        return name.replace(".<locals>", "")  # a factory's
    shown = repr(guard)
    return type(guard).__qualname__ if " at 0x" in shown else shown


def _raised_by(guard: Guard, root: Path) -> str | None:
    try:
        returned: object = guard(root)  # type: ignore[func-returns-value] # a guard may be written wrong
    except KeyboardInterrupt:
        raise
    except BaseException as exc:  # noqa: BLE001 - a guard raises what is wrong, also SystemExit
        at = _place_of(exc, guard)
        return f"raised {': '.join(filter(None, [type(exc).__name__, text_of(exc)]))}{at}"
    return None if returned is None else f"returned {returned!r}; a guard must return None, or raise an error"


def _place_of(exc: BaseException, guard: Guard) -> str:
    """The line of the guard's file that raised, or called what did."""
    function = required(function_of(guard), "a declared guard is a function")
    frames = [
        frame for frame in traceback.extract_tb(exc.__traceback__) if frame.filename == function.__code__.co_filename
    ]
    return f" (at {frames[-1].filename}:{frames[-1].lineno})" if frames else ""


def _error_of(phase: GuardPhase) -> type[GuardrailViolation]:
    match phase:
        case "pre":
            return PreGuardrailViolation
        case "post":
            return PostGuardrailViolation
    raise ValueError(f"the phase of a guard is 'pre' or 'post', not {phase!r}")


def _fault(workspace: _Workspace, guard: Guardrail) -> str | None:
    match guard.kind:
        case "require_file":
            return _kind_fault(workspace, guard.path, "file")
        case "require_dir":
            return _kind_fault(workspace, guard.path, "directory")
        case "require_glob":
            return _count_fault(guard, workspace.inside(workspace.matches(guard.path)))
        case "forbid_glob":
            found = workspace.matches(guard.path)
            return f"matched {_paths(len(found))}: {_listed(found)}" if found else None


def _kind_fault(workspace: _Workspace, path: str, wanted: Literal["file", "directory"]) -> str | None:
    found = workspace.kind(path)
    if found == wanted:
        return None
    if found is None:
        return f"found no {wanted}: {workspace.near(path)}"
    article = "a " if found in ("file", "directory") else ""
    return f"found no {wanted}, but {article}{found}"


def _count_fault(guard: Guardrail, found: list[str]) -> str | None:
    least = 1 if guard.min_count is None else guard.min_count
    if len(found) < least:
        return f"matched {_paths(len(found))}, but at least {least} must match" + (
            f": {_listed(found)}" if found else ""
        )
    if guard.max_count is not None and len(found) > guard.max_count:
        return f"matched {_paths(len(found))}, but at most {guard.max_count} may match: {_listed(found)}"
    return None


def _paths(count: int) -> str:
    return {0: "nothing", 1: "1 path"}.get(count, f"{count} paths")


def _listed(paths: list[str]) -> str:
    shown = ", ".join(show_name(path) for path in paths[:_SHOWN])
    more = len(paths) - _SHOWN
    return shown + (f" and {more} more" if more > 0 else "")


class _Workspace:
    """A directory. Links out of it are never followed."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._real_root = os.path.realpath(root)

    def kind(self, path: str) -> str | None:
        """The kind of entry at a path, in words; None if there is none."""
        full = self._root / path
        if not self._is_inside(full):
            return "a symbolic link that leads out of the workspace"
        try:  # not `is_file` and the like: from Python 3.14 on, they say no where they cannot look
            mode = full.stat().st_mode
        except OSError as exc:
            if exc.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return f"an unreadable entry ({exc.strerror})"
            return "a broken symbolic link" if full.is_symlink() else None
        if stat.S_ISREG(mode):
            return "file"
        return "directory" if stat.S_ISDIR(mode) else "something that is neither a file nor a directory"

    def matches(self, pattern: str) -> list[str]:
        """The matching paths, relative to the root, sorted: those of `Path.glob`, except behind links out.

        Matches segment by segment, so that `Path.glob` never sees a directory outside.
        """
        found = {self._root}
        segments = pattern.split("/")
        for segment in segments[:-1]:
            found = {
                path
                for directory in self._entered(found)
                for path in directory.glob(segment)
                # "**" does not enter links, but from Python 3.13 on it matches them.
                if segment != "**" or path == directory or not path.is_symlink()
            }
        found = {path for directory in self._entered(found) for path in directory.glob(segments[-1])}
        return sorted(path.relative_to(self._root).as_posix() for path in found)

    def inside(self, paths: Iterable[str]) -> list[str]:
        """The paths that are not links out."""
        return [path for path in paths if self._is_inside(self._root / path)]

    def near(self, path: str) -> str:
        """For a message: the nearest existing directory, and names in it that are similar to the missing one."""
        segments = path.split("/")
        directory = self._root
        depth = 0
        while depth < len(segments) - 1 and self._enters(directory / segments[depth]):
            directory /= segments[depth]
            depth += 1
        if not self._enters(directory):
            return "the workspace's directory does not exist"
        where = "the workspace" if depth == 0 else show_name("/".join(segments[:depth]))
        names = list(islice(_names(directory), _MOST_LISTED))
        wanted = segments[depth]
        if wanted in names:
            return f"{show_name('/'.join(segments[: depth + 1]))} is not a directory"
        if not names:
            return f"{where} is empty"
        alike = difflib.get_close_matches(wanted, names, n=_SHOWN)
        return f"{where} has no {show_name(wanted)}, but {_listed(alike or sorted(names))}"

    def _entered(self, paths: Iterable[Path]) -> Iterator[Path]:
        return (path for path in paths if self._enters(path))

    def _enters(self, directory: Path) -> bool:
        try:
            return directory.is_dir() and self._is_inside(directory)
        except OSError:
            return False

    def _is_inside(self, path: Path) -> bool:
        real = os.path.realpath(path)
        return real == self._real_root or real.startswith(self._real_root.rstrip(os.sep) + os.sep)


def _names(directory: Path) -> Iterator[str]:
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                yield entry.name
    except OSError:
        return

"""A task's declaration of its workspace: prefix, patterns, guards, isolation. `tasks.guards` checks the guards."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FunctionType, MethodType
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, NonNegativeInt, field_validator, model_validator

WHOLE_REPOSITORY = "/"

_FIELD = re.compile(r"\{\{([A-Za-z_]\w*)\}\}|\{([A-Za-z_]\w*)\}")
"""A field of the params in a pattern, such as `{shard}`; `{{shard}}` stands for that name in braces."""

_FIELD_IN_CLASS = re.compile(r"\[[^\]/]*\{[A-Za-z_]\w*\}")

_WHOLE = frozenset({"**", "*", "**/*"})
"""Patterns of all paths."""

Isolation = Literal["serializable", "snapshot", "exclusive"]

GuardKind = Literal["require_file", "require_dir", "require_glob", "forbid_glob"]


def relative_posix_path(value: str, what: str) -> str:
    """Check a path or pattern from a task's author: relative, POSIX style, inside its root.

    Raises:
        ValueError: it is empty or absolute, or has a drive, a backslash, a NUL, or a segment "", "." or "..".
    """
    if len(value) > 1 and value[1] == ":" and value[0].isalpha():
        raise ValueError(f"{what} {value!r} must not have a drive; write it relative to the workspace prefix")
    return _inner_path(value, what)


def _inner_path(value: str, what: str) -> str:
    """As `relative_posix_path`, but drives are allowed: in a repository, "C:" is an ordinary name."""
    if not value:
        raise ValueError(f"{what} must not be empty")
    if "\0" in value:
        raise ValueError(f"{what} {value!r} must not contain a NUL character")
    if "\\" in value:
        raise ValueError(f"{what} {value!r} must not contain a backslash; write '/' instead")
    if value.startswith("/"):
        raise ValueError(f"{what} {value!r} must not be absolute; write it relative to the workspace prefix")
    if value.endswith("/"):
        raise ValueError(f"{what} {value!r} must not end with a slash; write {value.rstrip('/')!r}")
    for segment in value.split("/"):
        if segment in ("", ".", ".."):
            raise ValueError(f"{what} {value!r} must not have the segment {segment!r}; it must stay inside its root")
    return value


def fields_in(pattern: str) -> tuple[str, ...]:
    """The fields of the params that a pattern names, in order."""
    return tuple(found[2] for found in _FIELD.finditer(pattern) if found[2] is not None)


def _with_fields(pattern: str, value_of: Callable[[str], str]) -> str:
    """A pattern with values in the place of its fields. Other braces are taken as they are."""
    return _FIELD.sub(lambda found: f"{{{found[1]}}}" if found[2] is None else value_of(found[2]), pattern)


def _one_of(names: Sequence[str]) -> str:
    *others, last = map(repr, names)
    return f"{', '.join(others)} or {last}"


class Guardrail(BaseModel):
    """One guard on the files of a workspace. `require_file` and its siblings create it.

    Attributes:
        path: a path relative to the prefix; for the glob kinds, a pattern.
        min_count, max_count: bounds on the files that match a `require_glob`; None means no bound.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: GuardKind
    path: str
    min_count: NonNegativeInt | None = None
    max_count: NonNegativeInt | None = None

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, value: str) -> str:
        return relative_posix_path(value, "a guard's path")

    @model_validator(mode="after")
    def _pattern_is_one(self) -> Guardrail:
        # Before Python 3.13, pathlib refuses such a pattern, but only when it is used.
        if self.kind.endswith("glob") and any("**" in segment and segment != "**" for segment in self.path.split("/")):
            raise ValueError(f"pattern {self.path!r} is invalid: '**' must be a whole segment; within one, write '*'")
        return self

    @model_validator(mode="after")
    def _counts_fit(self) -> Guardrail:
        if self.min_count is not None and self.max_count is not None and self.min_count > self.max_count:
            raise ValueError(f"min_count {self.min_count} is larger than max_count {self.max_count}")
        return self


Guard = Callable[[Path], None]
"""A guard of the task's author. It is called with the workspace, and raises an error if something is wrong with it."""


def function_of(guard: object) -> FunctionType | None:
    """The Python function that a guard calls; None if it calls none written in Python."""
    match guard:
        case functools.partial():
            return function_of(guard.func)
        case MethodType():
            return function_of(guard.__func__)
        case FunctionType():
            return guard
    called = inspect.getattr_static(type(guard), "__call__", None)
    return called if isinstance(called, FunctionType) else None


def _check_guard(value: object) -> object:
    if isinstance(value, Guardrail | Mapping):
        return value
    wanted = "a guard is require_file(...) or one of its siblings, or a function (workspace: Path) -> None"
    if not callable(value) or isinstance(value, type):
        name = value.__qualname__ if isinstance(value, type) else ""
        fault = f"; {name} is a class, so give an instance of it" if name else f", not {value!r}"
        raise ValueError(wanted + fault)  # noqa: TRY004 - pydantic words a ValueError
    function = function_of(value)
    name = getattr(value, "__qualname__", None) or type(value).__qualname__
    if function is None:
        raise ValueError(f"{wanted}; {name} is not written in Python, so wrap it in a function")
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise ValueError(f"{wanted}; {name} is async or a generator, so that calling it checks nothing")
    try:
        inspect.signature(value).bind(Path())
    except TypeError as exc:
        raise ValueError(f"{wanted}; {name} cannot be called with the workspace alone: {exc}") from None
    return value


class WorkspaceSpec(BaseModel):
    """The part of a repository that a task works on, and its rules.

    Patterns, and the paths of guards, may name fields of the params: `raw/{shard}.parquet`. Each attempt fills them
    with the values of its own, which are text or numbers, and one segment of a path each.

    Attributes:
        prefix: directory of the repository that becomes the workspace's root; "/" is the whole repository. Surrounding
            blanks and leading slashes are dropped.
        pre, post: guards checked before and after the body: those that `require_file` and its siblings make, and any
            callable `(workspace: Path) -> None`, which raises an error if something is wrong. It must only read. It
            runs in a process like a body's.
        read_only: ignore the task's changes and complete with the input.
        isolation: what others may have committed since the input. "serializable": nothing that changed a file which
            the task could see (prefix, include, exclude), or would have seen; everything else is merged with.
            "snapshot": nothing that changed a path which the attempt changed. "exclusive": nothing at all.
        include, exclude: patterns (as in `pathlib`, with `**`) for paths below the prefix. Other paths are neither
            fetched nor changed. Without an include pattern, everything is included.
        outputs: patterns for what the task makes. What the body leaves there is the output: the body finds none of it,
            and what it does not write again is deleted. A change anywhere else fails the attempt. Default: the body
            changes what it likes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prefix: str = WHOLE_REPOSITORY
    pre: list[Annotated[Guardrail | Guard, BeforeValidator(_check_guard)]] = Field(default_factory=list)
    post: list[Annotated[Guardrail | Guard, BeforeValidator(_check_guard)]] = Field(default_factory=list)
    read_only: bool = False
    isolation: Isolation = "serializable"
    include: list[str] = Field(default_factory=list)
    exclude: list[str] = Field(default_factory=list)
    outputs: list[str] = Field(default_factory=list)

    @field_validator("isolation", mode="before")
    @classmethod
    def _isolation_is_one(cls, value: object) -> object:
        if value not in get_args(Isolation):
            raise ValueError(f"there is no isolation {value!r}; give {_one_of(get_args(Isolation))}")
        return value

    @field_validator("prefix")
    @classmethod
    def _normalized_prefix(cls, value: str) -> str:
        stripped = value.strip()
        if stripped == WHOLE_REPOSITORY:
            return stripped
        if not stripped:
            raise ValueError('a prefix must not be blank; for the whole repository, write "/"')
        return _inner_path(stripped.lstrip("/"), "a prefix")

    @field_validator("include", "exclude", "outputs")
    @classmethod
    def _patterns_stay_inside(cls, value: list[str]) -> list[str]:
        return [relative_posix_path(pattern, "a pattern") for pattern in value]

    @model_validator(mode="after")
    def _outputs_can_be_written(self) -> WorkspaceSpec:
        if self.outputs and self.read_only:
            raise ValueError("a read_only workspace has no outputs; remove read_only or outputs")
        if not _WHOLE.isdisjoint(self.outputs):
            raise ValueError(
                f"outputs {self.outputs} cover everything that is read; name what the task makes more closely"
            )
        return self

    @model_validator(mode="after")
    def _fields_are_in_no_class(self) -> WorkspaceSpec:
        for pattern in self._patterns():
            if _FIELD_IN_CLASS.search(pattern):
                raise ValueError(
                    f"pattern {pattern!r} has a field within [...], where its letters would be matched one by one; "
                    f"write the field outside, or a brace as [{{]"
                )
        return self

    def _patterns(self) -> list[str]:
        guards = [guard.path for guard in (*self.pre, *self.post) if isinstance(guard, Guardrail)]
        return [*self.include, *self.exclude, *self.outputs, *guards]

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of the params that its patterns and guards name, without repetition."""
        return tuple(dict.fromkeys(name for pattern in self._patterns() for name in fields_in(pattern)))

    def filled(self, value_of: Callable[[str], str]) -> WorkspaceSpec:
        """With values in the place of fields."""
        if not any(map(_FIELD.search, self._patterns())):
            return self

        def guards(given: list[Guardrail | Guard]) -> list[Guardrail | Guard]:
            return [
                guard.model_copy(update={"path": _with_fields(guard.path, value_of)})
                if isinstance(guard, Guardrail)
                else guard
                for guard in given
            ]

        patterns = {
            name: [_with_fields(pattern, value_of) for pattern in getattr(self, name)]
            for name in ("include", "exclude", "outputs")
        }
        return self.model_copy(update={**patterns, "pre": guards(self.pre), "post": guards(self.post)})

    @property
    def of_any_params(self) -> WorkspaceSpec:
        """What its attempts can touch, whatever their params: with a wildcard in the place of each field, and without
        an exclusion that depends on one.
        """
        always = [pattern for pattern in self.exclude if not fields_in(pattern)]
        return self.model_copy(update={"exclude": always}).filled(lambda _: "*")

    @property
    def laid_out(self) -> WorkspaceSpec:
        """What the body finds: all that it reads, without its outputs."""
        if not self.outputs:
            return self
        return self.model_copy(update={"exclude": [*self.exclude, *self.outputs], "outputs": []})

    @property
    def touched(self) -> WorkspaceSpec:
        """What an attempt reads or writes."""
        if not self.outputs:
            return self
        include = [*self.include, *self.outputs] if self.include else []
        return self.model_copy(update={"include": include, "outputs": []})

    @property
    def made(self) -> WorkspaceSpec:
        """The outputs alone. Only for a task that declares some: without a pattern, everything is meant."""
        return self.model_copy(update={"include": self.outputs, "outputs": []})

    @property
    def root(self) -> str:
        """The prefix in object names: "" for the whole repository, else "a/b/"."""
        return "" if self.prefix == WHOLE_REPOSITORY else self.prefix + "/"

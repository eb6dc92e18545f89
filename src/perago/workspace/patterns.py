"""The paths of a workspace that belong to an attempt: include and exclude patterns, compiled once.

Patterns are those of `pathlib`, matched against the whole relative path: `*`, `?` and `[...]` match within a segment;
`**` as a segment matches any number of segments, also zero. Names with a leading dot are ordinary. A pattern that
matches a directory matches everything below it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from perago.values.spec import WorkspaceSpec, fields_in

_ANY_SEGMENTS = "**"
WILDCARDS = frozenset("*?[")
"""Characters that make a segment match more than itself."""


class Selection:
    """What is included and not excluded. Without include patterns, everything is included.

    Args:
        include, exclude: relative patterns, POSIX style, checked by `WorkspaceSpec`.
    """

    __slots__ = ("_excluded", "_included", "_on_the_way")

    def __init__(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        self._included = _compile([_matches(pattern) for pattern in include])
        self._on_the_way = _compile([_leads_to(pattern) for pattern in include])
        self._excluded = _compile([_matches(pattern) for pattern in exclude])

    def selects(self, path: str) -> bool:
        """Whether a file at this path belongs to the workspace."""
        if self.excludes(path):
            return False
        return self._included is None or self._included.match(path) is not None

    def excludes(self, path: str) -> bool:
        """Whether an exclude pattern matches this path."""
        return self._excluded is not None and self._excluded.match(path) is not None

    def enters(self, directory: str) -> bool:
        """Whether a path below this directory can be selected. If not, the directory need not be read."""
        if self.excludes(directory):
            return False
        if self._included is None or self._on_the_way is None:
            return True
        return bool(self._included.match(directory) or self._on_the_way.match(directory))


def fixed_directory(pattern: str) -> str:
    """The directory that holds all that a pattern can match: the segments before its first wildcard, without the last
    segment of all; "" for the root.
    """
    fixed = []
    for segment in pattern.split("/")[:-1]:
        if WILDCARDS & set(segment):
            break
        fixed.append(segment)
    return "/".join(fixed)


def covers(one: str, other: str) -> bool:
    """Whether a pattern certainly matches all that another one does: it is the same, or a directory around it."""
    directory = one.removesuffix("/**")
    return one == other or (not WILDCARDS & set(directory) and other.startswith(f"{directory}/"))


def may_meet(one: str, other: str, *, fields_differ: bool = False) -> bool:
    """Whether two patterns may match one path; false only if they certainly do not.

    Args:
        fields_differ: they are of two items with different params, so that segments which name the same field differ.
    """
    for mine, theirs in zip(one.split("/"), other.split("/"), strict=False):
        if _ANY_SEGMENTS in (mine, theirs):
            return True
        is_plain = not WILDCARDS & set(mine + theirs)
        if fields_differ and is_plain and mine == theirs and len(fields_in(mine)) == 1:
            return False
        if is_plain and mine != theirs and not fields_in(mine) and not fields_in(theirs):
            return False
    return True  # the shorter one may be a directory


def may_see(spec: WorkspaceSpec, changed: WorkspaceSpec) -> bool:
    """Whether a file that another workspace has may belong to a task's; false only if it certainly does not."""

    def patterns(of: WorkspaceSpec) -> list[str]:
        return [of.root + pattern for pattern in of.include or [_ANY_SEGMENTS]]

    def is_left_out(pattern: str, of: WorkspaceSpec) -> bool:
        return any(covers(of.root + excluded, pattern) for excluded in of.exclude)

    seen = [pattern for pattern in patterns(spec) if not is_left_out(pattern, changed)]
    made = [pattern for pattern in patterns(changed) if not is_left_out(pattern, spec)]
    return any(may_meet(one, other) for one in seen for other in made)


def visible_to(spec: WorkspaceSpec) -> Callable[[str], bool]:
    """Whether a file of the repository, given by its whole path, belongs to a task's workspace.

    A name that ends in "/" is no file there.
    """
    selection, root = Selection(spec.include, spec.exclude), spec.root

    def sees(path: str) -> bool:
        return path.startswith(root) and not path.endswith("/") and selection.selects(path[len(root) :])

    return sees


def _compile(alternatives: list[str]) -> re.Pattern[str] | None:
    if not alternatives:
        return None
    return re.compile("|".join(f"(?:{alternative})" for alternative in alternatives), re.DOTALL)


def _matches(pattern: str) -> str:
    """A regular expression for the paths that the pattern matches, and for everything below them."""
    parts = []
    segments = _segments(pattern)
    for index, segment in enumerate(segments):
        if segment != _ANY_SEGMENTS:
            parts.append(_segment_expression(segment) + ("" if index == len(segments) - 1 else "/"))
        elif index < len(segments) - 1:
            parts.append("(?:[^/]+/)*?")
        elif index > 0:
            # "a/**" matches "a" itself, whose separator is already written, and everything below it.
            parts[-1] = parts[-1].removesuffix("/")
    return "".join(parts) + r"(?:/|\Z)" if segments != [_ANY_SEGMENTS] else ""


def _leads_to(pattern: str) -> str:
    """A regular expression for the directories above the paths that the pattern can match."""
    leading: list[str] = []
    for segment in _segments(pattern)[:-1]:
        if segment == _ANY_SEGMENTS:
            return _nested(leading, "(?:/.*)?" if leading else ".*")
        leading.append(_segment_expression(segment))
    return _nested(leading, "")


def _nested(segments: list[str], end: str) -> str:
    """`a`, `a/b`, `a/b/c` …: the first segment, any number of the others, then `end`."""
    if not segments:
        return end + r"\Z" if end else "(?!)"
    expression = end
    for segment in reversed(segments[1:]):
        expression = f"(?:/{segment}{expression})?"
    return segments[0] + expression + r"\Z"


def _segments(pattern: str) -> list[str]:
    """The pattern's segments. Adjacent `**` are merged, which also prevents excessive backtracking."""
    segments: list[str] = []
    for segment in pattern.split("/"):
        if segment != _ANY_SEGMENTS or segments[-1:] != [_ANY_SEGMENTS]:
            segments.append(segment)
    return segments


def _segment_expression(segment: str) -> str:
    parts: list[str] = []
    position = 0
    while position < len(segment):
        character = segment[position]
        position += 1
        if character == "*":
            if parts[-1:] != ["[^/]*"]:
                parts.append("[^/]*")
        elif character == "?":
            parts.append("[^/]")
        elif character == "[" and (end := _class_end(segment, position)) is not None:
            parts.append(_class_expression(segment[position:end]))
            position = end + 1
        else:
            parts.append(re.escape(character))
    return "".join(parts)


def _class_end(segment: str, start: int) -> int | None:
    """The end of the class that starts before `start`: a `]` that is not its first character. None if there is none."""
    first = start + 1 if segment[start : start + 1] == "!" else start
    end = segment.find("]", first + 1)
    return None if end < 0 else end


def _class_expression(body: str) -> str:
    """`[abc]`, `[a-z]`, `[!x]` without the brackets. A range with reversed ends matches nothing."""
    negated = body.startswith("!")
    characters = body[1:] if negated else body
    items = []
    position = 0
    while position < len(characters):
        low = characters[position]
        if characters[position + 1 : position + 2] == "-" and position + 2 < len(characters):
            high = characters[position + 2]
            items += [f"{re.escape(low)}-{re.escape(high)}"] if low <= high else []
            position += 3
        else:
            items.append(re.escape(low))
            position += 1
    if negated:
        return f"[^/{''.join(items)}]"
    return f"(?!/)[{''.join(items)}]" if items else "(?!)"

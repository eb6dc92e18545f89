"""What an attempt warns of although it goes on: given or written, and without effect.

Each is attributes of a phase's progress event, none where there is nothing to warn of. `telemetry.logs.caution_of` has
the words.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from perago.tasks.declare import TaskDefinition
from perago.tasks.params import unknown_params
from perago.values.names import MAX_SHOWN_CHARACTERS, show_name
from perago.values.spec import WorkspaceSpec
from perago.workspace.patterns import Selection
from perago.workspace.scan import FileStat

MAX_SHOWN = 3
"""Names that a warning shows; the others are counted."""

MAX_KNOWN = 20
"""Params of a task that a warning names."""

Caution = Mapping[str, Any]


def such_as(paths: Collection[str]) -> list[str]:
    """The first of some paths, as a message may hold them."""
    return [show_name(path) for path in sorted(paths)[:MAX_SHOWN]]


def of_unknown_params(task: TaskDefinition, given: Mapping[str, Any]) -> Caution:
    """Params that the task ignores."""
    unknown, known = unknown_params(task, given)
    if not unknown:
        return {}
    shown = [repr(name[:MAX_SHOWN_CHARACTERS]) for name in unknown[:MAX_SHOWN]]
    return {"unknown_params": len(unknown), "such_as": shown, "known": known[:MAX_KNOWN]}


def of_read_only_writes(before: Mapping[str, FileStat], after: Mapping[str, FileStat]) -> Caution:
    """Files of a read_only task's workspace that were added, changed or deleted.

    What was changed within one tick of the file system's clock, and kept its size, is not seen.
    """
    changed = [path for path in before.keys() | after.keys() if before.get(path) != after.get(path)]
    return {"not_published": len(changed), "such_as": such_as(changed)} if changed else {}


@dataclass(frozen=True)
class Unmatched:
    """What of a workspace's selection no file was found for.

    Attributes:
        prefix: below which there is no file; "": there is one, or it is the whole repository.
        include: patterns that match no file.
    """

    prefix: str
    include: Mapping[str, Selection] = field(default_factory=dict)

    @classmethod
    def by(cls, spec: WorkspaceSpec, paths: Iterable[str]) -> Self:
        """What the paths of a workspace leave unmatched."""
        return cls(spec.root, {pattern: Selection([pattern]) for pattern in spec.include}).without(paths)

    def without(self, paths: Iterable[str]) -> Self:
        """What further paths leave unmatched."""
        prefix, include = self.prefix, dict(self.include)
        for path in paths:
            prefix = ""
            if not include:
                break
            include = {pattern: alone for pattern, alone in include.items() if not alone.selects(path)}
        return type(self)(prefix, include)

    @property
    def caution(self) -> Caution:
        """A prefix without a file is reason enough for patterns that match none."""
        if self.prefix:
            return {"empty_prefix": self.prefix}
        return {"unmatched": list(self.include)} if self.include else {}

"""A value that only a run can tell, where it is foretold what a workflow would do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class Unknown:
    """Stands in a JSON value for one that is not known.

    Attributes:
        of: reference names of the tasks that it depends on, with those of the sub-workflows that they are in.
    """

    __slots__ = ("of",)

    def __init__(self, of: Iterable[str]) -> None:
        self.of = tuple(dict.fromkeys(of))


def unknowns_in(value: object) -> tuple[str, ...]:
    """The tasks that a JSON value depends on; none if all of it is known."""
    match value:
        case Unknown():
            return value.of
        case Mapping():
            parts: Iterable[object] = value.values()
        case list() | tuple():
            parts = value
        case _:
            return ()
    return tuple(dict.fromkeys(name for part in parts for name in unknowns_in(part)))

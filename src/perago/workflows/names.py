"""The reference names of a workflow that is being built: unique, and free of a map's numbered ones."""

from __future__ import annotations

import re

from perago.errors import WorkflowDefinitionError
from perago.workflows.standin import here

_NOT_A_NAME = re.compile(r"\W")


class ReferenceNames:
    """The names taken so far."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._maps: set[str] = set()

    def free(self, wanted: str | None, otherwise: str) -> str:
        """Take a name: the wanted one, else another one with a number if it is taken.

        Raises:
            WorkflowDefinitionError: the wanted one is taken, or is no name.
        """
        name = self._not_a_map(_NOT_A_NAME.sub("_", otherwise)) if wanted is None else wanted
        if wanted is not None and (_NOT_A_NAME.search(wanted) or not wanted or wanted == "workflow"):
            raise WorkflowDefinitionError(
                f"{here()}: ref_={wanted!r} is no reference name; use letters, digits and '_', and not 'workflow'"
            )
        if wanted is not None and self._is_taken(wanted):
            raise WorkflowDefinitionError(f"{here()}: two tasks have the reference name {wanted!r}; rename one")
        number, free = 1, name
        while self._is_taken(free) or free == "workflow":
            number += 1
            free = f"{name}_{number}"
        self._names.add(free)
        return free

    def free_for_map(self, wanted: str | None, otherwise: str) -> str:
        """As `free`, for a map, whose numbered names are free as well."""
        name = self.free(wanted, otherwise)
        numbered = next((other for other in sorted(self._names) if _is_numbered(other, name)), None)
        if numbered is not None and wanted is not None:
            raise WorkflowDefinitionError(
                f"{here()}: map {name!r} and another task have the reference name {numbered!r}; rename one with ref_"
            )
        if numbered is not None:
            return self.free_for_map(None, f"{name}_map")
        self._maps.add(name)
        return name

    def _is_taken(self, name: str) -> bool:
        return name in self._names or any(_is_numbered(name, one) for one in self._maps)

    def _not_a_map(self, name: str) -> str:
        """A name whose numbers are not those of a map's tasks."""
        while name in self._maps:
            name = f"{name}_more"
        return name


def _is_numbered(name: str, of: str) -> bool:
    """Whether a name is that of a task of a map."""
    return name.startswith(f"{of}_") and name.removeprefix(f"{of}_").isdecimal()

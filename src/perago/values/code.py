"""The version of a task's code, as its git repository names it."""

from __future__ import annotations

from dataclasses import dataclass

_SHORT = 12


@dataclass(frozen=True)
class CodeVersion:
    """A commit of the repository that a task's code is in.

    Attributes:
        commit: full id of the checked-out commit.
        is_dirty: whether the files that the code digest covers differ from it.
    """

    commit: str
    is_dirty: bool

    @property
    def text(self) -> str:
        """For people: "1f2e3d4c5b6a", "1f2e3d4c5b6a (dirty)"."""
        return self.commit[:_SHORT] + (" (dirty)" if self.is_dirty else "")


@dataclass(frozen=True, kw_only=True)
class TaskSource:
    """Where the code of a task is, and how it reads.

    Attributes:
        text: source of the task's function, secrets masked; None if it has none, or more than
            `tasks.task_source.MAX_CHARACTERS`.
        repository: URL of its git repository, without credentials; path: of the function's file in it; version: see
            `tasks.code_version`. None if the code is in none, or that names no other one as `origin`.
    """

    text: str | None = None
    repository: str | None = None
    path: str | None = None
    version: CodeVersion | None = None

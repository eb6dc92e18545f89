"""What a person calls a commit (a branch, a tag, the beginning of an id) as its full id."""

from __future__ import annotations

import re
import shlex

import pygit2

from perago.errors import RefNotFoundError
from perago.stores.git.repository import GIT_FAULTS, BareRepository

_TOO_SHORT = re.compile("[0-9a-f]{1,3}")
"""The beginning of an id that is none to git, however few objects there are."""


def resolve(repository: BareRepository, ref: str) -> str:
    """Full id of the commit that `ref` names now, in any way that `git rev-parse` takes.

    Raises:
        RepositoryNotFoundError: there is no repository.
        RefNotFoundError: it names nothing, more than one object, or no commit.
    """
    handle = repository.handle
    try:
        return str(handle.revparse_single(ref).peel(pygit2.Commit).id)
    except GIT_FAULTS as exc:
        fault = f"there is no commit {ref!r}"
        if _TOO_SHORT.fullmatch(ref):
            fault = f"there is no commit, branch or tag {ref!r}; an id needs at least 4 digits"
        elif "ambiguous" in str(exc):
            fault = f"more than one object may be meant by {ref!r}"
        listing = shlex.join(["perago", "log", "--repo", str(repository.path), "--branch", "BRANCH"])
        raise RefNotFoundError(
            f"in repository {repository.path} {fault}. Give a commit id, a branch or a tag; `{listing}` lists commits"
        ) from None

"""Resolving a person's name for a commit (a branch, a tag, the beginning of an id) to its full id."""

from __future__ import annotations

import re
import shlex

import pygit2

from perago.errors import RefNotFoundError
from perago.stores.git.repository import GIT_FAULTS, BareRepository

_TOO_SHORT = re.compile("[0-9a-f]{1,3}")
"""Too short for the beginning of an id in git."""


def resolve(repository: BareRepository, ref: str) -> str:
    """Full id of the commit that `ref` names now, in any form that `git rev-parse` accepts.

    Raises:
        RepositoryNotFoundError: there is no repository.
        RefNotFoundError: it names nothing, several objects, or something that is not a commit.
    """
    handle = repository.handle
    try:
        return str(handle.revparse_single(ref).peel(pygit2.Commit).id)
    except GIT_FAULTS as exc:
        fault = f"there is no commit {ref!r}"
        if _TOO_SHORT.fullmatch(ref):
            fault = f"there is no commit, branch or tag {ref!r}; an id needs at least 4 digits"
        elif "ambiguous" in str(exc):
            fault = f"{ref!r} can mean more than one object"
        listing = shlex.join(["perago", "log", "--repo", str(repository.path), "--branch", "BRANCH"])
        raise RefNotFoundError(
            f"in repository {repository.path} {fault}. Give a commit id, a branch or a tag; `{listing}` lists commits"
        ) from None

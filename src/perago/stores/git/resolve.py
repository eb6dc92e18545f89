"""What a person calls a commit (a branch, a tag, the beginning of an id) as its full id."""

from __future__ import annotations

import shlex

import pygit2

from perago.errors import RefNotFoundError
from perago.stores.git.repository import GIT_FAULTS, Repository


def resolve(repository: Repository, ref: str) -> str:
    """Full id of the commit that `ref` names now, in any way that `git rev-parse` takes.

    Raises:
        RepositoryNotFoundError: there is no repository.
        RefNotFoundError: it names nothing, more than one object, or no commit.
    """
    handle = repository.handle
    try:
        return str(handle.revparse_single(ref).peel(pygit2.Commit).id)
    except GIT_FAULTS as exc:
        fault = "more than one object may be meant by" if "ambiguous" in str(exc) else "there is no commit"
        listing = shlex.join(["perago", "log", "--repo", str(repository.path), "--branch", "BRANCH"])
        raise RefNotFoundError(
            f"in repository {repository.path} {fault} {ref!r}. Give a commit id, a branch or a tag; "
            f"`{listing}` lists commits"
        ) from None

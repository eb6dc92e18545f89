"""Writing a commit, and its author."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pygit2
from pygit2.enums import ObjectType

from perago.ports import Clock
from perago.stores.git.objects import ObjectWriter
from perago.stores.git.repository import BareRepository, translated

_KEYS = ("user.name", "user.email")
_NAME, _EMAIL = "Perago", "perago@localhost"
_NOT_IN_A_NAME = re.compile(r"[<>\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Identity:
    """The author of a commit, as git writes it: without angle brackets or line ends."""

    name: str
    email: str

    @classmethod
    def of(cls, repository: BareRepository) -> Identity:
        """git's user.name and user.email for this repository, if both are set and UTF-8; else Perago's own.

        Raises:
            StoreError: git's settings cannot be read.
        """
        with translated("making a commit", repository.path):
            config = repository.handle.config
            name, email = (_value(config, key) for key in _KEYS)
        return cls(name, email) if name and email else cls(_NAME, _EMAIL)


def _value(config: pygit2.Config, key: str) -> str:
    try:
        return _NOT_IN_A_NAME.sub("", config[key] or "").strip()
    except (KeyError, UnicodeDecodeError):
        return ""


def write_commit(
    writer: ObjectWriter, *, tree: str, parents: Sequence[str], identity: Identity, message: str, clock: Clock
) -> str:
    """Add a commit object. Returns its id. It is not on any branch yet."""
    who = f"{identity.name} <{identity.email}> {int(clock.now().timestamp())} +0000"
    lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
    lines += [f"author {who}", f"committer {who}", "", message.replace("\0", " ")]
    return writer.write(ObjectType.COMMIT, "\n".join(lines).encode("utf-8", "replace"))

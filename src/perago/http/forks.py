"""Loops and connections that a fork inherits but must neither use nor end, because its parent still uses them."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forked(Protocol):
    """An object with descriptors, threads or locks."""

    def leave_to_parent(self) -> None:
        """Called first in a fork: drop what belongs to the parent, and `keep` it."""
        ...


_opened: weakref.WeakSet[Forked] = weakref.WeakSet()
_kept: list[object] = []


def tell_forks(opened: Forked) -> None:
    """Call `leave_to_parent` in every fork from now on."""
    _opened.add(opened)


def keep(value: object) -> None:
    """Hold a reference for the lifetime of this fork. Releasing the object would run cleanup that is the parent's."""
    _kept.append(value)


def _after_fork() -> None:
    for opened in list(_opened):
        opened.leave_to_parent()


os.register_at_fork(after_in_child=_after_fork)

"""What a fork inherits and may neither use nor end: loops and connections that its parent goes on with."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forked(Protocol):
    """Something that has descriptors, threads or locks."""

    def leave_to_parent(self) -> None:
        """Called in a fork, before anything else: forget what is the parent's, and `keep` it."""
        ...


_opened: weakref.WeakSet[Forked] = weakref.WeakSet()
_kept: list[object] = []


def tell_forks(opened: Forked) -> None:
    """Have `leave_to_parent` called in every fork from now on."""
    _opened.add(opened)


def keep(value: object) -> None:
    """Hold an object for as long as this fork lives: to drop it would run what the parent has yet to run."""
    _kept.append(value)


def _after_fork() -> None:
    for opened in list(_opened):
        opened.leave_to_parent()


os.register_at_fork(after_in_child=_after_fork)

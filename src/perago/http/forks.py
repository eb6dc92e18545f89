"""What a fork inherits and may neither use nor end: loops and connections whose descriptors its parent goes on with.

To close such a connection, or to let the interpreter's end do it, would take it out of the parent's selector as well,
and the parent would wait for it for ever.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from typing import Protocol


class Forked(Protocol):
    """Something that has descriptors."""

    def leave_to_parent(self) -> None:
        """Called in a fork, before anything else: forget what is the parent's, and `keep` it."""
        ...


_opened: weakref.WeakSet[Forked] = weakref.WeakSet()


def tell_forks(opened: Forked) -> None:
    """Have `leave_to_parent` called in every fork from now on."""
    _opened.add(opened)


def keep(value: object) -> None:
    """Never end an object, not even at the interpreter's end, which ends modules and what they hold."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))


def _after_fork() -> None:
    for opened in list(_opened):
        opened.leave_to_parent()


os.register_at_fork(after_in_child=_after_fork)

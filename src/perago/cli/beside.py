"""Files that appear in the current directory while a body runs there: a body that has changed nothing in its workspace
has taken the one for the other."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress

MAX_ENTRIES = 1000
"""Entries of the current directory from which on nobody looks at them."""

MAX_SHOWN = 3

Entries = Mapping[str, tuple[int, int]]
"""Name -> size in bytes, and time of the last change in nanoseconds since the epoch."""


def current_entries() -> Entries | None:
    """What the current directory holds, without what is below its directories. None: too much, or it cannot be read.

    Left out are hidden names, bytecode, and what stdout and stderr are written to.
    """
    own = set()
    for descriptor in (1, 2):
        with suppress(OSError):
            state = os.fstat(descriptor)
            own.add((state.st_dev, state.st_ino))
    found: dict[str, tuple[int, int]] = {}
    try:
        with os.scandir() as entries:
            for count, entry in enumerate(entries):
                if count >= MAX_ENTRIES:
                    return None
                state = entry.stat(follow_symlinks=False)
                if not entry.name.startswith((".", "__pycache__")) and (state.st_dev, state.st_ino) not in own:
                    found[entry.name] = (state.st_size, state.st_mtime_ns)
    except OSError:
        return None
    return found


def written_since(before: Entries | None) -> tuple[str, ...]:
    """Names of the current directory that are new or changed since then, sorted."""
    now = current_entries()
    if before is None or now is None:
        return ()
    return tuple(sorted(name for name, state in now.items() if before.get(name) != state))


def beside_note(names: tuple[str, ...]) -> str:
    """What to tell of them."""
    shown = ", ".join(repr(name) for name in names[:MAX_SHOWN])
    more = f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
    return (
        f"The body wrote in the current directory, which is not its workspace: {shown}{more}. Have it write below the "
        f"path that it is given, such as workspace / {names[0]!r}."
    )

"""The file systems of this process, from /proc/self/mountinfo: proc(5)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

TRUSTED = frozenset({"btrfs", "ext3", "ext4", "overlay", "xfs"})
"""File systems that stamp each change of a file with the time of this system's clock. Those of a network have the clock
of another host, and show a change late."""

_ESCAPED = re.compile(rb"\\([0-7]{3})")


class Mount(NamedTuple):
    place: bytes
    kind: str


def mounts() -> list[Mount]:
    """Every mount, in the order in which they were made.

    Raises:
        OSError, ValueError: this system does not tell.
    """
    found = []
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        fields = line.split(b" ")
        kind = fields[fields.index(b"-") + 1].decode("ascii", "replace")
        found.append(Mount(_ESCAPED.sub(lambda match: bytes([int(match[1], 8)]), fields[4]), kind))
    return found


def kind_at(path: bytes, all_mounts: list[Mount]) -> str:
    """The kind of file system that a path without links is on; "" if that cannot be told."""
    kind, longest = "", -1
    for mount in all_mounts:
        if len(mount.place) >= longest and _is_below(path, mount.place):  # a later mount covers an earlier one
            kind, longest = mount.kind, len(mount.place)
    return kind


def has_mounts(path: bytes, all_mounts: list[Mount]) -> bool:
    """Whether anything is mounted on a directory or below it."""
    return any(_is_below(mount.place, path) for mount in all_mounts)


def _is_below(path: bytes, above: bytes) -> bool:
    return path == above or path.startswith(above.rstrip(b"/") + b"/")

"""What is known of a warm workspace: each file that was laid out, with its stat of then.

One file, written when the attempt has ended, outside of what the body works in.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from perago.errors import WorkspaceStorageError
from perago.files.storage import OWNER_ONLY, opened_file, storage_errors
from perago.workspace.manifest import Manifest, ManifestEntry
from perago.workspace.owner import boot_id
from perago.workspace.scan import FileStat
from perago.workspace.warm.clock import STEADY_NS, clock_offset_ns

FORMAT = "perago-warm-1"
_MAX_HEAD_BYTES = 4096


class System(NamedTuple):
    """What must not have changed since a workspace was laid out: else its stats say nothing.

    Attributes:
        boot_id: of this host; "" if that is unknown.
        device: number of the file system.
        clock_offset_ns: see `clock`.
    """

    boot_id: str
    device: int
    clock_offset_ns: int

    @classmethod
    def of(cls, root: Path) -> System:
        """This system, with the file system of a workspace root."""
        return cls(boot_id() or "", root.stat().st_dev, clock_offset_ns())

    def is_same(self, other: System) -> bool:
        return (
            bool(self.boot_id)
            and (self.boot_id, self.device) == (other.boot_id, other.device)
            and abs(self.clock_offset_ns - other.clock_offset_ns) <= STEADY_NS
        )


@dataclass(frozen=True, slots=True)
class Record:
    """The files of a warm workspace.

    Attributes:
        system: when they were laid out.
        manifest: their stats, before any body could change them.
        contents: what was laid out at each path, see `ports.Source`.
    """

    system: System
    manifest: Manifest
    contents: Mapping[str, str]

    def save(self, path: Path) -> None:
        """Write it to a new file: one line of JSON, then a column after the other, which takes a third of the memory.

        Raises:
            WorkspaceStorageError: the disk refused.
        """
        entries = [self.manifest.entries[path] for path in self.contents]
        stats = [entry.stat for entry in entries]
        columns = [
            "\0".join(self.contents).encode("utf-8", "surrogateescape"),
            "\n".join(self.contents.values()).encode("ascii"),
            "\n".join(entry.digest for entry in entries).encode("ascii"),
            array("Q", (stat.size for stat in stats)).tobytes(),
            array("q", (stat.mtime_ns for stat in stats)).tobytes(),
            array("q", (stat.ctime_ns for stat in stats)).tobytes(),
            array("Q", (stat.inode for stat in stats)).tobytes(),
            bytes(stat.executable for stat in stats),
        ]
        numbers = [self.manifest.taken_at_ns, self.manifest.tick_ns, len(entries)]
        head = json.dumps([FORMAT, _sum(columns), self.system, *numbers, [len(column) for column in columns]])
        with storage_errors("cannot write", path):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNER_ONLY)
            with os.fdopen(descriptor, "wb") as file:
                file.write(head.encode("ascii") + b"\n")
                file.writelines(columns)

    @classmethod
    def load(cls, path: Path) -> Record:
        """Read what `save` wrote.

        Raises:
            WorkspaceStorageError: it is missing, damaged, or of another version.
        """
        with storage_errors("cannot read", path):
            try:
                with opened_file(path) as opened, io.BufferedReader(opened) as file:
                    return cls._parse(file)
            except (ValueError, TypeError, OverflowError, RecursionError) as exc:
                raise WorkspaceStorageError(f"{path} is damaged, or of another version: {exc}") from exc

    @classmethod
    def _parse(cls, file: BinaryIO) -> Record:
        named, total, system, taken_at_ns, tick_ns, count, lengths = json.loads(file.readline(_MAX_HEAD_BYTES))
        columns = [file.read(length) for length in lengths]
        if (named, total) != (FORMAT, _sum(columns)):
            raise ValueError(f"its sum is not {total!r}")
        paths, contents, digests, *numbers, executable = columns
        names = paths.decode("utf-8", "surrogateescape").split("\0") if count else []
        stats = map(
            FileStat,
            *(array(code, column) for code, column in zip("QqqQ", numbers, strict=True)),
            map(bool, executable),
        )
        entries = dict(zip(names, map(ManifestEntry, stats, _lines(digests, count)), strict=True))
        manifest = Manifest(taken_at_ns, entries, tick_ns)
        return cls(System(*system), manifest, dict(zip(names, _lines(contents, count), strict=True)))


def _lines(column: bytes, count: int) -> list[str]:
    return column.decode("ascii").split("\n") if count else []


def _sum(columns: Iterable[bytes]) -> str:
    """Shows damage by a disk."""
    found = hashlib.blake2b(digest_size=16)
    for column in columns:
        found.update(column)
    return found.hexdigest()

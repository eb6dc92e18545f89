"""What is known of a warm workspace: each file that was laid out, with its stat of then.

One file, written when the attempt has ended, outside of what the body works in.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path
from typing import NamedTuple

from perago.errors import WorkspaceStorageError
from perago.files.storage import opened_file, storage_errors, write_whole
from perago.ports import Source
from perago.workspace.manifest import Manifest
from perago.workspace.owner import boot_id
from perago.workspace.scan import FileStat
from perago.workspace.warm.clock import STEADY_NS, clock_offset_ns

FORMAT = "perago-warm-1"


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


class LaidOut(NamedTuple):
    """One file that was laid out.

    Attributes:
        content: see `ports.Source`.
        digest: of the content, see `workspace.digest`.
        stat: before any body could change the file.
    """

    content: str
    digest: str
    stat: FileStat


@dataclass(frozen=True, slots=True)
class Record:
    """The files of a warm workspace, by path.

    Attributes:
        system: when they were laid out.
        taken_at_ns, tick_ns: see `Manifest`.
    """

    system: System
    taken_at_ns: int
    tick_ns: int
    files: Mapping[str, LaidOut]

    @classmethod
    def of(cls, manifest: Manifest, sources: Mapping[str, Source], system: System) -> Record:
        """Of what is in the manifest of a workspace, and was laid out by a store."""
        files = {
            path: LaidOut(sources[path].content, entry.digest, entry.stat)
            for path, entry in manifest.entries.items()
            if path in sources
        }
        return cls(system, manifest.taken_at_ns, manifest.tick_ns, files)

    def is_racy(self, stat: FileStat) -> bool:
        """See `Manifest.is_racy`."""
        return max(stat.mtime_ns, stat.ctime_ns) >= self.taken_at_ns - self.tick_ns

    def save(self, path: Path) -> None:
        """Write it, completely or not at all.

        Raises:
            WorkspaceStorageError: the disk refused.
        """
        columns = [
            list(self.files),
            [file.content for file in self.files.values()],
            [file.digest for file in self.files.values()],
            [file.stat for file in self.files.values()],
        ]
        body = json.dumps([self.system, self.taken_at_ns, self.tick_ns, columns], separators=(",", ":"))
        with storage_errors("cannot write", path):
            write_whole(path, [f"{FORMAT} {_sum(body)}\n", body, "\n"])

    @classmethod
    def load(cls, path: Path) -> Record:
        """Read what `save` wrote.

        Raises:
            WorkspaceStorageError: it is missing, damaged, or of another version.
        """
        with storage_errors("cannot read", path):
            try:
                with opened_file(path) as file:
                    return cls._parse(file.readall().decode("ascii"))
            except (ValueError, TypeError, RecursionError) as exc:
                raise WorkspaceStorageError(f"{path} is damaged, or of another version: {exc}") from exc

    @classmethod
    def _parse(cls, text: str) -> Record:
        head, _, body = text.partition("\n")
        body = body.removesuffix("\n")
        if head != f"{FORMAT} {_sum(body)}":
            raise ValueError(head[:100])
        system, taken_at_ns, tick_ns, (paths, contents, digests, stats) = json.loads(body)
        if not len(paths) == len(contents) == len(digests) == len(stats):
            raise ValueError("columns of different lengths")
        files = dict(zip(paths, map(LaidOut, contents, digests, starmap(FileStat, stats)), strict=True))
        return cls(System(*system), taken_at_ns, tick_ns, files)


def _sum(body: str) -> str:
    return hashlib.blake2b(body.encode("ascii"), digest_size=16).hexdigest()

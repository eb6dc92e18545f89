"""What the tests of the object cache have in common."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from perago.workspace.cache import ObjectCache

MIB = 1 << 20


def md5(content: bytes) -> str:
    return "md5:" + hashlib.md5(content).hexdigest()


def sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def content_of(number: int, size: int) -> bytes:
    """Content that a key's number tells, so that any process can check it."""
    block = hashlib.sha256(b"%d" % number).digest()
    return (block * (size // len(block) + 1))[:size]


def keep_file(cache: ObjectCache, key: str, path: Path, size: int, digest: str) -> bool:
    """Keep what a file holds while it is read."""
    with path.open("rb") as file:
        copy = cache.begin(file.fileno(), size)
        if copy is None:
            return False
        at = 0
        while piece := file.read(100_000):
            copy.write(piece, at)
            at += len(piece)
        return cache.end(copy, key, digest)


def home(cache: ObjectCache) -> Path:
    return cache.directory / "objects-1"


def entry_files(cache: ObjectCache) -> list[Path]:
    return sorted(path for path in (home(cache) / "entries").glob("??/*"))


def partial_files(cache: ObjectCache) -> list[Path]:
    return [path for path in (home(cache) / "partial").glob("*/*") if path.name != "lock"]


def has(cache: ObjectCache, key: str, size: int, directory: Path) -> bool:
    """Whether the cache lays it out; the file goes again."""
    target = directory / f"probe-{os.urandom(8).hex()}"
    digest = cache.lay_out(key, size, str(target))
    assert target.exists() == (digest is not None)
    target.unlink(missing_ok=True)
    return digest is not None

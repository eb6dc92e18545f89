"""References without a valid id, as a power failure can leave them. libgit2 skips them when it lists references."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pygit2

from perago.stores.git.repository import git_command, translated
from perago.values.findings import Finding, Kind

_SOUND = re.compile(rb"(?!0{40})[0-9a-fA-F]{40}(?:\s|\Z)|ref:\s*refs/\S")
_LAST_LOGGED = re.compile(rb"(?m)^[0-9a-f]{40} (?!0{40})([0-9a-f]{40}) ")
"""The reference's target after each line of its reflog."""


def damaged_references(path: Path) -> Iterator[Finding]:
    """Check each reference's file on disk. No git command can update such a reference before its file is removed."""
    for file in (path / "HEAD", *_files(path / "refs")):
        name = file.relative_to(path).as_posix()
        is_reference = name == "HEAD" or (pygit2.reference_is_valid_name(name) and file.is_file())
        content = _content(file) if is_reference else None
        if content is not None and not _SOUND.match(content):
            yield Finding(
                kind=Kind.DAMAGED_BRANCH if name.startswith("refs/heads/") else Kind.DAMAGED_REFERENCE,
                what=name.removeprefix("refs/heads/"),
                why=f"its file {file} does not contain a commit id. {_advice(path, file, name)}",
            )


def _advice(path: Path, file: Path, name: str) -> str:
    if name == "HEAD":
        return f"Restore it with `echo 'ref: refs/heads/main' > {shlex.quote(str(file))}`, or another branch's name"
    logged = _LAST_LOGGED.findall(_content(path / "logs" / name) or b"")
    found = (
        f"Its last commit is {logged[-1].decode()}, according to {path / 'logs' / name}"
        if logged
        else (f"{git_command(path, 'fsck', '--lost-found')} shows unreferenced commits, which include its last one")
    )
    update = git_command(path, "update-ref", name, logged[-1].decode() if logged else "COMMIT").strip("`")
    return f"{found}. Restore it with `rm {shlex.quote(str(file))} && {update}`"


def _files(directory: Path) -> Iterator[Path]:
    """All files below a directory. Skips directories that vanish, as git's do with their last reference."""
    for root, _, names in os.walk(directory):
        yield from (Path(root, name) for name in names)


def _content(file: Path) -> bytes | None:
    """A file's content, or None if it is gone. An attempt that ends removes its own reference."""
    absent = suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError)
    with translated(f"reading {file}", file), absent:
        return file.read_bytes()
    return None

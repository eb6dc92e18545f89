"""References that name nothing, as a power cut may leave them: libgit2 passes over them where it lists references."""

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
"""What the reference pointed at after a line of its reflog."""


def damaged_references(path: Path) -> Iterator[Finding]:
    """Look at what lies on disk of each reference. No command of git's moves such a one before its file is gone."""
    for file in (path / "HEAD", *_files(path / "refs")):
        name = file.relative_to(path).as_posix()
        is_reference = name == "HEAD" or (pygit2.reference_is_valid_name(name) and file.is_file())
        content = _content(file) if is_reference else None
        if content is not None and not _SOUND.match(content):
            yield Finding(
                kind=Kind.DAMAGED_BRANCH if name.startswith("refs/heads/") else Kind.DAMAGED_REFERENCE,
                what=name.removeprefix("refs/heads/"),
                why=f"its file {file} holds no commit's id. {_mend(path, file, name)}",
            )


def _mend(path: Path, file: Path, name: str) -> str:
    if name == "HEAD":
        return f"Put it back with `echo 'ref: refs/heads/main' > {shlex.quote(str(file))}`, or another branch's name"
    logged = _LAST_LOGGED.findall(_content(path / "logs" / name) or b"")
    found = (
        f"Its last commit is {logged[-1].decode()}, as {path / 'logs' / name} has it"
        if logged
        else (
            f"{git_command(path, 'fsck', '--lost-found')} shows the commits that nothing names, its last one among them"
        )
    )
    update = git_command(path, "update-ref", name, logged[-1].decode() if logged else "COMMIT").strip("`")
    return f"{found}. Put it back with `rm {shlex.quote(str(file))} && {update}`"


def _files(directory: Path) -> Iterator[Path]:
    """All files below; a directory that goes meanwhile, as git's do with their last reference, is passed over."""
    for root, _, names in os.walk(directory):
        yield from (Path(root, name) for name in names)


def _content(file: Path) -> bytes | None:
    """None: there is no file. It may be gone since it was listed: an attempt that ends takes its own reference away."""
    absent = suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError)
    with translated(f"reading {file}", file), absent:
        return file.read_bytes()
    return None

"""References that name nothing, as a power cut may leave them: libgit2 passes over them where it lists references."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pygit2

from perago.findings import Finding, Kind
from perago.stores.git.repository import git_command, translated

_SOUND = re.compile(rb"(?!0{40})[0-9a-f]{40}(?:\s|\Z)|ref:\s*refs/\S")
_LAST_LOGGED = re.compile(rb"(?m)^[0-9a-f]{40} (?!0{40})([0-9a-f]{40}) ")
"""What the reference pointed at after a line of its reflog."""


def damaged_references(path: Path) -> Iterator[Finding]:
    """Look at what lies on disk of each reference. No command of git's moves such a one before its file is gone."""
    for file in (path / "HEAD", *(path / "refs").rglob("*")):
        name = file.relative_to(path).as_posix()
        is_reference = name == "HEAD" or (pygit2.reference_is_valid_name(name) and file.is_file())
        if is_reference and not _SOUND.match(_content(file)):
            yield Finding(
                kind=Kind.DAMAGED_BRANCH if name.startswith("refs/heads/") else Kind.DAMAGED_REFERENCE,
                what=name.removeprefix("refs/heads/"),
                why=f"its file {file} holds no commit's id. {_mend(path, file, name)}",
            )


def _mend(path: Path, file: Path, name: str) -> str:
    if name == "HEAD":
        return f"Put it back with `echo 'ref: refs/heads/main' > {shlex.quote(str(file))}`, or another branch's name"
    logged = _LAST_LOGGED.findall(_content(path / "logs" / name))
    found = (
        f"Its last commit is {logged[-1].decode()}, as {path / 'logs' / name} has it"
        if logged
        else (
            f"{git_command(path, 'fsck', '--lost-found')} shows the commits that nothing names, its last one among them"
        )
    )
    update = git_command(path, "update-ref", name, logged[-1].decode() if logged else "COMMIT").strip("`")
    return f"{found}. Put it back with `rm {shlex.quote(str(file))} && {update}`"


def _content(file: Path) -> bytes:
    with translated(f"reading {file}", file), suppress(FileNotFoundError):
        return file.read_bytes()
    return b""

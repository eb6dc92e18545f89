"""The only judge of object names: which names may become file names below a workspace.

A versioned store can hold names that a file system cannot take, or that lead out of the workspace directory. Perago
refuses such a name before it writes anything, and never changes a name to make it fit.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from perago.errors import ObjectNameError

MAX_NAME_BYTES = 1024
"""Bytes of a name in UTF-8; the limit of lakeFS and S3. A longer name could not be stored everywhere."""

MAX_SEGMENT_BYTES = 255
"""Bytes of one path segment in UTF-8; NAME_MAX of ext4, XFS, APFS and most file systems."""

MAX_SHOWN_CHARACTERS = 120
"""Characters of a name that a message shows."""


@dataclass(frozen=True)
class Words:
    """The wording of advice, which differs between a task's author and a person at a command.

    Attributes:
        place: what contains the files.
        root: where that lies on disk, without an article.
        means: the way to leave out a file.
        where: another place to correct the files, as the start of a sentence.
        keep: what to do if the directory itself is gone.
    """

    place: str
    root: str
    means: str
    where: str
    keep: str

    @property
    def mend(self) -> str:
        """Advice about one name."""
        return f"rename it, or {self.leave_out('it')}"

    def leave_out(self, what: str) -> str:
        return f"leave {what} out with {self.means}"


FOR_TASKS = Words(
    place="the workspace",
    root="workspace root",
    means="the workspace's include and exclude patterns",
    where="In the task",
    keep="the task may empty it, but must leave the directory itself",
)
FOR_IMPORT = Words(
    place="the directory",
    root="directory",
    means="--exclude PATTERN",
    where="There",
    keep="put it back",
)
FOR_EXPORT = Words(
    place="the directory",
    root="directory",
    means="a --prefix that does not contain it",
    where="In the repository",
    keep="put it back",
)


@dataclass(frozen=True)
class Folding:
    """The differences between names that a file system ignores.

    Attributes:
        case: upper and lower case.
        unicode: composed and decomposed spellings of one character (NFC and NFD).
    """

    case: bool = False
    unicode: bool = False


EXACT = Folding()
"""A file system that distinguishes all names."""

# One match for the usual name: printable ASCII but backslash, segments of 1 to 255 that are not "." or "..", no drive.
_ORDINARY = re.compile(r"(?![A-Za-z]:)(?:(?!\.\.?(?:/|\Z))[ -.0-\[\]-~]{1,255}(?:/(?!\Z)|\Z))+")
_DRIVE = re.compile(r"[A-Za-z]:")

_FORBIDDEN = (
    (re.compile("\0"), "contains a NUL character"),
    (re.compile("[\r\n\x85\u2028\u2029]"), "contains a line break"),
    (re.compile("[\x00-\x1f\x7f-\x9f]"), "contains a control character"),
    (
        re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"),
        "contains a bidirectional control character, which can make it look like another name",
    ),
    (re.compile("[\ud800-\udfff]"), "is not valid UTF-8"),
    (re.compile("\ufffd"), "contains U+FFFD, which replaces bytes that are not valid UTF-8"),
    (re.compile(r"\\"), "contains a backslash, which is a separator on other systems"),
)

# Spellings that git, libgit2 and `git fsck` treat as `.git`. NTFS drops trailing dots and spaces, knows it as `git~1`,
# and allows a stream name after a colon; HFS+ ignores some code points. Sources: git's path.c (is_ntfs_dotgit), utf8.c.
_DOT_GIT = re.compile(r"(?:\A|/)(?:\.git|git~1)[. ]*(?:[:/]|\Z)", re.IGNORECASE | re.ASCII)
_HFS_IGNORED = dict.fromkeys([*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF])


def show_name(name: str) -> str:
    """A name for messages: quoted, non-ASCII escaped, cut at `MAX_SHOWN_CHARACTERS`."""
    shown = ascii(name[: MAX_SHOWN_CHARACTERS + 1])
    cut = len(name) > MAX_SHOWN_CHARACTERS or len(shown) > MAX_SHOWN_CHARACTERS
    return shown[: MAX_SHOWN_CHARACTERS - 3] + "..." if cut else shown


def stands_for_directory(name: str, size: int) -> bool:
    """Whether an object is a directory marker, as the S3 console and Spark create: empty, with a name that ends in "/".

    A workspace ignores it: it is neither laid out, nor changed, nor deleted.
    """
    return size == 0 and name.endswith("/")


def name_fault(name: str) -> str | None:
    """Why a name may not become a path below a workspace, as the end of a sentence; None if it may."""
    if len(name) <= MAX_NAME_BYTES and _ORDINARY.fullmatch(name):
        return None
    if not name:
        return "is empty"
    for pattern, fault in _FORBIDDEN:
        if pattern.search(name):
            return fault
    return _shape_fault(name) or _size_fault(name)


def check_object_name(name: str, words: Words = FOR_TASKS, *, prefix: str = "") -> None:
    """Refuse a name that is unsafe or ambiguous as a file name below a workspace.

    Args:
        prefix: the task's own prefix of the name. A drive in it is allowed, because the workspace lies below it.

    Raises:
        ObjectNameError: shows the escaped name and the reason.
    """
    fault = name_fault(name.replace(":", "_", 1) if _DRIVE.match(prefix) else name)
    if fault is not None:
        raise ObjectNameError(f"object name {show_name(name)} {fault}; {words.mend}")


class CheckName(Protocol):
    """Refuses one name, as `check_object_name`."""

    def __call__(self, name: str, words: Words, /, *, prefix: str) -> None: ...


def check_object_names(
    names: Iterable[str],
    folding: Folding = EXACT,
    words: Words = FOR_TASKS,
    *,
    prefix: str = "",
    check: CheckName = check_object_name,
) -> None:
    """Check names that belong in one workspace: each name alone, then all together.

    Args:
        check: checks one name.
        prefix: as in `check_object_name`.
        names: object names relative to the workspace; iterated once.
        folding: the differences that the file system ignores; see `workspace.folding.probe_folding`.

    Raises:
        ObjectNameError: a name is refused, is a duplicate, is both a file and a directory, or clashes with another
            name on that file system.
    """
    files: set[str] = set()
    for name in names:
        check(name, words, prefix=prefix)
        if name in files:
            raise ObjectNameError(f"object name {show_name(name)} appears twice; the listing is damaged")
        files.add(name)
    directories = directories_above(files)
    both = files & directories
    if both:
        name = min(both)
        child = min(other for other in files if other.startswith(name + "/"))
        raise ObjectNameError(
            f"object name {show_name(name)} is both a file and a directory, because of {show_name(child)}; "
            f"rename one of them, or {words.leave_out('it')}"
        )
    if folding != EXACT:
        _check_folding(files | directories, folding, words)


def check_git_name(name: str, words: Words = FOR_TASKS, *, prefix: str = "") -> None:
    """As `check_object_name`, and also refuse names that a git tree cannot hold.

    Raises:
        ObjectNameError: as `check_object_name`, or a segment is a spelling of `.git` that git refuses.
    """
    check_object_name(name, words, prefix=prefix)
    spelled = name if name.isascii() else name.translate(_HFS_IGNORED)
    if _DOT_GIT.search(spelled):
        raise ObjectNameError(
            f"object name {show_name(name)} has a segment that git reads as '.git', which git trees cannot hold; "
            f"{words.mend}"
        )


def _shape_fault(name: str) -> str | None:
    if name.startswith("/"):
        return "starts with '/'"
    if name.endswith("/"):
        return "ends with '/'"
    if _DRIVE.match(name):
        return f"starts with the drive {name[:2]!r}"
    for segment in name.split("/"):
        if segment in ("", ".", ".."):
            return f"has the segment {segment!r}"
    return None


def _size_fault(name: str) -> str | None:
    size = len(name.encode())
    if size > MAX_NAME_BYTES:
        return f"is {size} bytes long; the limit is {MAX_NAME_BYTES}"
    longest = max(len(segment.encode()) for segment in name.split("/"))
    if longest > MAX_SEGMENT_BYTES:
        return f"has a segment of {longest} bytes; the limit is {MAX_SEGMENT_BYTES}"
    return None


def directories_above(files: Iterable[str]) -> set[str]:
    """All directories above files, by their paths, without the root."""
    found: set[str] = set()
    for name in files:
        directory = name.rpartition("/")[0]
        while directory and directory not in found:
            found.add(directory)
            directory = directory.rpartition("/")[0]
    return found


def _check_folding(paths: Iterable[str], folding: Folding, words: Words) -> None:
    by_key: dict[str, str] = {}
    for path in sorted(paths):
        other = by_key.setdefault(_folded(path, folding), path)
        if other != path:
            raise ObjectNameError(
                f"{show_name(other)} and {show_name(path)} are the same name on this file system, which does not "
                f"distinguish {_folded_away(folding)}; rename one of them, {words.leave_out('it')}, or put the "
                f"{words.root} on a file system that does"
            )


def _folded(path: str, folding: Folding) -> str:
    """A key that is equal for paths that the file system may treat as one. Folds too much rather than too little:
    Unicode's full case folding covers more than some file systems do."""
    if folding.unicode and not path.isascii():
        path = unicodedata.normalize("NFD", path)
    if folding.case:
        path = path.casefold()
        if folding.unicode and not path.isascii():
            path = unicodedata.normalize("NFD", path)  # folding can leave composed characters behind
    return path


def _folded_away(folding: Folding) -> str:
    kinds = [("upper and lower case", folding.case), ("composed and decomposed characters", folding.unicode)]
    return " or ".join(what for what, folds in kinds if folds)

"""The only judge of object names: which of them may become file names below a workspace, and which may not.

A versioned store holds names that no file system can take, or that would lead out of the workspace directory. They are
refused whole, before anything is written; no name is ever changed to make it fit.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from perago.errors import ObjectNameError

MAX_NAME_BYTES = 1024
"""Bytes of a whole name in UTF-8: lakeFS and S3 allow no more, so a longer one could not be stored everywhere."""

MAX_SEGMENT_BYTES = 255
"""Bytes of one segment in UTF-8: NAME_MAX of ext4, XFS, APFS and nearly every other file system."""

MAX_SHOWN_CHARACTERS = 120
"""Characters of a name that a message shows."""


@dataclass(frozen=True)
class Words:
    """What a message can advise: a task's author and a person at a command have different things in their hands.

    Attributes:
        place: what holds the files.
        root: where that lies on disk, without an article.
        means: by what one of them can be left out.
        where: where else they can be mended, as the beginning of a sentence.
        keep: what to do where the directory itself is gone.
    """

    place: str
    root: str
    means: str
    where: str
    keep: str

    @property
    def mend(self) -> str:
        """What to do about one name."""
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
    keep="put it there again",
)
FOR_EXPORT = Words(
    place="the directory",
    root="directory",
    means="a --prefix that does not hold it",
    where="In the repository",
    keep="put it there again",
)


@dataclass(frozen=True)
class Folding:
    """What a file system does not tell apart.

    Attributes:
        case: upper and lower case.
        unicode: composed and decomposed spellings of one character (NFC and NFD).
    """

    case: bool = False
    unicode: bool = False


EXACT = Folding()
"""A file system that keeps all names apart."""

# The usual name, in one look: printable ASCII but backslash, segments of 1 to 255 that are not "." or "..", no drive.
_ORDINARY = re.compile(r"(?![A-Za-z]:)(?:(?!\.\.?(?:/|\Z))[ -.0-\[\]-~]{1,255}(?:/(?!\Z)|\Z))+")
_DRIVE = re.compile(r"[A-Za-z]:")

_FORBIDDEN = (
    (re.compile("\0"), "holds a NUL character"),
    (re.compile("[\r\n\x85\u2028\u2029]"), "holds a line break"),
    (re.compile("[\x00-\x1f\x7f-\x9f]"), "holds a control character"),
    (
        re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"),
        "holds a bidirectional control character, which makes a name read as another one",
    ),
    (re.compile("[\ud800-\udfff]"), "is not valid UTF-8"),
    (re.compile("\ufffd"), "holds U+FFFD, which stands for bytes that are not valid UTF-8"),
    (re.compile(r"\\"), "holds a backslash, which is a separator on other systems"),
)

# What git, libgit2 and `git fsck` take for `.git`: NTFS drops trailing dots and spaces, knows it as `git~1`, and lets a
# stream's name follow a colon; HFS+ ignores some code points. Lists: git's path.c (is_ntfs_dotgit) and utf8.c.
_DOT_GIT = re.compile(r"(?:\A|/)(?:\.git|git~1)[. ]*(?:[:/]|\Z)", re.IGNORECASE | re.ASCII)
_HFS_IGNORED = dict.fromkeys([*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF])


def show_name(name: str) -> str:
    """A name as a message may hold it: quoted, in ASCII, everything else escaped, cut at `MAX_SHOWN_CHARACTERS`."""
    shown = ascii(name[: MAX_SHOWN_CHARACTERS + 1])
    cut = len(name) > MAX_SHOWN_CHARACTERS or len(shown) > MAX_SHOWN_CHARACTERS
    return shown[: MAX_SHOWN_CHARACTERS - 3] + "..." if cut else shown


def stands_for_directory(name: str, size: int) -> bool:
    """Whether an object is no file but the sign of a directory, as the S3 console and Spark leave it: it is empty, and
    its name ends with a slash. No workspace holds it; it is neither laid out, nor changed, nor deleted.
    """
    return size == 0 and name.endswith("/")


def name_fault(name: str) -> str | None:
    """Why a name may not become a path below a workspace, as the end of a sentence; None: it may."""
    if len(name) <= MAX_NAME_BYTES and _ORDINARY.fullmatch(name):
        return None
    if not name:
        return "is empty"
    for pattern, fault in _FORBIDDEN:
        if pattern.search(name):
            return fault
    return _shape_fault(name) or _size_fault(name)


def check_object_name(name: str, words: Words = FOR_TASKS, *, prefix: str = "") -> None:
    """Refuse a name that could not be laid out as a file below a workspace, or not without doubt.

    Args:
        prefix: what the name begins with by a task's own word. Its drive is none where the workspace lies below it.

    Raises:
        ObjectNameError: with the name, shown safely, and the fault.
    """
    fault = name_fault(name.replace(":", "_", 1) if _DRIVE.match(prefix) else name)
    if fault is not None:
        raise ObjectNameError(f"object name {show_name(name)} {fault}; {words.mend}")


def check_object_names(
    names: Iterable[str], folding: Folding = EXACT, words: Words = FOR_TASKS, *, prefix: str = ""
) -> None:
    """Check names that are to lie in one workspace: each by itself, and all of them together.

    Args:
        prefix: as in `check_object_name`.
        names: object names relative to the workspace; read once.
        folding: what the workspace's file system does not tell apart; see `workspace.folding.probe_folding`.

    Raises:
        ObjectNameError: a name is refused by itself, comes twice, is both a file and a directory, or cannot lie beside
            another one on that file system.
    """
    files: set[str] = set()
    for name in names:
        check_object_name(name, words, prefix=prefix)
        if name in files:
            raise ObjectNameError(f"object name {show_name(name)} comes twice; the listing it is from is damaged")
        files.add(name)
    directories = _directories(files)
    both = files & directories
    if both:
        name = min(both)
        child = min(other for other in files if other.startswith(name + "/"))
        raise ObjectNameError(
            f"object name {show_name(name)} is a file, and a directory too, because of {show_name(child)}; "
            f"rename one of them, or {words.leave_out('it')}"
        )
    if folding != EXACT:
        _check_folding(files | directories, folding, words)


def check_git_name(name: str, words: Words = FOR_TASKS, *, prefix: str = "") -> None:
    """Check a name as `check_object_name` does, and that a git tree may hold it.

    Raises:
        ObjectNameError: as `check_object_name`, or a segment is `.git` in a spelling that git refuses.
    """
    check_object_name(name, words, prefix=prefix)
    spelled = name if name.isascii() else name.translate(_HFS_IGNORED)
    if _DOT_GIT.search(spelled):
        raise ObjectNameError(
            f"object name {show_name(name)} has a segment that git reads as '.git', which no git tree can hold; "
            f"{words.mend}"
        )


def _shape_fault(name: str) -> str | None:
    if name.startswith("/"):
        return "begins with '/'"
    if name.endswith("/"):
        return "ends with '/'"
    if _DRIVE.match(name):
        return f"begins with the drive {name[:2]!r}"
    for segment in name.split("/"):
        if segment in ("", ".", ".."):
            return f"has the segment {segment!r}"
    return None


def _size_fault(name: str) -> str | None:
    size = len(name.encode())
    if size > MAX_NAME_BYTES:
        return f"is {size} bytes long, and {MAX_NAME_BYTES} is the limit"
    longest = max(len(segment.encode()) for segment in name.split("/"))
    if longest > MAX_SEGMENT_BYTES:
        return f"has a segment of {longest} bytes, and {MAX_SEGMENT_BYTES} is the limit"
    return None


def _directories(files: Iterable[str]) -> set[str]:
    """All directories above the files, without the root."""
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
                f"{show_name(other)} and {show_name(path)} are one name on this file system, which does not tell apart "
                f"{_folded_away(folding)}; rename one of them, {words.leave_out('it')}, or put the "
                f"{words.root} on a file system that keeps them apart"
            )


def _folded(path: str, folding: Folding) -> str:
    """Equal for paths that the file system may take for one. Rather too much is folded than too little: Unicode's full
    case folding is more than some file systems do."""
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

"""Files of packages other than modules: tables, templates, compiled extensions."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, NoReturn

from perago.tasks.code import MAX_BYTES, MAX_ENTRIES, MAX_FILES
from perago.tasks.sources.untold import UntoldError

_NO_DATA = (".py", ".pyc")


def file_digest(path: str | Path) -> str:
    """`sha256:<hex>` of a file's bytes.

    Raises:
        OSError: it cannot be read.
    """
    with Path(path).open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


class PackageData(NamedTuple):
    """The data files of a package.

    Attributes:
        digests: of each, as `<package>/<path>`.
        places: their paths, and those of the directories that were listed.
    """

    digests: Mapping[str, str]
    places: frozenset[str]


@lru_cache(maxsize=1024)
def data_of(package: str, folders: tuple[str, ...]) -> PackageData:
    """The data files of a package. Read once per process; see `cache_clear`.

    A link to a file counts by the content of that file. A link to a directory is not followed.

    Raises:
        UntoldError: the package has more than `MAX_FILES`, `MAX_BYTES` or `MAX_ENTRIES`, or cannot be read.
    """
    found: dict[str, list[str]] = {}
    places = set(folders)
    count = size = 0
    try:
        for name, path in entries_below(package, folders):
            places.update(map(os.fspath, path.parents[: name.count("/") + 1]))
            if name.endswith(_NO_DATA) or not path.is_file():
                continue
            places.add(os.fspath(path))
            count, size = count + 1, size + path.stat().st_size
            if count > MAX_FILES or size > MAX_BYTES:
                raise UntoldError(f"package {package!r} has more than {MAX_FILES} data files or {MAX_BYTES} bytes")
            found.setdefault(f"{package}/{name}", []).append(file_digest(path))
    except OSError as exc:
        raise UntoldError(f"the data of package {package!r} cannot be read: {exc}") from exc
    # Two portions of a namespace package may have a file with the same name.
    return PackageData({name: " ".join(sorted(digests)) for name, digests in sorted(found.items())}, frozenset(places))


def entries_below(package: str, folders: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """The files below the folders of a package, with their path in the package.

    Hidden directories are left out. They hold the state of tools, such as git's, an editor's or a type checker's, and
    of Perago itself, if the package is a project's whole directory. Every commit and every run would change them.

    Raises:
        UntoldError: there are more than `MAX_ENTRIES`.
        OSError: a directory cannot be listed.
    """
    seen = 0
    for folder in folders:
        for directory, subdirectories, names in os.walk(folder, onerror=_fail):
            seen += len(subdirectories) + len(names)
            if seen > MAX_ENTRIES:
                raise UntoldError(f"package {package!r} has more than {MAX_ENTRIES} files and directories")
            subdirectories[:] = sorted(name for name in subdirectories if name[0] != "." and name != "__pycache__")
            for name in sorted(names):
                path = Path(directory, name)
                yield path.relative_to(folder).as_posix(), path


def _fail(error: OSError) -> NoReturn:
    raise error

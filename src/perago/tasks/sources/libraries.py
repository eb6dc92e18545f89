"""The installed distributions that modules come from, with their versions."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution, packages_distributions

from perago.tasks.sources.untold import UntoldError

_REQUIREMENT = re.compile(r"\s*(?P<name>[A-Za-z0-9][\w.-]*)\s*(?:\[(?P<extras>[^]]*)\])?")
_EXTRA = re.compile(r"""\bextra\s*==\s*['"]([^'"]+)['"]""")


def forget_libraries() -> None:
    """Look again at what is installed."""
    for cached in (_owners, _namesake_of, _distribution):
        cached.cache_clear()


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """The version of each distribution that has one of these packages, and of those that it requires, by its name.

    Args:
        packages: top-level names of installed modules. Several distributions may share one.

    Raises:
        UntoldError: a package belongs to no distribution.
    """
    waiting = [(owner, "") for package in sorted(packages) for owner in _owners_of(package)]
    seen = set(waiting)
    versions: dict[str, str] = {}
    while waiting:
        name, extra = waiting.pop()
        found = _distribution(name)
        if found is None:  # for another platform, or missing
            continue
        versions[name] = _version(found)
        further = [each for each in _required(found, extra) if each not in seen]
        waiting += further
        seen.update(further)
    return dict(sorted(versions.items()))


def is_editable(package: str) -> bool:
    """Whether an installed package is somebody's source: its files may change, and its version stay.

    Most editable installations lie elsewhere. Some have links or compiled modules among the installed packages.
    """
    found = [_distribution(owner) for owner in _namesake_of(package) or _owners().get(package, ())]
    return bool(found) and all(each is not None and _is_editable(each) for each in found)


def _owners_of(package: str) -> Sequence[str]:
    owners = _namesake_of(package) or _owners().get(package)
    if not owners:
        raise UntoldError(f"module {package!r} is installed, but belongs to no distribution")
    return owners


@lru_cache(maxsize=4096)
def _namesake_of(package: str) -> Sequence[str]:
    """The distribution with the package's own name, if it contains the package. Empty otherwise.

    A shortcut: searching all distributions takes 0.1 s. A package with an `__init__` belongs to one distribution; a
    namespace package, which several can share, has no `__init__`.
    """
    name = _normalized(package)
    found = _distribution(name)
    own = (f"{package}/__init__.py", f"{package}.py")
    files = (found.read_text("RECORD") or "").splitlines() if found is not None else []
    return [name] if any(line.partition(",")[0] in own for line in files) else []


@cache
def _owners() -> Mapping[str, Sequence[str]]:
    """The distributions of each top-level name. It takes a tenth of a second."""
    return {package: sorted({*map(_normalized, names)}) for package, names in packages_distributions().items()}


@lru_cache(maxsize=4096)
def _distribution(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _required(found: Distribution, extra: str) -> Iterator[tuple[str, str]]:
    """What a distribution requires always, or for one of its extras, as (name, extra of that)."""
    for line in found.requires or ():
        requirement, _, marker = line.partition(";")
        match = _REQUIREMENT.match(requirement)
        extras = _EXTRA.findall(marker)
        if match is None or (extras and extra not in map(_normalized, extras)):
            continue
        name = _normalized(match["name"])
        yield name, ""
        yield from ((name, _normalized(each.strip())) for each in (match["extras"] or "").split(",") if each.strip())


def _version(found: Distribution) -> str:
    """The version; for what was installed from a directory, a repository or an address, with a digest of its files.

    Only an index promises that a version is one content.
    """
    if found.read_text("direct_url.json") is None:
        return found.version
    lines = (found.read_text("RECORD") or "").splitlines()
    # Scripts and the notes of the installer differ with the place of the environment.
    files = sorted(line for line in lines if not line.startswith("..") and ".dist-info/" not in line and "=" in line)
    digest = hashlib.sha256("\n".join(files).encode())
    return f"{found.version} sha256:{digest.hexdigest()}"


def _is_editable(found: Distribution) -> bool:
    try:
        origin = json.loads(found.read_text("direct_url.json") or "{}")
        return bool(origin.get("dir_info", {}).get("editable", False))
    except (ValueError, AttributeError):
        return False

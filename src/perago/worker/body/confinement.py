"""Confines a body's process to what was laid out for it, or notes what it reaches besides.

What it may read is computed here: the interpreter, the modules, and what any program needs of the system. What it may
write is its workspace, and a private directory with its temporary files and its home.
"""

from __future__ import annotations

import functools
import json
import os
import stat
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from perago.worker.body.reach import Places, Watch
from perago.worker.process.capabilities import give_up
from perago.worker.process.landlock import ALL, READ, Right, restrict
from perago.worker.process.messages import Confinement

MAX_MODULES = 1_000
"""Modules and packages of one directory of `sys.path` that a body may import."""

Allowed = tuple[tuple[str, Right], ...]
"""Paths with their rights. A link stands beside what it leads to: the kernel knows one of them, a message the other."""

_DEVICE = Right.READ_FILE | Right.WRITE_FILE | Right.TRUNCATE | Right.IOCTL_DEV | Right.READ_DIR
_SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/nix/store", "/var/cache/fontconfig")
_KERNEL = (
    "/proc",  # as a whole, for a rule on /proc/self holds for one process and not for those that it starts
    *("/sys/devices/system", "/sys/fs/cgroup", "/sys/kernel/mm"),
)
_NAME_SERVERS = ("/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager/resolv.conf")
_DEVICES = (
    *("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx", "/dev/pts"),
    *("/dev/dri", "/dev/kfd"),
)
KEPT = frozenset(
    {
        *("PATH", "LANG", "LANGUAGE", "TZ", "TERM", "COLORTERM", "COLUMNS", "LINES", "USER", "LOGNAME", "SHELL"),
        *("HOSTNAME", "VIRTUAL_ENV", "CONDA_PREFIX", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "MPLBACKEND"),
        *("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"),
    }
)
KEPT_FAMILIES = (
    "LC_",
    "OMP_",
    "MKL_",
    "OPENBLAS_",
    "BLIS_",
    "NUMEXPR_",
    "NUMBA_",
    "KMP_",
    "GOMP_",
    "PYTHON",
    "MALLOC_",
)
"""The environment of a confined body: these variables, and those whose names begin so. docs/sandbox.md lists them."""


def confine(confinement: Confinement | None, targets: Iterable[str], system: Allowed | None = None) -> Watch:
    """From here on, this process reaches only what the confinement lets it, or what else it reaches is noted.

    Args:
        confinement: None for neither.
        targets: of its tasks, whose modules it imports. They are found by `sys.path`.
        system: what another process has found by `system_access`. Default: found here.

    Raises:
        OSError: the kernel refused.
    """
    if confinement is None:
        return Watch()
    common = common_access(frozenset(targets), system)
    own = _of_task(confinement)
    watch = Watch(
        common.readable.with_(_paths(own, Right.READ_FILE)),
        common.writable.with_(_paths(own, Right.WRITE_FILE)),
        passed_over=common.passed_over,
        tcp=confinement.network,
        follows=confinement.mode == "report",
        sources=common.sources,
        notes=confinement.private,
    )
    if confinement.mode == "enforce":
        sys.dont_write_bytecode = True
        watch.withheld = _make_private(confinement, os.environ)
        sys.meta_path.append(_Modules(common.importable))
        _link_modules(common.importable, Path(confinement.short, "modules"), os.environ)
        give_up()
        restrict((*common.allowed, *own), tcp=confinement.network)
    sys.addaudithook(watch.look)
    return watch


def _paths(allowed: Allowed, right: Right) -> Iterator[str]:
    return (path for path, rights in allowed if right in rights)


def _followed(allowed: Iterable[tuple[str, Right]]) -> Allowed:
    """These, and where their links lead."""
    both = ((each, rights) for path, rights in allowed for each in (path, os.path.realpath(path)))
    return tuple(dict.fromkeys(both))


# ---------------------------------------------------------------- what it may reach


def _of_task(confinement: Confinement) -> Allowed:
    allowed = [(path, READ) for path in confinement.reads]
    allowed += [(path, ALL) for path in (*confinement.writes, confinement.private, confinement.short)]
    if confinement.workspace is not None:
        allowed.append((confinement.workspace, READ if confinement.read_only else ALL))
    return _followed(allowed)


@dataclass(frozen=True)
class CommonAccess:
    """What all bodies of a process may reach.

    Attributes:
        importable: by the first name of a module.
        sources, passed_over: see `Watch`.
    """

    importable: Mapping[str, Path]
    allowed: Allowed
    readable: Places
    writable: Places
    sources: Places
    passed_over: frozenset[str]


@functools.cache  # so that a process that forks bodies looks once
def common_access(targets: frozenset[str], system: Allowed | None) -> CommonAccess:
    """What is found at the first call; for the arguments see `confine`."""
    found = list(_importable(sys.path, {target.partition(":")[0].partition(".")[0] for target in targets}))
    importable = dict(reversed(found))  # the first one is imported
    modules = [*_of_interpreter(sys.path), *((str(path), READ) for _, path in found)]
    within = Places(path for path, _ in modules)
    loaded = [(file, READ) for file in _files_of_loaded() if file not in within]
    allowed = (*_followed([*modules, *loaded]), *(system_access() if system is None else system))
    return CommonAccess(
        importable,
        allowed,
        Places(_paths(allowed, Right.READ_FILE)),
        Places(_paths(allowed, Right.WRITE_FILE)),
        Places(os.path.realpath(path) for name, path in found if name != "perago"),
        frozenset(map(os.path.abspath, sys.path)),
    )


@functools.cache
def system_access() -> Allowed:
    """What any program needs of the system, as found at the first call."""
    allowed = [(path, READ) for path in (*_SYSTEM, *_KERNEL, *_NAME_SERVERS, *_for_everybody("/etc"))]
    shared = ("/dev/shm", ALL)  # noqa: S108 - the directory itself
    return _followed([*allowed, shared, *((path, _DEVICE) for path in (*_DEVICES, *nvidia_devices("/dev")))])


def nvidia_devices(directory: str) -> list[str]:
    """Those of all its cards, and of what cards share."""
    with os.scandir(directory) as entries:
        return [entry.path for entry in entries if entry.name.startswith("nvidia")]


@contextmanager
def handed_over(allowed: Allowed) -> Iterator[int]:
    """The handle of an unnamed file, from which other processes take this by `take_over`."""
    with tempfile.TemporaryFile() as file:
        file.write(json.dumps(allowed).encode())
        file.flush()
        yield file.fileno()


def take_over(handle: int) -> Allowed:
    """What `handed_over` has written to a file that this process inherits. Closes it here."""
    with open(handle, "rb") as file:
        file.seek(0)
        return tuple((path, Right(rights)) for path, rights in json.load(file))


def _for_everybody(directory: str) -> list[str]:
    """What everybody may read in a directory, by as few paths as possible. Private files, such as keys, are not."""
    whole, found = True, list[str]()
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return []
    for entry in entries:
        try:
            if entry.is_symlink():
                continue  # where it leads is allowed by its own path, or is not
            is_public = bool(entry.stat().st_mode & stat.S_IROTH)
            if entry.is_dir():
                within = _for_everybody(entry.path) if is_public else []
                is_public = within == [entry.path]
            else:
                within = [entry.path] if is_public else []
        except OSError:
            is_public, within = False, []
        whole = whole and is_public
        found += within
    return [directory] if whole else found


_PACKAGES = ("site-packages", "dist-packages")
_OF_PACKAGES = frozenset(_PACKAGES)


@functools.cache
def _prefixes() -> tuple[str, ...]:
    both = (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix)
    return tuple({each for path in both for each in (path, os.path.realpath(path))})


@functools.cache
def _interpreter() -> Places:
    return Places(_prefixes())


def _of_interpreter(paths: Iterable[str]) -> Allowed:
    """The interpreter with its packages, those of the user, and zip files of modules."""
    packages = [path for path in paths if Path(path).name in _PACKAGES or Path(path).is_file()]
    return tuple((path, READ) for path in (*_prefixes(), *packages))


def _importable(paths: Iterable[str], wanted: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """The modules and packages of the directories of `sys.path` that hold other things, too, such as a project's.

    Args:
        wanted: packages that may lack an `__init__.py`.
    """
    for path in dict.fromkeys(map(os.path.abspath, paths)):
        if os.path.realpath(path) in _interpreter() or Path(path).name in _PACKAGES:
            continue
        with suppress(OSError), os.scandir(path) as entries:
            for _, entry in zip(range(MAX_MODULES), entries, strict=False):
                name = entry.name.partition(".")[0]
                if entry.name == "__pycache__":
                    yield entry.name, Path(entry.path)
                is_package = entry.is_dir() and (name in wanted or Path(entry.path, "__init__.py").exists())
                if (is_package and name == entry.name) or entry.name.endswith((".py", ".so")):
                    yield name, Path(entry.path)


def _files_of_loaded() -> set[str]:
    """Of the modules that are loaded, wherever they came from."""
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return {file for file in files if isinstance(file, str)}


def source_modules(names: Iterable[str]) -> list[str]:
    """Those of the loaded modules that come neither with Python or Perago nor from an installed package."""
    found = ((name, getattr(sys.modules.get(name), "__file__", None)) for name in sorted(names))
    return [name for name, file in found if isinstance(file, str) and not _is_installed(file)][:MAX_MODULES]


def _is_installed(file: str) -> bool:
    return not _OF_PACKAGES.isdisjoint(Path(file).parts) or file in _standard_library() or file in _PERAGO


_PERAGO = Places([str(Path(__file__).parents[2])])
"""Wherever it is. Some of it goes by other names, such as `__mp_main__`."""


@functools.cache
def _standard_library() -> Places:
    paths = sysconfig.get_paths()
    return Places(each for name in ("stdlib", "platstdlib") for each in (paths[name], os.path.realpath(paths[name])))


class _Modules:
    """Finds top-level modules where the directory itself may not be listed."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self._paths = paths

    def find_spec(self, name: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:  # noqa: ARG002 - Python's protocol
        found = self._paths.get(name) if path is None else None
        if found is None:
            return None
        if not found.is_dir():
            return _spec_of(name, found, None)
        first = found / "__init__.py"
        if first.exists():
            return _spec_of(name, first, [str(found)])
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(found)]
        return spec


def _spec_of(name: str, file: Path, locations: list[str] | None) -> ModuleSpec | None:
    from importlib.util import spec_from_file_location

    return spec_from_file_location(name, file, submodule_search_locations=locations)


def _link_modules(paths: Mapping[str, Path], directory: Path, environment: MutableMapping[str, str]) -> None:
    """Where other processes of Python find them, which know nothing of `_Modules`: those of a pool that is spawned have
    this `sys.path`, and programs the variable, if it was set.
    """
    directory.mkdir(mode=0o700)
    for path in {*paths.values()}:
        with suppress(FileExistsError):
            (directory / path.name).symlink_to(path)
    sys.path.append(str(directory))
    if "PYTHONPATH" in environment:
        environment["PYTHONPATH"] += f"{os.pathsep}{directory}"


# ---------------------------------------------------------------- its environment


def _make_private(confinement: Confinement, environment: MutableMapping[str, str]) -> tuple[str, ...]:
    """A home and temporary files of its own, and only the variables that any program needs or its task names.

    Returns:
        the variables that are gone.
    """
    gone = tuple(name for name in environment if not _is_kept(name) and name not in confinement.environment)
    for name in gone:
        del environment[name]
    home, temporary = (Path(confinement.short, name) for name in ("home", "tmp"))
    for directory in (home, temporary):
        directory.mkdir(mode=0o700, exist_ok=True)
    environment.update({"HOME": str(home), "TMPDIR": str(temporary)})
    tempfile.tempdir = None  # found again, for this process
    return gone


def _is_kept(name: str) -> bool:
    return name in KEPT or name.startswith(KEPT_FAMILIES)

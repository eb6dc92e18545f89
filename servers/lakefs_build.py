"""lakeFS and its command line, built once through the Go module proxy and cached."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from servers.once import cache_directory, one_at_a_time

VERSION = "1.84.0"
MODULE = f"github.com/treeverse/lakefs@v{VERSION}"
PROGRAMS = ("lakefs", "lakectl")
MISSING = "needs Go 1.26 or newer on the PATH (it builds lakeFS), or a lakeFS named by PERAGO_TEST_LAKEFS_URL"
BUILD_SECONDS = 1_800.0
"""Time limit of a build; about 150 s on two free cores without caches."""


class BuildError(RuntimeError):
    """The build failed. The message has the end of Go's output."""


def kept_in() -> Path:
    """Directory of this version's programs. It need not exist."""
    return cache_directory() / f"lakefs-{VERSION}"


def is_built() -> bool:
    return all((kept_in() / program).is_file() for program in PROGRAMS)


def can_build() -> bool:
    return shutil.which("go") is not None


def programs() -> Path:
    """The directory with `lakefs` and `lakectl`, which are built if needed, with a note on stderr.

    Raises:
        BuildError: they could not be built.
    """
    directory = kept_in()
    if is_built():
        return directory
    if not can_build():
        raise BuildError(f"lakeFS {VERSION} {MISSING}")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(directory.parent / f"{directory.name}.lock"):
        if not is_built():
            _build(directory)
    return directory


def _build(directory: Path) -> None:
    print(f"Building lakeFS {VERSION} into {directory}: once, some minutes", file=sys.stderr, flush=True)
    prefix = f".{directory.name}-"
    for left_by_the_killed in directory.parent.glob(f"{prefix}*"):
        shutil.rmtree(left_by_the_killed)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=directory.parent) as temporary:
        source = json.loads(_go("mod", "download", "-json", MODULE, cwd=temporary))["Dir"]
        made = Path(temporary) / "bin"
        made.mkdir()
        # Uses the module's go.mod and go.sum; `go install MODULE` refuses them because of a replace line.
        _go("build", "-C", source, "-o", f"{made}/", "./cmd/lakefs", "./cmd/lakectl", cwd=temporary)
        shutil.rmtree(directory, ignore_errors=True)  # an existing directory is incomplete
        made.rename(directory)


def _go(*arguments: str, cwd: str) -> str:
    try:
        done = subprocess.run(
            ["go", *arguments], cwd=cwd, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as exc:
        raise BuildError(f"go {arguments[0]} did not end within {BUILD_SECONDS:.0f} s") from exc
    if done.returncode:
        said = (done.stdout + done.stderr)[-4_000:]
        raise BuildError(f"go {' '.join(arguments)} failed; with Go 1.26 and the module proxy it works:\n{said}")
    return done.stdout

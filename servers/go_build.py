"""Servers written in Go, built once through the Go module proxy and cached."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from servers.once import cache_directory, one_at_a_time

BUILD_SECONDS = 1_800.0
"""Time limit of a build. On two free cores without caches lakeFS takes about 150 s and versitygw half of that."""


class BuildError(RuntimeError):
    """The build failed. The message has the end of Go's output."""


@dataclass(frozen=True)
class GoBuild:
    """One release of a program.

    Attributes:
        module: the Go module, whose folder `cmd` has the programs.
        missing: what a machine needs that can neither build nor find it; begins with "needs".
    """

    name: str
    module: str
    version: str
    programs: tuple[str, ...]
    missing: str

    @property
    def kept_in(self) -> Path:
        """Directory of this version's programs. It need not exist."""
        return cache_directory() / f"{self.name.lower()}-{self.version}"

    @property
    def is_built(self) -> bool:
        return all((self.kept_in / program).is_file() for program in self.programs)

    @property
    def is_missing(self) -> bool:
        """Whether it is not there and cannot be built here."""
        return not self.is_built and shutil.which("go") is None

    def made(self) -> Path:
        """The directory with the programs, which are built if needed, with a note on stderr.

        Raises:
            BuildError: they could not be built.
        """
        directory = self.kept_in
        if self.is_built:
            return directory
        if self.is_missing:
            raise BuildError(f"{self.name} {self.version} {self.missing}")
        directory.parent.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(directory.parent / f"{directory.name}.lock"):
            if not self.is_built:
                self._build(directory)
        return directory

    def _build(self, directory: Path) -> None:
        print(f"Building {self.name} {self.version} into {directory}: once, some minutes", file=sys.stderr, flush=True)
        prefix = f".{directory.name}-"
        for left_by_the_killed in directory.parent.glob(f"{prefix}*"):
            shutil.rmtree(left_by_the_killed)
        with tempfile.TemporaryDirectory(prefix=prefix, dir=directory.parent) as temporary:
            module = f"{self.module}@v{self.version}"
            source = json.loads(_go("mod", "download", "-json", module, cwd=temporary))["Dir"]
            made = Path(temporary) / "bin"
            made.mkdir()
            # Uses the module's go.mod and go.sum; `go install MODULE` refuses lakeFS's because of a replace line.
            packages = [f"./cmd/{program}" for program in self.programs]
            _go("build", "-C", source, "-o", f"{made}/", *packages, cwd=temporary)
            shutil.rmtree(directory, ignore_errors=True)  # an existing directory is incomplete
            made.rename(directory)


LAKEFS = GoBuild(
    "lakeFS",
    "github.com/treeverse/lakefs",
    os.environ.get("PERAGO_TEST_LAKEFS_VERSION", "1.86.0"),
    ("lakefs", "lakectl"),
    "needs Go 1.26 or newer on the PATH (it builds lakeFS), or a lakeFS named by PERAGO_TEST_LAKEFS_URL",
)

VERSITYGW = GoBuild(
    "versitygw",
    "github.com/versity/versitygw",
    "1.8.0",
    ("versitygw",),
    "needs Go 1.26 or newer on the PATH (it builds versitygw, an S3 server)",
)


def build_all(builds: Iterable[GoBuild]) -> None:
    """Build several programs side by side.

    Raises:
        BuildError: one could not be built.
    """
    wanted = list(builds)
    with ThreadPoolExecutor(max_workers=len(wanted) or 1) as threads:
        for _ in threads.map(GoBuild.made, wanted):
            continue


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

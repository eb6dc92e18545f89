"""Initial bare repositories with one commit, the same for both sides."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.inputs import CHUNK, Content, Input, environment, written
from benchmarks.measure import run


def make_perago_repository(content: Input, directory: Path) -> Path:
    """Create it with `perago import`, which stores files of 1 MiB and more in git-lfs layout."""
    repository = directory / "perago.git"
    with written(content, directory) as source:
        perago = [sys.executable, "-m", "perago"]
        command: list[str | Path] = [*perago, "import", source, "--repo", repository, "--branch", "main"]
        run(command, environment=environment(), directory=directory)
    return repository


def make_git_repository(content: Content, directory: Path) -> Path:
    """Create it with git, packed like a clone. A large file is stored uncompressed, which is faster."""
    repository = directory / "git.git"
    compression = ["-c", "core.compression=0"] if content.size >= CHUNK else []
    with written(content, directory) as source:
        git = ["git", f"--git-dir={repository}", *compression]
        for command in (
            ["git", "init", "--quiet", "--bare", "--initial-branch=main", str(repository)],
            [*git, f"--work-tree={source}", "add", "--all"],
            [*git, f"--work-tree={source}", "commit", "--quiet", "--message=the input"],
            [*git, "repack", "-a", "-d", "--quiet", "--window=0"],
        ):
            run(command, environment=environment(), directory=directory)
    (repository / "index").unlink()
    return repository

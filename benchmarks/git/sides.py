"""The sides: an attempt, and the same with git commands. Each lays out, changes, publishes and cleans up."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.changing import change_files
from benchmarks.compare import Sample
from benchmarks.inputs import environment
from benchmarks.measure import Usage, run, settle

_LFS_FILTERS = [
    option
    for setting in (
        "filter.lfs.process=git-lfs filter-process",
        "filter.lfs.clean=git-lfs clean -- %f",
        "filter.lfs.smudge=git-lfs smudge -- %f",
        "filter.lfs.required=true",
    )
    for option in ("-c", setting)
]
_HARD_LINKED = ("objects", "lfs")
"""Directories with files that git and Perago write once and never change."""


@dataclass(frozen=True)
class Case:
    """The work of a run.

    Attributes:
        repository: bare, with a branch `main`. Each run gets a copy.
        changed: number of changed files.
        width: number of bytes changed in the middle of each, at most 8: the end of the word.
    """

    repository: Path
    changed: int
    width: int = 8


def perago(case: Case, directory: Path, word: str) -> Sample:
    """One attempt in a new process, with the body in the same process."""
    repository = copy_repository(case.repository, directory / "data.git")
    program = [sys.executable, "-m", "benchmarks.git.program_attempt"]
    command: list[str | Path] = [*program, repository, directory / "workspaces", str(case.changed), word[-case.width :]]
    settle()
    whole = run(command, environment=environment(), directory=directory)
    told = json.loads(whole.output)
    phases = told["phases"]
    phases["rest"] = told["seconds"] - sum(phases.values())
    publishing = told["seconds"] - phases["body"] - phases["clean"]
    return Sample(publishing, whole, phases)


def perago_run(case: Case, directory: Path, word: str) -> Sample:
    """The command `perago run`, including the start of the interpreter and the body's own process."""
    repository = copy_repository(case.repository, directory / "data.git")
    params = ["--param", f"count={case.changed}", "--param", f'word="{word[-case.width :]}"']
    options: list[str | Path] = ["--repo", repository, "--branch", "main", "--workspace-root", directory / "workspaces"]
    settle()
    whole = run(
        [sys.executable, "-m", "perago", "run", "benchmarks.tasks:change", *params, *options],
        environment=environment(),
        directory=directory,
    )
    return Sample(whole.seconds, whole, {})


def git(case: Case, directory: Path, word: str) -> Sample:
    """git itself: checkout into a fresh work tree, add, commit to the same branch of the same repository."""
    return _by_hand(case, directory, word, [])


def git_lfs(case: Case, directory: Path, word: str) -> Sample:
    """As `git`, with every file in git-lfs layout, also in the repository."""
    attributes = directory / "attributes"
    attributes.write_text("* filter=lfs -text\n")
    return _by_hand(case, directory, word, ["-c", f"core.attributesFile={attributes}", *_LFS_FILTERS])


def _by_hand(case: Case, directory: Path, word: str, options: list[str]) -> Sample:
    repository, work = copy_repository(case.repository, directory / "data.git"), directory / "work"
    work.mkdir()
    known = {**environment(), "GIT_INDEX_FILE": str(directory / "index")}
    command = ["git", f"--git-dir={repository}", f"--work-tree={work}", *options]

    def do(*arguments: str) -> Usage:
        return run([*command, *arguments], environment=known, directory=directory)

    settle()
    checkout = do("checkout", "--quiet", "--force", "main")
    began = time.perf_counter()
    change_files(work, case.changed, word[-case.width :])
    changing = time.perf_counter() - began
    add = do("add", "--all")
    commit = do("commit", "--quiet", "--message=changed")
    clean = run(["rm", "-rf", work], environment=known, directory=directory)
    whole = checkout + add + commit + clean
    phases = {"checkout": checkout.seconds, "add": add.seconds, "commit": commit.seconds, "rm -rf": clean.seconds}
    publishing = checkout.seconds + add.seconds + commit.seconds
    return Sample(publishing, replace(whole, seconds=whole.seconds + changing), phases)


def copy_repository(source: Path, target: Path) -> Path:
    """A copy that shares immutable files, so that a copy of a GiB costs nothing."""
    target.mkdir()
    for path in source.iterdir():
        if path.name in _HARD_LINKED:
            shutil.copytree(path, target / path.name, copy_function=os.link)
        elif path.is_dir():
            shutil.copytree(path, target / path.name)
        else:
            shutil.copy2(path, target / path.name)
    return target

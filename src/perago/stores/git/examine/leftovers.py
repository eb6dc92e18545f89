"""Leftovers: branches of old runs, and staged commits, an unfinished publication and temporary files of the killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from perago.errors import StoreError
from perago.stores.git.examine.processes import has_open
from perago.stores.git.history import stamp_of
from perago.stores.git.lfs import LfsStore
from perago.stores.git.locks import hold, unfinished
from perago.stores.git.refs import References
from perago.stores.git.repository import BareRepository, translated
from perago.stores.git.runs import OldRuns
from perago.values.findings import OLD_RUN, Finding, Kind
from perago.values.history import Stamp
from perago.workspace.owner import Liveness


def staged_commits(
    references: References, liveness_of: Callable[[Stamp], Liveness], older_than_seconds: float
) -> Iterator[Finding]:
    """Staging references whose attempts are dead, or unknown and old."""

    def reason(commit_id: str) -> tuple[str | None, float | None]:
        """Why a staged commit may be removed, or None, and its age."""
        try:
            commit = references.repository.commit(commit_id)
        except StoreError:
            return "its commit is not in the repository", None
        age = references.clock.now().timestamp() - commit.commit_time
        stamp = stamp_of(commit)
        owner: Liveness = "unknown" if stamp is None else liveness_of(stamp)
        if stamp is None or owner == "unknown":
            return ("its attempt is unknown, and it is old" if age > older_than_seconds else None), age
        return (f"its attempt, run {stamp.workflow_instance_id}, has ended" if owner == "dead" else None), age

    def mend(name: str) -> bool:
        for other, commit_id in references.staged():
            if other == name and reason(commit_id)[0] is None:
                return False
        references.drop_staged(name)
        return True

    for name, commit_id in references.staged():
        why, age = reason(commit_id)
        if why is not None:
            yield Finding(kind=Kind.STAGED_COMMIT, what=name, why=why, age_seconds=age, mend=partial(mend, name))


def run_branches(old_runs: OldRuns) -> Iterator[Finding]:
    """Branches of transactional runs that nobody has published to for long."""
    for run in old_runs:
        yield Finding(
            kind=Kind.RUN_BRANCH,
            what=run.branch,
            why=OLD_RUN,
            age_seconds=run.age_seconds,
            mend=partial(old_runs.remove, run.branch),
        )


def unfinished_publication(references: References) -> Iterator[Finding]:
    """A process that was killed while it moved a reference. The next publication would also clean up."""
    path = references.repository.path

    def mend() -> bool:
        with hold(references.repository, references.patience, references.clock):
            return True

    left = unfinished(path)
    if left is not None:
        yield Finding(
            kind=Kind.UNFINISHED_PUBLICATION,
            what=", ".join(lock.removesuffix(".lock") for lock in left.locks),
            why="the process that was writing it was killed, and may have left git's lock on it",
            mend=mend,
        )


def temporary_files(repository: BareRepository, older_than_seconds: float) -> Iterator[Finding]:
    """Files that never became an object, a pack or a large file."""
    large = LfsStore(repository)
    for temporary in large.abandoned():
        yield _temporary(temporary, "its owner no longer holds it", partial(_sweep_large, large, temporary))
    half_written = _half_written(repository.path / "objects")
    candidates = [candidate for candidate in half_written if _is_old(candidate, older_than_seconds)]
    opened = has_open(candidates)
    for candidate in candidates:
        if candidate not in opened:
            mend = partial(_remove_half_written, repository, candidate, older_than_seconds)
            yield _temporary(candidate, "its writer is gone: no process has it open", mend)


def _temporary(path: Path, why: str, mend: partial[bool]) -> Finding:
    try:
        state = path.lstat()
        age, size = time.time() - state.st_mtime, state.st_size
    except OSError:
        age, size = None, None
    return Finding(kind=Kind.TEMPORARY_FILE, what=str(path), why=why, age_seconds=age, size=size, mend=mend)


def _half_written(objects: Path) -> Iterator[Path]:
    """Temporary files of git and Perago, and packs without an index."""
    packs = objects / "pack"
    for directory in (objects, *objects.glob("[0-9a-f][0-9a-f]"), packs):
        if not directory.is_symlink():
            yield from (path for path in directory.glob("tmp_*") if path.is_file())
    yield from packs.glob(".tmp-*")
    yield from (path for path in packs.glob("pack-*.pack") if not path.with_suffix(".idx").exists())


def _is_old(path: Path, seconds: float) -> bool:
    try:
        return time.time() - path.lstat().st_mtime > seconds
    except OSError:
        return False


def _remove_half_written(repository: BareRepository, path: Path, older_than_seconds: float) -> bool:
    if not path.exists():
        return True
    if not _is_old(path, older_than_seconds) or path.with_suffix(".idx").exists() or has_open([path]):
        return False
    with translated(f"removing {path}", repository.path), repository.files() as files, suppress(FileNotFoundError):
        files.unlink(path.relative_to(repository.path).as_posix())
    return True


def _sweep_large(large: LfsStore, temporary: Path) -> bool:
    large.sweep()
    return not temporary.exists()

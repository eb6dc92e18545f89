"""The directory of runs, with one subdirectory each: `<run id>/run.json`, `<run id>/lock`, and
`<run id>/series-<try>.json` if a body recorded numbers. While a run goes on for more than a moment,
`<run id>/live.json` says what its tries do.

A run's directory gets its name when its record is complete, and is removed by one rename. Only the holder of a run's
lock writes in it. Names of half created or half removed directories start with a dot; a sweep removes those of dead
processes.
"""

from __future__ import annotations

import errno
import json
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from perago.engines.local.live import MAX_LIVE_BYTES
from perago.engines.local.record_json import AnyRecord, from_json, to_json
from perago.errors import EngineError, RunBusyError, RunNotFoundError, RuntimeConfigError, WorkspaceStorageError
from perago.files.durable import leftovers_of, record_errors, sweep_leftovers, write_durably
from perago.files.lock import FileLock
from perago.files.private_directory import OWNER_ONLY_DIRECTORY, fault_of, make_private
from perago.files.storage import opened_file, sync_directory, write_whole
from perago.ports import Clock
from perago.values.json_text import JsonObject
from perago.workspace.removal import TRASH_PREFIX, delete_tree, discard

RECORD_FILE = "run.json"
LOCK_FILE = "lock"
LIVE_FILE = "live.json"
MAKING_LOCK_FILE = ".lock"
NEW_PREFIX = ".new-"
RUN_ID = re.compile(r"\d{8}-\d{6}-[a-z0-9]{4,12}")

Series = dict[str, list[tuple[float, float]]]
"""Step and value of each point of a series, by its name."""

_SERIES_PREFIX = "series-"
_SERIES: TypeAdapter[Series] = TypeAdapter(Series)

_LOCK_TRIES = 50
_LOCK_PAUSE_SECONDS = 0.02
"""One second in total. Listing runs holds each lock for some microseconds. A sweep holds the creation lock until it has
removed what a few killed processes left."""

_WHAT = "the directory of the run records"
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY)


@dataclass(frozen=True)
class RunsDirectory:
    """The location of the records. Each access checks that only this user can change it.

    Attributes:
        path: absolute; need not exist.
    """

    path: Path
    clock: Clock

    def record_path(self, run_id: str) -> Path:
        return self.path.joinpath(run_id, RECORD_FILE)

    def lock_path(self, run_id: str) -> Path:
        return self.path.joinpath(run_id, LOCK_FILE)

    def ids(self) -> list[str]:
        """All run ids, newest first; those of one second sorted by name.

        Raises:
            RuntimeConfigError: another user can change the directory.
        """
        try:
            with record_errors("cannot list the runs in", self.path):
                self._expect_private()
                return sorted((path.name for path in self.path.iterdir() if RUN_ID.fullmatch(path.name)), reverse=True)
        except EngineError as exc:
            if isinstance(exc.__cause__, FileNotFoundError):
                return []
            raise

    def create(self, record: AnyRecord) -> FileLock | None:
        """Create a run's directory. Returns its lock, held; None if the id is in use.

        Raises:
            EngineError: it cannot be created.
            RuntimeConfigError: another user can change the directory of all.
        """
        with record_errors("cannot create a record of the run in", self.path):
            if self.path.is_dir():
                self._expect_private()
            else:
                make_private(self.path, _WHAT)
                sync_directory(self.path.parent)
            with self._making():
                return self._create(record)

    def _create(self, record: AnyRecord) -> FileLock | None:
        aside = self.path / f"{NEW_PREFIX}{secrets.token_hex(8)}"
        aside.mkdir(OWNER_ONLY_DIRECTORY)
        lock = FileLock.try_acquire(aside / LOCK_FILE)
        if lock is None:
            raise EngineError(f"another process has locked {aside}, which this one has just created; try again")
        try:
            write_durably(aside / RECORD_FILE, _text_of(record))
            aside.rename(self.path / record.run_id)
            sync_directory(self.path)
        except BaseException as exc:
            lock.release()
            with suppress(WorkspaceStorageError):  # the next sweep removes it
                delete_tree(aside, LOCK_FILE)
            if isinstance(exc, OSError) and exc.errno in _TAKEN:
                return None
            raise
        return lock

    def acquire(self, run_id: str) -> FileLock:
        """Take a run's lock.

        Raises:
            RunNotFoundError: there is no such run.
            RunBusyError: a live process holds it.
        """
        self._expect(run_id)
        with record_errors("cannot lock run", self.path / run_id):
            try:
                lock = self._acquire(self.lock_path(run_id))
            except FileNotFoundError as exc:
                raise self._not_found(run_id) from exc
        if lock is None:
            raise RunBusyError(
                f"run {run_id} is executed by {self._holder(run_id)}. Wait until it has ended, or end it first"
            )
        return lock

    def read(self, run_id: str) -> AnyRecord:
        """Read a record.

        Raises:
            RunNotFoundError: there is none.
            EngineError: it is damaged.
        """
        self._expect(run_id)
        path = self.record_path(run_id)
        try:
            with record_errors("cannot read", path), opened_file(path) as file:
                text = file.readall()
            return from_json(text, run_id)
        except ValueError as exc:
            raise EngineError(
                f"the record of run {run_id} is damaged: {exc}. It cannot be resumed; check {path}, or remove its "
                f"directory"
            ) from exc
        except EngineError as exc:
            if isinstance(exc.__cause__, FileNotFoundError) and not (self.path / run_id).is_dir():
                raise self._not_found(run_id) from exc
            raise

    def write(self, record: AnyRecord) -> None:
        """Replace a record. Only for the holder of the run's lock.

        Raises:
            EngineError: the disk refused; the old record is unchanged, or the new one is there if only the last sync
                failed.
        """
        path = self.record_path(record.run_id)
        text = _text_of(record)
        with record_errors("cannot write", path):
            write_durably(path, text)

    def write_live(self, run_id: str, content: bytes) -> None:
        """Replace the notes on the live tries of a run. Only for the holder of its lock.

        Raises:
            OSError: the disk refused.
        """
        write_whole(self.path / run_id / LIVE_FILE, [content.decode()])

    def read_live(self, run_id: str) -> bytes:
        """The notes on the live tries of a run; empty if there are none, or they are too large."""
        if not RUN_ID.fullmatch(run_id):
            return b""
        try:
            with opened_file(self.path / run_id / LIVE_FILE) as file:
                content = file.read(MAX_LIVE_BYTES + 1)
        except OSError:
            return b""
        return content if len(content) <= MAX_LIVE_BYTES else b""

    def remove_live(self, run_id: str) -> None:
        """Remove those notes. Only for the holder of the run's lock."""
        with suppress(OSError):
            (self.path / run_id / LIVE_FILE).unlink(missing_ok=True)

    def write_series(self, run_id: str, task_id: str, series: JsonObject) -> None:
        """Keep the numbers of a try beside the record. Only for the holder of the run's lock.

        Raises:
            EngineError: the disk refused.
        """
        path = self.path / run_id / f"{_SERIES_PREFIX}{task_id}.json"
        with record_errors("cannot write", path):
            write_durably(path, json.dumps(series, separators=(",", ":")))

    def has_series(self, run_id: str) -> bool:
        """Whether there are numbers of a run."""
        return bool(RUN_ID.fullmatch(run_id)) and any((self.path / run_id).glob(f"{_SERIES_PREFIX}*.json"))

    def read_series(self, run_id: str) -> dict[str, Series]:
        """The numbers of each try of a run, by its id.

        Raises:
            RunNotFoundError: there is no such run.
            EngineError: they are damaged.
        """
        self._expect(run_id)
        found = {}
        with record_errors("cannot read", self.path / run_id):
            for path in sorted((self.path / run_id).glob(f"{_SERIES_PREFIX}*.json")):
                try:
                    found[path.stem.removeprefix(_SERIES_PREFIX)] = _SERIES.validate_json(path.read_bytes())
                except ValidationError:
                    raise EngineError(f"{path} is damaged; remove it") from None
        return found

    def sweep_run(self, run_id: str) -> None:
        """Remove what killed writers left in a run's directory. Only for the holder of its lock."""
        with record_errors("cannot sweep", self.path / run_id):
            sweep_leftovers(self.record_path(run_id))
            sweep_leftovers(self.path / run_id / LIVE_FILE)

    def sweep(self) -> bool:
        """Remove directories that killed processes left half created or half removed. Returns False if it was busy."""
        making = FileLock.try_acquire(self.path / MAKING_LOCK_FILE)
        if making is None:
            return False  # another process is creating a run or sweeping; a later sweep will do it
        with making:
            for path in self._aside():
                delete_tree(path, LOCK_FILE)
        return True

    def half_made(self) -> list[Path]:
        """What `sweep` would remove; empty while another process creates a run or sweeps."""
        if not self._aside():
            return []
        making = FileLock.try_acquire(self.path / MAKING_LOCK_FILE)
        if making is None:
            return []
        with making:
            return self._aside()

    def half_written(self, run_id: str) -> list[Path]:
        """What `sweep_run` would remove."""
        try:
            return leftovers_of(self.record_path(run_id))
        except FileNotFoundError:
            return []  # just pruned

    def remove(self, run_id: str) -> bool:
        """Remove a run that no process holds. Returns whether it was removed."""
        try:
            lock = FileLock.try_acquire(self.lock_path(run_id))
        except FileNotFoundError:
            return False
        if lock is None:
            return False
        with lock:
            discard(self.path / run_id, LOCK_FILE)
        return True

    def _aside(self) -> list[Path]:
        try:
            return [path for path in self.path.iterdir() if path.name.startswith((NEW_PREFIX, TRASH_PREFIX))]
        except FileNotFoundError:
            return []

    @contextmanager
    def _making(self) -> Iterator[None]:
        """Protects a half created directory from sweeps."""
        lock = self._acquire(self.path / MAKING_LOCK_FILE, shared=True)
        if lock is None:
            raise EngineError(
                f"another process has been sweeping {self.path} for {_LOCK_TRIES * _LOCK_PAUSE_SECONDS:g} s; try "
                f"again, or end that process"
            )
        with lock:
            yield

    def _acquire(self, path: Path, *, shared: bool = False) -> FileLock | None:
        for _ in range(_LOCK_TRIES):
            lock = FileLock.try_acquire(path, shared=shared)
            if lock is not None:
                return lock
            self.clock.sleep(_LOCK_PAUSE_SECONDS)
        return None

    def _expect(self, run_id: str) -> None:
        """Validate an id, which comes from a command line and must not lead to another directory."""
        with record_errors("cannot read the runs in", self.path), suppress(FileNotFoundError):
            self._expect_private()
        if not RUN_ID.fullmatch(run_id) or (self.path / run_id).is_symlink():
            raise self._not_found(run_id)

    def _expect_private(self) -> None:
        """Refuse a directory that another user can change, who could give this user's runs other inputs.

        Raises:
            FileNotFoundError: it does not exist.
        """
        if (fault := fault_of(self.path)) is not None:
            raise RuntimeConfigError(f"{_WHAT} {self.path} {fault}")

    def _not_found(self, run_id: str) -> RunNotFoundError:
        return RunNotFoundError(f"there is no run {run_id!a} in {self.path}; `perago runs` lists the existing ones")

    def _holder(self, run_id: str) -> str:
        try:
            newest = self.read(run_id).current
        except EngineError:
            newest = None
        if newest is None:
            return "another process"
        return f"process {newest.pid} on {newest.host}"


def _text_of(record: AnyRecord) -> str:
    try:
        return to_json(record)
    except (TypeError, ValueError, RecursionError) as exc:
        raise EngineError(f"run {record.run_id}: its input, options or output is not JSON: {exc}") from exc


REMOVAL_ERRORS = (OSError, WorkspaceStorageError)
"""The errors that sweeping and removing can raise."""

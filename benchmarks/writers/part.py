"""The part: many processes that publish to one branch, racing and in the host's queue, in turn."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.compare import Spread
from benchmarks.inputs import environment
from benchmarks.parts import CannotMeasureError, Measured
from benchmarks.tables import verdict
from perago.ports import ignore
from perago.stores.git import GitStore
from servers.fixtures import LakeFS
from servers.go_build import LAKEFS
from servers.lakefs import LakeFSServer
from servers.lakefs_api import LakeFSRepository

PROGRAM = "benchmarks.writers.program_writer"
LOST_ON_ONE_HOST, LOST_ON_TWO_HOSTS = 1.0, 2.0
"""Required at most: lost swaps for each publication."""
TIMES_THE_RATE = 3.0
"""Required at least: publications a second on one host in lakeFS, compared with a race."""
END_SECONDS = 600


@dataclass(frozen=True)
class Side:
    """How the writers are spread, and whether those of a host wait for each other."""

    name: str
    hosts: int
    queue: bool


RACE = Side("race, as before", 1, queue=False)
ONE_HOST = Side("queue, one host", 1, queue=True)
TWO_HOSTS = Side("queue, two hosts", 2, queue=True)
SIDES = (RACE, ONE_HOST, TWO_HOSTS)


@dataclass(frozen=True)
class Case:
    """The work: `writers` processes publish `count` times each, files of `size` bytes together each time."""

    title: str
    writers: int
    count: int
    size: int


CASES = (
    Case("16 writers, 2 KiB each time", 16, 3, 2048),
    Case("4 writers, 16 MiB each time", 4, 3, 16 << 20),
)
TINY = (Case("2 writers", 2, 1, 2048),)


@dataclass(frozen=True)
class Race:
    """One measurement: publications a second of all writers, lost swaps for each, seconds of each attempt."""

    rate: float
    lost: float
    seconds: tuple[float, ...]


@dataclass(frozen=True)
class Place:
    """A new repository: its `--repo`, the head of `main`, and what the writers need in their environment."""

    argument: str
    head: str
    known: Mapping[str, str]


def measure(directory: Path, tiny: bool) -> Measured:
    """See `benchmarks.parts.Measure`."""
    if LAKEFS.is_missing:
        raise CannotMeasureError(LAKEFS.missing)
    cases, rounds = (TINY, 1) if tiny else (CASES, 3)
    found: dict[tuple[str, Case, Side], list[Race]] = {}
    with ExitStack() as stack:
        server = stack.enter_context(LakeFSServer(parent=directory))
        stores: dict[str, Callable[[Path], Place]] = {
            "lakeFS": lambda _: _on_server(server),
            "git": on_disk,
        }
        for case in cases:
            for _ in range(rounds):
                for store, make in stores.items():
                    for side in SIDES:
                        with tempfile.TemporaryDirectory(dir=directory) as own:
                            measured = race(make(Path(own)), case, side, Path(own))
                        found.setdefault((store, case, side), []).append(measured)
    return Measured(
        title="Many writers of one branch",
        versions={"lakeFS": LAKEFS.version},
        short=tuple(_short(found, cases[0])),
        text="\n".join(_report(found, rounds)),
    )


def _on_server(server: LakeFSServer) -> Place:
    name = f"writers-{uuid.uuid4().hex[:8]}"
    with server.api() as api:
        return in_repository(server, api.create_repository(name, f"{server.storage}{name}"))


def in_repository(server: LakeFS, repository: LakeFSRepository) -> Place:
    """A new repository of a server."""
    head = repository.commit_files("main", {"start": b"start"})
    login = {
        "LAKECTL_SERVER_ENDPOINT_URL": server.url,
        "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": server.access_key_id,
        "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": server.secret_access_key,
    }
    return Place(f"lakefs://{repository.name}", head, login)


def on_disk(directory: Path) -> Place:
    """A new git repository."""
    files = directory / "files"
    files.mkdir()
    (files / "start").write_bytes(b"start")
    store = GitStore.create(directory / "data.git", observer=ignore)
    head = store.import_directory(files, "main", "begin")
    assert head is not None
    return Place(str(directory / "data.git"), head, {})


def race(place: Place, case: Case, side: Side, directory: Path) -> Race:
    """Start all writers, let them begin together, and wait for their end."""
    with ExitStack() as stack:
        writers = [stack.enter_context(Writer(place, case, side, directory, number)) for number in range(case.writers)]
        for writer in writers:
            writer.wait_until_ready()
        began = time.perf_counter()
        for writer in writers:
            writer.begin()
        told = [writer.end() for writer in writers]
        took = time.perf_counter() - began
    published = case.writers * case.count
    seconds = tuple(value for one in told for value in one["seconds"])
    return Race(published / took, sum(one["lost"] for one in told) / published, seconds)


class Writer(AbstractContextManager["Writer"]):
    """One process that publishes; it is killed at the end of the context."""

    def __init__(self, place: Place, case: Case, side: Side, directory: Path, number: int) -> None:
        own = [place.head, str(number), str(case.count), str(case.size), str(directory)]
        known = {"XDG_STATE_HOME": str(directory / f"host-{number % side.hosts}"), "PERAGO_CACHE_MAX_SIZE": "0"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", PROGRAM, "queue" if side.queue else "race", place.argument, *own],
            env={**environment(), **place.known, **known},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait_until_ready(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n", "the writer could not begin"

    def begin(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> dict[str, Any]:
        """Wait until it has published. Returns its `lost` swaps, the `seconds` of its attempts, and its last `ref`."""
        told: dict[str, Any] = json.loads(self.process.communicate(timeout=END_SECONDS)[0])
        return told

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


def _short(found: Mapping[tuple[str, Case, Side], list[Race]], case: Case) -> Iterator[str]:
    for store in ("lakeFS", "git"):
        for side, limit in ((ONE_HOST, LOST_ON_ONE_HOST), (TWO_HOSTS, LOST_ON_TWO_HOSTS)):
            lost = _spread(found[store, case, side], lambda race: race.lost)
            yield (
                f"{store}, {case.title}, {side.name}: {lost.median:.2f} lost swaps for each publication, "
                f"{verdict(lost.median <= limit, f'{limit:g}')}"
            )
    before, now = (found["lakeFS", case, side] for side in (RACE, ONE_HOST))
    times = Spread.of([after.rate / race.rate for race, after in zip(before, now, strict=True)])
    yield (
        f"lakeFS, {case.title}, {ONE_HOST.name}: {times.median:.1f} times the publications a second of a race, "
        f"{verdict(times.median >= TIMES_THE_RATE, f'{TIMES_THE_RATE:g}', 'at least')}"
    )


def _report(found: Mapping[tuple[str, Case, Side], list[Race]], rounds: int) -> Iterator[str]:
    yield (
        'Processes publish to one branch with `isolation="snapshot"`, each to a directory of its own, several times '
        "one after the other, each time from their last commit. All begin together, on a new repository. "
        f"{rounds} rounds of all sides in turn, medians with least and greatest. A *host* is a state directory. "
        "A swap is lost if the branch has moved since the attempt read its head. *An attempt* is the time from its "
        "beginning to its end, with the wait in the queue."
    )
    for case in dict.fromkeys(case for _, case, _ in found):
        yield ""
        yield f"### {case.title}"
        yield ""
        yield "| store | writers | publications a second | lost swaps for each | an attempt, median | the slowest |"
        yield "|---|---|---|---|---|---|"
        for (store, of, side), races in found.items():
            if of == case:
                rate, lost = _spread(races, lambda race: race.rate), _spread(races, lambda race: race.lost)
                seconds = Spread.of([value for race in races for value in race.seconds])
                yield (
                    f"| {store} | {side.name} | {_text(rate, 1)} | {_text(lost, 2)} | {seconds.median:.2f} s "
                    f"| {seconds.greatest:.2f} s |"
                )


def _spread(races: list[Race], value: Callable[[Race], float]) -> Spread:
    return Spread.of([value(race) for race in races])


def _text(spread: Spread, digits: int) -> str:
    return f"{spread.median:.{digits}f} ({spread.least:.{digits}f} to {spread.greatest:.{digits}f})"

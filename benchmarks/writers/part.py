"""The part: many processes that publish to one branch, racing and in the host's queue, in turn."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.compare import Spread
from benchmarks.inputs import environment
from benchmarks.parts import CannotMeasureError, Measured
from benchmarks.tables import verdict
from benchmarks.writers.program_writer import Done, Order
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

    branch: str
    rate: float
    lost: float
    seconds: tuple[float, ...]


@dataclass(frozen=True)
class Place:
    """A new repository.

    Attributes:
        argument: its `--repo`.
        head: a commit, from which all branches begin.
        known: what the writers need in their environment.
        branch: makes a branch.
    """

    argument: str
    head: str
    known: Mapping[str, str]
    branch: Callable[[str], None]


def measure(directory: Path, tiny: bool) -> Measured:
    """See `benchmarks.parts.Measure`."""
    if LAKEFS.is_missing:
        raise CannotMeasureError(LAKEFS.missing)
    cases, rounds = (TINY, 1) if tiny else (CASES, 5)
    found: dict[tuple[str, Case, Side], list[Race]] = {}
    with LakeFSServer(parent=directory) as server:
        stores: dict[str, Callable[[Path], Place]] = {"lakeFS": lambda _: _on_server(server), "git": on_disk}
        for case in cases:
            for store, make in stores.items():
                with tempfile.TemporaryDirectory(dir=directory) as own:
                    measured = _in_turn(make(Path(own)), case, rounds, Path(own))
                found |= {(store, case, side): races for side, races in measured.items()}
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

    def branch(name: str) -> None:
        with server.api() as api:
            LakeFSRepository(api, repository.name).branch(name, head)

    return Place(f"lakefs://{repository.name}", head, login, branch)


def on_disk(directory: Path) -> Place:
    """A new git repository."""
    files = directory / "files"
    files.mkdir()
    (files / "start").write_bytes(b"start")
    path = directory / "data.git"
    head = GitStore.create(path, observer=ignore).import_directory(files, "main", "begin")
    assert head is not None

    def branch(name: str) -> None:
        subprocess.run(["git", "-C", path, "branch", name, head], check=True, env=environment())

    return Place(str(path), head, {}, branch)


def _in_turn(place: Place, case: Case, rounds: int, directory: Path) -> dict[Side, list[Race]]:
    """All sides, one after the other, in each round. The first round does not count."""
    found: dict[Side, list[Race]] = {side: [] for side in SIDES}
    with writers_of(place, case.writers, directory) as writers:
        for number in range(rounds + 1):
            for side in SIDES:
                race = run_race(place, writers, case, side, directory)
                if number:
                    found[side].append(race)
    return found


@contextmanager
def writers_of(place: Place, count: int, directory: Path) -> Iterator[list[Writer]]:
    """So many writers that are ready."""
    with ExitStack() as stack:
        writers = [stack.enter_context(Writer(place, directory, number)) for number in range(count)]
        for writer in writers:
            writer.wait_until_ready()
        yield writers


def run_race(place: Place, writers: Sequence[Writer], case: Case, side: Side, directory: Path) -> Race:
    """Let all begin together on a new branch, and wait for their end."""
    branch = f"race-{uuid.uuid4().hex[:8]}"
    place.branch(branch)
    began = time.perf_counter()
    for writer in writers:
        state = str(directory / f"host-{writer.number % side.hosts}") if side.queue else None
        writer.begin(Order(state=state, branch=branch, head=place.head, count=case.count, size=case.size))
    told = [writer.end() for writer in writers]
    took = time.perf_counter() - began
    published = len(writers) * case.count
    seconds = tuple(value for one in told for value in one.seconds)
    return Race(branch, published / took, sum(one.lost for one in told) / published, seconds)


class Writer(AbstractContextManager["Writer"]):
    """One process that publishes; it is killed at the end of the context."""

    def __init__(self, place: Place, directory: Path, number: int) -> None:
        self.number = number
        self.process = subprocess.Popen(
            [sys.executable, "-m", PROGRAM, place.argument, str(number), str(directory)],
            env={**environment(), **place.known, "PERAGO_CACHE_MAX_SIZE": "0"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait_until_ready(self) -> None:
        assert self._line() == "ready\n", "the writer could not begin"

    def begin(self, order: Order) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(order.model_dump_json() + "\n")
        self.process.stdin.flush()

    def end(self) -> Done:
        """Wait until it has published."""
        return Done.model_validate_json(self._line())

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

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
        "one after the other, each time from their last commit. All begin together, on a new branch. "
        f"{rounds} rounds of all sides in turn, after one that does not count, medians with least and "
        "greatest. A *host* is a state directory. "
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

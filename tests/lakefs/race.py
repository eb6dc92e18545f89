"""Writers publish onto one branch at the same moment, a person commits in between; then the history is judged.

usage: python tests/lakefs/race.py [--rounds 1000] [--seed N] [--program "PYTHON SCRIPT"]

Starts a lakeFS of its own. Another program races in the same way if it talks as race_writer.py says; it gets the
repository's name, an empty directory and its number.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import select
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from servers.fixtures import LakeFS, repository_on
from servers.json_api import ApiError
from servers.lakefs import LakeFSServer
from servers.lakefs_api import LakeFSRepository

ROOT = Path(__file__).parents[2]
OURS = (sys.executable, str(Path(__file__).with_name("program_race.py")))
WRITERS = 5
ANSWER_SECONDS = 90.0
_DIRTY = "DirtyBranchError "


@dataclass
class Claim:
    """What a writer says of one round."""

    head: str
    staged: str
    outcome: str  # won, lost, disturbed or failed
    detail: str = ""


@dataclass
class Outcome:
    """What came of a race; the last five are faults.

    Attributes:
        published: claims to have won.
        lost, failed: claims of the others; `failures` are messages of the failed.
        disturbed: claims of those who met the person's own change, uploaded and not committed yet: nothing is merged
            onto that.
        by_hand: commits by the person. between: rounds in which one of them beat all writers, or came in between.
        contested: rounds in which a writer won and another one lost.
        vetoed: merges that the server's hook refused: those who lost knew of it before they asked, or learned it so.
        two_winners: rounds with more than one claim to have won.
        unexpected: claims to have won that are on another head, or hold anything but the head's content and their own.
        lost_heads: heads that somebody has seen, and that are no longer in the history.
        ghosts: claims not to have won whose content was published all the same.
        strangers: commits in the history that nobody made.
    """

    rounds: int = 0
    published: int = 0
    lost: int = 0
    failed: int = 0
    disturbed: int = 0
    failures: list[str] = field(default_factory=list)
    by_hand: int = 0
    between: int = 0
    contested: int = 0
    vetoed: int = 0
    seconds: float = 0.0
    two_winners: int = 0
    unexpected: int = 0
    lost_heads: int = 0
    ghosts: int = 0
    strangers: int = 0

    @property
    def faults(self) -> dict[str, int]:
        names = ("two_winners", "unexpected", "lost_heads", "ghosts", "strangers")
        return {name: count for name in names if (count := getattr(self, name))}

    def __str__(self) -> str:
        told = [f"{name.replace('_', ' ')} {value}" for name, value in vars(self).items() if name != "failures"]
        return ", ".join(told[:-6]) + f", {self.seconds:.0f} s; " + ", ".join(told[-5:])


def race(
    server: LakeFS,
    rounds: int,
    *,
    program: Sequence[str] = OURS,
    seed: int = 1,
    writers: int = WRITERS,
    **options: Any,
) -> Outcome:
    """Race on a repository of its own on a server. Further arguments as the attributes of `Person`."""
    start = time.monotonic()
    with repository_on(server) as repository, tempfile.TemporaryDirectory(prefix="perago-race-") as directory:
        repository.commit_files("main", {"start": b"start"})
        with _running(server, repository, program, Path(directory), writers) as running:
            person = Person(random.Random(seed), **options)
            claims, by_hand, seen = _run(server, repository, running, rounds, person)
        outcome = _judge(repository, claims, by_hand, seen)
        outcome.vetoed = sum(run["status"] == "failed" for run in repository.runs("main"))
    outcome.seconds = time.monotonic() - start
    return outcome


# ---- the person


@dataclass
class Person:
    """Who commits on the branch while the writers publish.

    Attributes:
        chance: decides what they do in a round, and when.
        ways: what they may do: nothing, a commit on the branch, a merge from a branch of their own; or leave a change
            without committing it.
        lead_seconds: from and to: how much sooner they begin than the writers; a commit takes some 30 ms, a merge some
            5, on a machine that has nothing else to do.
        linger_seconds: from an upload to its commit.
        commits: what they have committed.
        is_committing: whether their way in this round has a change uploaded that they are about to commit.
    """

    chance: random.Random
    ways: Sequence[str] = ("nothing", "commit", "merge")
    lead_seconds: tuple[float, float] = (-0.02, 0.06)
    linger_seconds: float = 0.0
    commits: list[str] = field(default_factory=list)
    is_committing: bool = False

    def prepare(self, repository: LakeFSRepository, turn: int, head: str) -> Callable[[], None]:
        """What they do in a round."""
        way, files = self.chance.choice(self.ways), {"by-hand": str(turn).encode()}
        self.is_committing = way == "commit"
        if way == "merge":
            branch = repository.branch(f"by-hand-{turn}", head)
            repository.commit_files(branch, files)

        def act() -> None:
            with contextlib.suppress(ApiError):  # the server refuses now and then, where branches are reset
                if way in ("commit", "leave"):
                    repository.put("main", "by-hand", files["by-hand"])
                if way == "commit":
                    self._commit(repository)
                elif way == "merge":
                    answer = repository.merge(branch, "main")
                    self.commits.extend([answer.json()["reference"]] if answer.status == 200 else [])

        return act

    def _commit(self, repository: LakeFSRepository) -> None:
        """A change that stays uncommitted would be in everybody's way."""
        time.sleep(self.linger_seconds)
        try:
            self.commits.append(str(repository.commit("main")["id"]))
        except ApiError:
            repository.expect("PUT", "/branches/main", data={"type": "reset"})


# ---- the race


class _Writer:
    """A writer's process."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def tell(self, order: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()

    def hear(self) -> list[str]:
        """The next answer's words; the last one has the rest of the line."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], ANSWER_SECONDS)
        assert ready, f"a writer did not answer within {ANSWER_SECONDS:.0f} s"
        line = self.process.stdout.readline()
        assert line, "a writer ended"
        return line.rstrip("\n").split(" ", 1)


@contextlib.contextmanager
def _running(
    server: LakeFS, repository: LakeFSRepository, program: Sequence[str], directory: Path, count: int
) -> Iterator[list[_Writer]]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "RACE_URL": server.url,
        "RACE_ACCESS_KEY_ID": server.access_key_id,
        "RACE_SECRET_ACCESS_KEY": server.secret_access_key,
    }
    writers = []
    try:
        for number in range(1, count + 1):
            own = directory / f"writer-{number}"
            own.mkdir()
            writers.append(_Writer([*program, repository.name, str(own), str(number)], environment))
        yield writers
    finally:
        for writer in writers:
            assert writer.process.stdin is not None
            writer.process.stdin.close()
        for writer in writers:
            _end(writer.process)


def _end(process: subprocess.Popen[str]) -> None:
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=30)
    finally:
        assert process.stdout is not None
        process.stdout.close()


def _run(
    server: LakeFS, repository: LakeFSRepository, writers: list[_Writer], rounds: int, person: Person
) -> tuple[list[list[Claim]], list[str], list[str]]:
    """All rounds; returns the claims of each, the person's commits, and all heads that were seen."""
    claims: list[list[Claim]] = []
    by_hand = person.commits
    seen: list[str] = []
    with server.api() as api:
        theirs = LakeFSRepository(api, repository.name)
        for turn in range(rounds):
            head = repository.head("main")
            seen.append(head)
            staged = _ask(writers, [f"stage {head}"] * len(writers))
            act = person.prepare(theirs, turn, head)
            lead = person.chance.uniform(*person.lead_seconds)
            commits = threading.Thread(target=_later, args=(-lead, act))
            commits.start()
            time.sleep(max(lead, 0.0))
            published = _ask(writers, ["publish"] * len(writers))
            commits.join()
            answers = zip(staged, published, strict=True)
            claims.append([_claim(head, before, after, person.is_committing) for before, after in answers])
    seen.append(repository.head("main"))
    return claims, by_hand, seen


def _ask(writers: list[_Writer], orders: Sequence[str]) -> list[list[str]]:
    """Tell all at once, then hear them all."""
    for writer, order in zip(writers, orders, strict=True):
        writer.tell(order)
    return [writer.hear() for writer in writers]


def _claim(head: str, staged: list[str], published: list[str], may_be_dirty: bool) -> Claim:
    if staged[0] != "staged":
        return Claim(head, "", "failed", staged[-1])
    outcome, detail = published[0], published[1] if len(published) > 1 else ""
    if may_be_dirty and outcome == "failed" and detail.startswith(_DIRTY):
        outcome = "disturbed"
    return Claim(head, staged[1], outcome, detail)


def _later(seconds: float, act: Callable[[], None]) -> None:
    time.sleep(max(seconds, 0.0))
    act()


# ---- the judgement


def _judge(repository: LakeFSRepository, rounds: list[list[Claim]], by_hand: list[str], seen: list[str]) -> Outcome:
    log = {commit["id"]: commit for commit in repository.log("main")}
    below = dict(itertools.pairwise([*log, ""]))
    contents = _Contents(repository)
    outcome = Outcome(rounds=len(rounds), by_hand=len(by_hand))
    published = {commit["parents"][1] for commit in log.values() if len(commit["parents"]) > 1} | set(log)
    winners: set[str] = set()
    for claims in rounds:
        won = [claim for claim in claims if claim.outcome == "won"]
        winners.update(claim.detail for claim in won)
        others = [claim for claim in claims if claim.outcome != "won"]
        outcome.published += len(won)
        outcome.lost += sum(claim.outcome == "lost" for claim in others)
        outcome.disturbed += sum(claim.outcome == "disturbed" for claim in others)
        outcome.failed += sum(claim.outcome == "failed" for claim in others)
        outcome.failures += [claim.detail for claim in others if claim.outcome == "failed"]
        outcome.contested += bool(won) and any(claim.outcome == "lost" for claim in others)
        outcome.between += not won
        outcome.two_winners += len(won) > 1
        outcome.unexpected += sum(
            claim.detail in below and (below[claim.detail] != claim.head or not contents.is_own(claim)) for claim in won
        )
        outcome.ghosts += sum(claim.staged in published for claim in others)
    outcome.lost_heads = len(({*seen, *by_hand} | winners) - set(log))
    known = {*winners, *by_hand, seen[0], *list(log)[-2:]}
    outcome.strangers = len(set(log) - known)
    return outcome


class _Contents:
    """What commits hold, by path."""

    def __init__(self, repository: LakeFSRepository) -> None:
        self._repository = repository
        self._known: dict[str, dict[str, str]] = {}

    def is_own(self, claim: Claim) -> bool:
        """Whether a published commit holds exactly what was staged."""
        return self._of(claim.detail) == self._of(claim.staged)

    def _of(self, commit: str) -> dict[str, str]:
        if commit not in self._known:
            found = self._repository.objects(commit)
            self._known[commit] = {entry["path"]: entry["physical_address"] for entry in found}
        return self._known[commit]


def main() -> None:
    parser = argparse.ArgumentParser(description="Race writers and a person on a real lakeFS, and judge the history.")
    parser.add_argument("--rounds", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--program", help="command of another writer, such as '/env/bin/python writer.py'")
    arguments = parser.parse_args()
    program = shlex.split(arguments.program) if arguments.program else OURS
    with LakeFSServer() as server:
        outcome = race(server, arguments.rounds, program=program, seed=arguments.seed)
    print(outcome)
    for message, count in sorted({text: outcome.failures.count(text) for text in outcome.failures}.items()):
        print(f"  failed {count} times: {message}")
    sys.exit(1 if outcome.faults else 0)


if __name__ == "__main__":
    main()

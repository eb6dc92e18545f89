"""Hosts, servers, traffic and branches under a nemesis: killed, stopped, spoiled, restarted, moved, for minutes."""

from __future__ import annotations

import contextlib
import itertools
import math
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from leaks import secrets_on_command_lines
from nemesis.cached import BY_HAND
from nemesis.cells import BOUNDARIES
from nemesis.host import Host, processes_of
from nemesis.judge import last_tries, output_ref
from nemesis.proxy import SpoiledTraffic
from nemesis.reader import Reader
from nemesis.recovery import Blow, percentile
from nemesis.runs import END
from nemesis.strikes import Strikes
from nemesis.workflows import NO_ANSWER, Workflows, path_of_note

LOOK_SECONDS = 0.1
BRANCHES_AT_ONCE = 2
"""Looked at in each round: the servers have other things to do, too."""

COMMIT_CHANCE, TERMINATE_CHANCE, RANDOM_KILL_CHANCE = 0.02, 0.01, 0.01
"""In each look."""

INSIDE_SHARE = 0.1
"""Of the person's commits, those to what the tasks of a transactional run see."""

CACHED_SHARE = 0.15
"""The same, to what a task with a cache reads or makes."""

COMMIT_BESIDE_CHANCE, SAME_PATH_SHARE = 0.03, 0.1
"""In each look, a commit to a branch that tasks in snapshot isolation work on; and those of them that change a file
which such a task changes, too."""

QUIET_SECONDS = 10.0
"""For which no host has anything to do before the calm: longer than a proxy holds a call back."""

ORDER_SECONDS = 2.0
"""From the person's last order to the end of a Conductor: killed within 0.1 s of a retry that it had answered, 3.32.3
came back without the join of that workflow, which then never ends."""

RESTARTS = {"lakeFS": (0.15, 0.6), "Conductor": (0.3, 0.75)}
"""When each server is killed and started again, as parts of the time."""


@dataclass(frozen=True)
class Scale:
    """How long, and how much.

    Attributes:
        seconds: of faults, at least, while Conductor answers.
        most_seconds: of faults in all, where cells or workflows are still wanting.
        workflows: at least.
        least: times that each cell is to be filled; stops, which take long, only where that is more than once.
        kill_pause_seconds: between two looks at what to aim at.
        spared: hosts that are whole at any time.
    """

    seconds: float
    most_seconds: float
    workflows: int
    least: int
    kill_pause_seconds: float = 0.5
    stop_seconds: float = 7.0
    spared: int = 2


class Nemesis:
    """Does harm to what runs, as much as the scale says, then lets everything come to its end.

    Attributes:
        strikes: at boundaries of phases. blows: what happened when, and to which tasks. done: by kind.
        faults: of hosts, and secrets seen among processes.
    """

    def __init__(
        self,
        workflows: Workflows,
        hosts: list[Host],
        servers,
        traffic: list[SpoiledTraffic],
        directory: Path,
        scale: Scale,
        chance: random.Random,
        secrets: list[str],
    ) -> None:
        self.workflows, self.hosts, self.traffic, self.scale = workflows, hosts, traffic, scale
        self.lakefs, self.conductor = servers
        self.strikes = Strikes(
            directory, chance, spared=scale.spared, pause=scale.kill_pause_seconds, stop=scale.stop_seconds
        )
        self.blows, self.done = self.strikes.blows, self.strikes.done
        self.faults: list[str] = []
        self._chance, self._secrets = chance, secrets
        self._turns = itertools.cycle(workflows.branches)
        self._looked_at_processes = 0.0
        self._conductor_starts: threading.Thread | None = None
        self._deadline = math.inf

    # ---- the run

    def run(self) -> None:
        """Do harm until the time is over and nothing is wanting; then faults stop, and everything is let finish."""
        began = time.monotonic()
        elapsed = 0.0
        while elapsed < self.scale.seconds or self.wanting():
            if time.monotonic() - began > self.scale.most_seconds:
                break
            turn = time.monotonic()
            self._look(harm=True)
            self._restart_servers(elapsed / self.scale.seconds)
            self._commit_and_terminate()
            if self._conductor_answers():
                self.strikes.turn(self._working())
            for traffic in self.traffic:
                traffic.turn()
            if self._conductor_answers():  # how long it takes to start is the machine's business
                elapsed += time.monotonic() - turn
        self.done["seconds of faults"] = round(time.monotonic() - began)

    def wanting(self) -> list[str]:
        """What the run would be void without."""
        cells = self.strikes.kills.fewer_than(self.scale.least)
        cells += self.strikes.stops.fewer_than(self.scale.least if self.scale.least > 1 else 0)
        cells += [name for traffic in self.traffic for name in traffic.tally.fewer_than(self.scale.least)]
        missing = self.scale.workflows - len(self.workflows.all_ended)
        return cells + ([f"{missing} workflows"] if missing > 0 else [])

    def let_finish(self, seconds: float) -> None:
        """Faults stop; what runs comes to its end, and one more workflow on each branch, for which all is calm.

        What does not come to its end in time is a fault, and ended: all else is to be judged.
        """
        for traffic in self.traffic:
            traffic.stop()
        self.strikes.withdraw_all()
        self._deadline = time.monotonic() + seconds
        try:
            self._await_ends()
            self._await_quiet()
            for name in self.workflows.branches:
                self.workflows.begin(name, calm=True)
            self._await_ends()
        except TimeoutError as exc:
            self.faults.append(f"not at the end {seconds:g} s after the last fault: {exc}")
            self.workflows.end_all()

    def _await_ends(self) -> None:
        """All workflows have ended, and all hosts are there."""
        while self.workflows.running or not self.strikes.are_over or not all(host.works for host in self.hosts):
            self._look_on(self.workflows.told_of_running)

    def _await_quiet(self) -> None:
        """Attempts of workflows that somebody ended, and calls that a proxy holds back, come to their end, too."""
        busy = time.monotonic()
        while time.monotonic() < busy + QUIET_SECONDS:
            self._look_on(lambda: f"at work still: {[host.tasks_under_way() for host in self.hosts]}")
            if not all(host.is_idle for host in self.hosts):
                busy = time.monotonic()

    def _look_on(self, told: Callable[[], str]) -> None:
        if time.monotonic() > self._deadline:
            raise TimeoutError(told())
        self._look(harm=False)

    def _working(self) -> int:
        return sum(host.works for host in self.hosts)

    def _look(self, *, harm: bool) -> None:
        time.sleep(LOOK_SECONDS)
        for host in self.hosts:
            host.turn(may_start=self._conductor_answers())
        self.strikes.read_journal()
        self.strikes.resume_stopped()
        for name in itertools.islice(self._turns, BRANCHES_AT_ONCE):
            self._look_at_branch(name, harm=harm)
        self._look_at_processes()

    def _look_at_branch(self, name: str, *, harm: bool) -> None:
        if self._conductor_answers():
            if name in self.workflows.running:
                self.workflows.look(name, meddle=harm)
            elif harm:
                self.workflows.begin(name)
        with contextlib.suppress(*NO_ANSWER):  # it is looked at again
            self.workflows.branches[name].seen.add(self.workflows.repository.head(name))

    # ---- other harm

    def _commit_and_terminate(self) -> None:
        chance = self._chance
        if chance.random() < COMMIT_CHANCE:
            self._commit(chance.choice(sorted(self.workflows.branches)))
        if chance.random() < COMMIT_BESIDE_CHANCE and (beside := self.workflows.noting()):
            self._commit(chance.choice(beside), same_path=chance.random() < SAME_PATH_SHARE)
        if self._conductor_answers() and chance.random() < TERMINATE_CHANCE:
            self.workflows.terminate_one()
        whole = self.strikes.whole(self._working())
        if self._conductor_answers() and whole >= self.scale.spared and chance.random() < RANDOM_KILL_CHANCE:
            self._kill_at_random()

    def _commit(self, name: str, *, same_path: bool = False) -> None:
        """A file of the person's own, committed by hand; or one in the place of a file that tasks write, too."""
        self.done["commits by hand"] += 1
        number = self.done["commits by hand"]
        path = f"by-hand-{number}.txt" if self._chance.random() >= INSIDE_SHARE else f"part-by-hand-{number}.txt"
        path = self._chance.choice(BY_HAND) if self._chance.random() < CACHED_SHARE else path
        path = path_of_note(self._chance) if same_path else path
        commit = self.workflows.repository.commit_files(name, {path: f"by hand {number}\n".encode()})
        self.workflows.branches[name].by_hand[commit] = path
        self.done["commits by hand to a file of tasks"] += same_path

    def _kill_at_random(self) -> None:
        host = self._chance.choice([host for host in self.hosts if host.works])
        tasks = host.tasks_under_way()
        victims = {"supervisor": [psutil.Process(host.pid)], "executor": host.executors()}
        victim = self._chance.choice(sorted(victims))
        if victims[victim]:
            with contextlib.suppress(psutil.NoSuchProcess):  # it was being replaced
                self._chance.choice(victims[victim]).kill()
                self.done[f"kill {victim}s, at random"] += 1
                self.blows.append(Blow(f"kill {victim} at random", time.time(), tuple(tasks)))

    def _restart_servers(self, elapsed: float) -> None:
        for server, moments in RESTARTS.items():
            done = self.done[f"{server} restarted"]
            if done == len(moments) or elapsed < moments[done]:
                continue
            if self._conductor_answers() and (server == "lakeFS" or self._has_settled()):
                self.done[f"{server} restarted"] += 1
                self._restart_lakefs() if server == "lakeFS" else self._restart_conductor()

    def _has_settled(self) -> bool:
        return time.monotonic() - self.workflows.ordered_at > ORDER_SECONDS

    def _restart_lakefs(self) -> None:
        self.lakefs.kill()
        self.workflows.repository.api.close()
        self.lakefs.start()
        self.blows.append(Blow("restart of lakeFS", time.time(), (), everything=True))

    def _restart_conductor(self) -> None:
        """Killed now; hosts go on as well as they can while it starts."""
        self.strikes.spare_supervisors()
        self.conductor.kill()
        self.workflows.api.close()
        self._conductor_starts = threading.Thread(target=self.conductor.start)
        self._conductor_starts.start()

    def _conductor_answers(self) -> bool:
        if self._conductor_starts is not None and not self._conductor_starts.is_alive():
            self._conductor_starts.join()
            self._conductor_starts = None
            assert self.conductor.is_healthy(), "it did not start again"
            self.blows.append(Blow("restart of Conductor", time.time(), (), everything=True))
        return self._conductor_starts is None

    def _look_at_processes(self) -> None:
        """No secret on a command line."""
        if time.monotonic() - self._looked_at_processes < 10.0:
            return
        self._looked_at_processes = time.monotonic()
        for host in self.hosts:
            self.faults += secrets_on_command_lines(processes_of(host), self._secrets)

    # ---- the end

    def heed_reader(self, reader: Reader) -> None:
        """What somebody saw who has read the heads throughout."""
        if not reader.works:
            self.faults.append("the reader has ended")
        for seen in reader.seen():
            branch = self.workflows.branches[seen["branch"]]
            branch.seen.add(seen["commit"])
            self.done["commits seen by the reader"] += 1
            for workflow in seen["halves"]:
                self.faults.append(f"{branch.name}: the reader saw a part of {workflow} in {seen['commit']}")
        ends = [task for workflow in self.workflows.all_ended for task in last_tries(workflow)]
        self.done["runs published"] = sum(task["referenceTaskName"] == END and bool(output_ref(task)) for task in ends)

    def end_hosts(self) -> None:
        """SIGTERM to all; they end as they should."""
        for host in self.hosts:
            host.signal(signal.SIGTERM)
        for host in self.hosts:
            code = host.wait(90)
            if code:
                self.faults.append(f"{host.root}: ended with {code}: {host.told()[-2000:]}")
            deadline = time.monotonic() + 30.0
            while (left := processes_of(host)) and time.monotonic() < deadline:
                time.sleep(LOOK_SECONDS)
            self.faults += [f"{host.root}: process {process.pid} outlives its supervisor" for process in left]
            self.faults += host.faults

    def table(self) -> str:
        """Fault by phase and by call, in Markdown."""
        lakefs, conductor = self.traffic
        lines = [*self.strikes.kills.table(BOUNDARIES), *self.strikes.stops.table(BOUNDARIES)[2:], ""]
        for traffic, what in ((lakefs, "lakeFS"), (conductor, "Conductor")):
            lines += [f"{what}'s traffic:", "", *traffic.tally.table(traffic.calls), ""]
        away = [seconds for host in self.hosts for seconds in host.away_seconds]
        half, most = percentile(away, 0.5), percentile(away, 0.9)
        lines.append(f"hosts came back {len(away)} times, half within {half:.1f} s, 9 of 10 within {most:.1f} s")
        others = {**self.done, **{f"workflows: {name}": count for name, count in self.workflows.done.items()}}
        return "\n".join([*lines, ", ".join(f"{name} {count}" for name, count in sorted(others.items()))])

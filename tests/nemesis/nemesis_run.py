"""Hosts, servers, traffic and branches under a nemesis: killed, stopped, spoiled, restarted, moved, for minutes."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import nemesis_hook
import psutil
from nemesis_cells import PHASES, Cell, Tally, kill_cells, stop_cells
from nemesis_host import Host, processes_of, resume
from nemesis_judge import is_stale
from nemesis_proxy import SpoiledTraffic
from nemesis_recovery import Blow
from nemesis_workflows import Workflows

LOOK_SECONDS = 0.1
BRANCHES_AT_ONCE = 2
"""Looked at in each round: the servers have other things to do, too."""

ORDER_SECONDS = 15.0
"""How long an order waits for its boundary before another cell is aimed at."""

COMMIT_CHANCE, TERMINATE_CHANCE, RANDOM_KILL_CHANCE = 0.02, 0.01, 0.01
"""In each look."""

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
        kill_pause_seconds: between two aimed kills.
    """

    seconds: float
    most_seconds: float
    workflows: int
    least: int
    kill_pause_seconds: float = 1.0
    stop_seconds: float = 7.0


@dataclass
class Order:
    """A deed that waits for its boundary."""

    cell: Cell
    number: int
    name: str
    until: float


class Nemesis:
    """Does harm to what runs, as much as the scale says, then lets everything come to its end.

    Attributes:
        kills, stops: cells of phases. blows: what happened when, and to which tasks. done: by kind.
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
        self.kills, self.stops = Tally(kill_cells(), chance), Tally(stop_cells(), chance)
        self.blows: list[Blow] = []
        self.done: Counter[str] = Counter()
        self.faults: list[str] = []
        self._directory, self._chance, self._secrets = directory, chance, secrets
        self._orders: dict[int, Order] = {}
        self._ordered = 0
        self._turns = itertools.cycle(workflows.branches)
        self._kill_due = self._looked_at_processes = 0.0
        self._stopped: list[tuple[float, list[int], list[str]]] = []
        self._conductor_starts: threading.Thread | None = None
        self._journal_read = 0
        (directory / nemesis_hook.ORDERS).mkdir()

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
            self._strike()
            for traffic in self.traffic:
                traffic.turn()
            if self._conductor_answers():  # how long it takes to start is the machine's business
                elapsed += time.monotonic() - turn
        self.done["seconds of faults"] = round(time.monotonic() - began)

    def wanting(self) -> list[str]:
        """What the run would be void without."""
        cells = self.kills.fewer_than(self.scale.least)
        cells += self.stops.fewer_than(self.scale.least if self.scale.least > 1 else 0)
        cells += [name for traffic in self.traffic for name in traffic.tally.fewer_than(self.scale.least)]
        missing = self.scale.workflows - len(self.workflows.all_ended)
        return cells + ([f"{missing} workflows"] if missing > 0 else [])

    def let_finish(self, seconds: float) -> None:
        """Faults stop; what runs comes to its end, and one more workflow on each branch, for which all is calm."""
        for traffic in self.traffic:
            traffic.stop()
        for order in list(self._orders.values()):
            self._withdraw(order)
        deadline = time.monotonic() + seconds
        while self.workflows.running or self._stopped or not all(host.works for host in self.hosts):
            assert time.monotonic() < deadline, self.workflows.told_of_running()
            self._look(harm=False)
        for name in self.workflows.branches:
            self.workflows.begin(name, calm=True)
        while self.workflows.running:
            assert time.monotonic() < deadline, self.workflows.told_of_running()
            self._look(harm=False)

    def _look(self, *, harm: bool) -> None:
        time.sleep(LOOK_SECONDS)
        for host in self.hosts:
            host.turn(may_start=self._conductor_answers())
        self._read_journal()
        self._resume_stopped()
        for name in itertools.islice(self._turns, BRANCHES_AT_ONCE):
            self._look_at_branch(name, harm=harm)
        self._look_at_processes()

    def _look_at_branch(self, name: str, *, harm: bool) -> None:
        if self._conductor_answers():
            if name in self.workflows.running:
                self.workflows.look(name, meddle=harm)
            elif harm:
                self.workflows.begin(name)
        self.workflows.branches[name].seen.add(self.workflows.repository.head(name))

    # ---- kills and stops at boundaries

    def _strike(self) -> None:
        """Aim at the emptiest cells; one host is killed at a time, and one stopped, or nothing would ever end."""
        now = time.monotonic()
        for order in list(self._orders.values()):
            if now > order.until:
                self._withdraw(order)
        if now < self._kill_due or not self._conductor_answers():
            return
        self._kill_due = now + self.scale.kill_pause_seconds
        aimed = {order.cell for order in self._orders.values()}
        if not self._stopped and not _at(aimed, "stop host"):
            stop = self.stops.emptiest()
            assert stop is not None
            self._give_order(stop, self._chance.choice(("started", "completed")), "stop-host")
        barred = set(aimed)
        if _at(aimed, "kill supervisor") or not all(host.works for host in self.hosts):
            barred |= {cell for cell in self.kills.cells if _at([cell], "kill supervisor")}
        if _at(aimed, "kill executor"):
            barred |= {cell for cell in self.kills.cells if _at([cell], "kill executor")}
        if cell := self.kills.emptiest(barred):
            _, victim, side = cell.fault.split()
            self._give_order(cell, {"before": "started", "after": "completed"}[side], f"kill-{victim}")

    def _give_order(self, cell: Cell, kind: str, deed: str) -> None:
        self._ordered += 1
        name = f"{cell.column}.{kind}.{deed}.{self._ordered}"
        self._orders[self._ordered] = Order(cell, self._ordered, name, time.monotonic() + ORDER_SECONDS)
        (self._directory / nemesis_hook.ORDERS / name).touch()

    def _withdraw(self, order: Order) -> None:
        with contextlib.suppress(FileNotFoundError):  # it was taken: the journal tells
            (self._directory / nemesis_hook.ORDERS / order.name).unlink()
            del self._orders[order.number]

    def _read_journal(self) -> None:
        """Which orders were obeyed, and how many attempts found at their fence that they were stale."""
        path = self._directory / nemesis_hook.JOURNAL
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._journal_read)
            lines = file.read().splitlines(keepends=True)
        for line in lines:
            if not line.endswith(b"\n"):
                break
            self._journal_read += len(line)
            entry = json.loads(line)
            if "order" in entry:
                self._obeyed(entry)
            elif is_stale(entry):
                self.done["stale at their fence"] += 1

    def _obeyed(self, entry) -> None:
        number = int(entry["order"].rpartition(".")[2])
        order = self._orders.pop(number)
        tasks = [entry["task"]] if entry.get("task") else []
        if order.cell.fault.startswith("kill"):
            self.kills.counts[order.cell] += 1
            self.done[" ".join(order.cell.fault.split()[:2]) + "s"] += 1
            self.blows.append(Blow(order.cell.fault, entry["at"], tuple(tasks)))
        else:
            self.stops.counts[order.cell] += 1
            self.done["hosts stopped"] += 1
            self._stopped.append((entry["at"] + self.scale.stop_seconds, [entry["supervisor"], entry["pid"]], tasks))

    def _resume_stopped(self) -> None:
        for due, pids, tasks in list(self._stopped):
            if time.time() >= due:
                resume(pids)
                self._stopped.remove((due, pids, tasks))
                self.blows.append(Blow("stop", time.time(), tuple(tasks)))

    # ---- other harm

    def _commit_and_terminate(self) -> None:
        if self._chance.random() < COMMIT_CHANCE:
            self._commit(self._chance.choice(sorted(self.workflows.branches)))
        if self._conductor_answers() and self._chance.random() < TERMINATE_CHANCE:
            self.workflows.terminate_one()
        whole = self._conductor_answers() and all(host.works for host in self.hosts)
        if whole and self._chance.random() < RANDOM_KILL_CHANCE:
            self._kill_at_random()

    def _commit(self, name: str) -> None:
        """A file of the person's own, committed by hand."""
        self.done["commits by hand"] += 1
        path = f"by-hand-{self.done['commits by hand']}.txt"
        commit = self.workflows.repository.commit_files(name, {path: b"by hand"})
        self.workflows.branches[name].by_hand[commit] = path

    def _kill_at_random(self) -> None:
        host = self._chance.choice(self.hosts)
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
            if done < len(moments) and elapsed >= moments[done] and self._conductor_answers():
                self.done[f"{server} restarted"] += 1
                self._restart_lakefs() if server == "lakeFS" else self._restart_conductor()

    def _restart_lakefs(self) -> None:
        self.lakefs.kill()
        self.workflows.repository.api.close()
        self.lakefs.start()
        self.blows.append(Blow("restart of lakeFS", time.time(), (), everything=True))

    def _restart_conductor(self) -> None:
        """Killed now; hosts go on as well as they can while it starts."""
        for order in list(self._orders.values()):
            if "supervisor" in order.cell.fault:
                self._withdraw(order)
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
            for process in processes_of(host):
                with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                    told = " ".join(process.cmdline())
                    self.faults += [f"a secret on a command line: {told}" for secret in self._secrets if secret in told]

    # ---- the end

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
        lines = [*self.kills.table(PHASES), *self.stops.table(PHASES)[2:], ""]
        for traffic, what in ((lakefs, "lakeFS"), (conductor, "Conductor")):
            lines += [f"{what}'s traffic:", "", *traffic.tally.table(traffic.calls), ""]
        others = {**self.done, **{f"workflows: {name}": count for name, count in self.workflows.done.items()}}
        return "\n".join([*lines, ", ".join(f"{name} {count}" for name, count in sorted(others.items()))])


def _at(cells: Iterable[Cell], deed: str) -> bool:
    return any(cell.fault.startswith(deed) for cell in cells)

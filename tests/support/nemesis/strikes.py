"""Orders to be killed or stopped at the boundaries of phases, aimed at the emptiest cells, and what came of them."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nemesis import hook
from nemesis.cells import Cell, Tally, kill_cells, stop_cells
from nemesis.host import resume
from nemesis.judge import is_stale
from nemesis.recovery import Blow

ORDER_SECONDS = 15.0
"""How long an order waits for its boundary before another cell is aimed at."""

LOST_SECONDS = 10.0
"""After this time, an order that is taken but not in the journal was taken by a process that another order killed."""

BLOWS_PER_REPORT, FIRST_BLOWS = 0.5, 10
"""Limit of orders for each reported result, and before the first one. Without it, a busy machine would spend its time
on starting processes, and orders would strike only the first phases."""

AT_ONCE = {"kill supervisor": 2, "stop host": 2, "kill executor": 1}
"""Orders that wait, by their deed; of stops, those that are under way count too."""

LEAD = 1
"""How much fuller an executor's cell may be than the emptiest of the others. Each of the others takes a host away for
seconds. Executors are back soon, and without this limit their cells would take the machine's time."""


@dataclass
class Order:
    """A deed that waits for its boundary."""

    cell: Cell
    number: int
    name: str
    until: float


@dataclass(frozen=True)
class Stopped:
    """Processes that stand still until they are due, and the tasks that they were at."""

    due: float
    pids: tuple[int, ...]
    tasks: tuple[str, ...]


class Strikes:
    """Gives orders, reads in the journal what was done, and has what was stopped go on.

    Args:
        directory: that all processes of the run share.
        spared: so many hosts are whole at any time, or nothing would ever end.

    Attributes:
        kills, stops: cells of phases. blows: what happened when, and to which tasks. done: by kind.
    """

    def __init__(self, directory: Path, chance: random.Random, *, spared: int, pause: float, stop: float) -> None:
        self.kills, self.stops = Tally(kill_cells(), chance), Tally(stop_cells(), chance)
        self.blows: list[Blow] = []
        self.done: Counter[str] = Counter()
        self._directory, self._chance = directory, chance
        self._spared, self._pause, self._stop_seconds = spared, pause, stop
        self._orders: dict[int, Order] = {}
        self._lost: dict[int, Order] = {}
        self._ordered = self._reported = 0
        self._due = 0.0
        self._stopped: list[Stopped] = []
        self._journal_read = 0
        (directory / hook.ORDERS).mkdir()

    @property
    def are_over(self) -> bool:
        """Whether nothing stands still any more."""
        return not self._stopped

    # ---- orders

    def turn(self, working: int) -> None:
        """Aim at the emptiest cells that may be aimed at, if it is time to.

        Args:
            working: hosts that are not gone; those that stand still are among them.
        """
        now = time.monotonic()
        self.withdraw(order for order in self._orders.values() if now > order.until)
        given = sum(self.kills.counts.values()) + sum(self.stops.counts.values()) + len(self._orders)
        if now < self._due or given >= FIRST_BLOWS + BLOWS_PER_REPORT * self._reported:
            return
        self._due = now + self._pause
        is_spared = self.whole(working) <= self._spared
        for deed in sorted(AT_ONCE, key=self._least):
            takes_host = deed != "kill executor"
            if self._under_way(deed) >= AT_ONCE[deed] or (is_spared if takes_host else not self._lags(deed)):
                continue
            tally = self.stops if deed == "stop host" else self.kills
            if cell := tally.emptiest(self._barred(tally, deed)):
                self._give(cell)
                is_spared = is_spared or takes_host  # what is left is for the emptiest of the next turn

    def whole(self, working: int) -> int:
        """Hosts that will be there when all orders have been obeyed."""
        going = sum(not order.cell.fault.startswith("kill executor") for order in self._orders.values())
        return working - len(self._stopped) - going

    def _under_way(self, deed: str) -> int:
        ordered = sum(order.cell.fault.startswith(deed) for order in self._orders.values())
        return ordered + (len(self._stopped) if deed == "stop host" else 0)

    def _least(self, deed: str) -> int:
        """How often the emptiest cell of a deed was filled."""
        tally = self.stops if deed == "stop host" else self.kills
        return min(tally.counts[cell] for cell in tally.cells if cell.fault.startswith(deed))

    def _lags(self, deed: str) -> bool:
        return self._least(deed) < LEAD + min(self._least(other) for other in AT_ONCE if other != deed)

    def _barred(self, tally: Tally, deed: str) -> set[Cell]:
        aimed = {order.cell for order in self._orders.values()}
        return aimed | {cell for cell in tally.cells if not cell.fault.startswith(deed)}

    def _give(self, cell: Cell) -> None:
        self._ordered += 1
        if cell.fault.startswith("stop host"):
            kind, deed = self._chance.choice(("started", "completed")), "stop-host"
        else:
            _, victim, side = cell.fault.split()
            kind, deed = {"before": "started", "after": "completed"}[side], f"kill-{victim}"
        name = f"{cell.column}.{kind}.{deed}.{self._ordered}"
        self._orders[self._ordered] = Order(cell, self._ordered, name, time.monotonic() + ORDER_SECONDS)
        (self._directory / hook.ORDERS / name).touch()

    def withdraw_all(self) -> None:
        self.withdraw(self._orders.values())

    def spare_supervisors(self) -> None:
        """While Conductor is away none could start again."""
        self.withdraw(order for order in self._orders.values() if "supervisor" in order.cell.fault)

    def withdraw(self, orders: Iterable[Order]) -> None:
        for order in list(orders):
            try:
                (self._directory / hook.ORDERS / order.name).unlink()
            except FileNotFoundError:  # it was taken: the journal tells
                if time.monotonic() > order.until + LOST_SECONDS:
                    self._lost[order.number] = self._orders.pop(order.number)
            else:
                del self._orders[order.number]
                self.done["orders withdrawn"] += 1

    # ---- what was done

    def read_journal(self) -> None:
        """Which orders were obeyed, and what else attempts came to."""
        path = self._directory / hook.JOURNAL
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
            elif entry.get("event") == "take.completed":
                self.done["tasks taken along with a report"] += 1
            elif entry.get("event") == "report.completed":
                self._reported += 1

    def _obeyed(self, entry: Any) -> None:
        number = int(entry["order"].rpartition(".")[2])
        order = self._orders.pop(number, None) or self._lost.pop(number)
        tasks = (entry["task"],) if entry.get("task") else ()
        if order.cell.fault.startswith("kill"):
            self.kills.counts[order.cell] += 1
            self.done[" ".join(order.cell.fault.split()[:2]) + "s"] += 1
            self.blows.append(Blow(order.cell.fault, entry["at"], tasks))
        else:
            self.stops.counts[order.cell] += 1
            self.done["hosts stopped"] += 1
            pids = (entry["supervisor"], entry["pid"])
            self._stopped.append(Stopped(entry["at"] + self._stop_seconds, pids, tasks))

    def resume_stopped(self) -> None:
        for stopped in list(self._stopped):
            if time.time() >= stopped.due:
                resume(stopped.pids)
                self._stopped.remove(stopped)
                self.blows.append(Blow("stop", time.time(), stopped.tasks))

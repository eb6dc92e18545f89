"""Spoiled traffic between hosts and a server, one call at a time."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

from nemesis.cells import Cell, Tally, proxy_cells
from servers.faults import CutBefore, Delay, Fault, Refuse, Repeat, Rule, Swallow
from servers.proxy import FaultProxy

AIM_SECONDS = 10.0
"""How long a call is waited for before another one is aimed at."""


@dataclass(frozen=True)
class Aim:
    """A rule that waits for its call."""

    cell: Cell
    rule: Rule
    until: float


class SpoiledTraffic:
    """A fault proxy whose rules aim at what has been spoiled least. A context manager.

    Args:
        calls: by their name, method, pattern of the target, pattern of the body.
        pause_seconds: from one fault to the next aim.
        at_once: calls that are aimed at, each another one: while a rare one is waited for, others are spoiled.
        longest_delay_seconds: more than a lease lasts.
    """

    def __init__(self, server_url, calls, chance: random.Random, *, pause_seconds, at_once, longest_delay_seconds):
        self.proxy = FaultProxy(server_url)
        self.tally = Tally(proxy_cells(calls), chance)
        self.calls, self._chance = calls, chance
        self._pause, self._longest_delay, self._at_once = pause_seconds, longest_delay_seconds, at_once
        self._aims: list[Aim] = []
        self._given_up: set[Cell] = set()
        self._due = 0.0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.proxy.close()

    def turn(self) -> None:
        """Count what fired, and aim anew."""
        now = time.monotonic()
        for aim in list(self._aims):
            if aim.rule.fired:
                self.tally.counts[aim.cell] += 1
                self._given_up.clear()
                self._due = now + self._pause
            elif now > aim.until:
                self._given_up.add(aim.cell)  # such a call is rare: others first
            else:
                continue
            self.proxy.remove(aim.rule)
            self._aims.remove(aim)
        if now >= self._due and len(self._aims) < self._at_once:
            self._arm(self.tally.emptiest(self._barred()))

    def stop(self) -> None:
        """No more faults."""
        self.proxy.clear()
        self._aims.clear()

    def _barred(self) -> set[Cell]:
        """Cells that were given up, and those of calls that are aimed at."""
        aimed = {aim.cell.column for aim in self._aims}
        return self._given_up | {cell for cell in self.tally.cells if cell.column in aimed}

    def _arm(self, cell: Cell | None) -> None:
        if cell is None:
            self._given_up.clear()
            return
        method, path, *body = self.calls[cell.column]
        rule = Rule(self._fault(cell.fault), method=method, path=path, body=body[0] if body else b"")
        self._aims.append(Aim(cell, self.proxy.add(rule), time.monotonic() + AIM_SECONDS))

    def _fault(self, name: str) -> Fault:
        match name:
            case "cut":
                return CutBefore(reset=self._chance.random() < 0.5)
            case "delay":
                return Delay(self._chance.choice((1.0, self._longest_delay)), answer=self._chance.random() < 0.5)
            case "500":
                return Refuse(500)
            case "swallow":
                return Swallow(reset=self._chance.random() < 0.5)
            case _:
                return Repeat(2, last=self._chance.random() < 0.5)

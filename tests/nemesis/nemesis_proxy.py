"""Spoiled traffic between hosts and a server, one call at a time."""

from __future__ import annotations

import random
import time

from nemesis_cells import Cell, Tally, proxy_cells

from servers.faults import CutBefore, Delay, Fault, Refuse, Repeat, Rule, Swallow
from servers.proxy import FaultProxy


class SpoiledTraffic:
    """A fault proxy whose rules aim at what has been spoiled least. A context manager.

    Args:
        calls: by their name, method, pattern of the target, pattern of the body.
        pause_seconds: between two faults.
        longest_delay_seconds: more than a lease lasts.
    """

    def __init__(self, server_url, calls, chance: random.Random, *, pause_seconds, longest_delay_seconds):
        self.proxy = FaultProxy(server_url)
        self.tally = Tally(proxy_cells(calls), chance)
        self.calls, self._chance = calls, chance
        self._pause, self._longest_delay = pause_seconds, longest_delay_seconds
        self._aim: tuple[Cell, Rule] | None = None
        self._given_up: set[Cell] = set()
        self._due = self._withdraw = 0.0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.proxy.close()

    def turn(self) -> None:
        """Count what fired, and aim anew."""
        now = time.monotonic()
        if self._aim is not None:
            cell, rule = self._aim
            if rule.fired:
                self.tally.counts[cell] += 1
                self._given_up.clear()
            elif now > self._withdraw:
                self._given_up.add(cell)  # such a call is rare: others first
            else:
                return
            self._disarm()
            self._due = now + self._pause
        elif now >= self._due:
            self._arm(self.tally.emptiest(self._given_up))

    def stop(self) -> None:
        """No more faults."""
        self._disarm()

    def _disarm(self) -> None:
        self.proxy.clear()
        self._aim = None

    def _arm(self, cell: Cell | None) -> None:
        if cell is None:
            self._given_up.clear()
            return
        method, path, *body = self.calls[cell.column]
        rule = Rule(self._fault(cell.fault), method=method, path=path, body=body[0] if body else b"")
        self._aim = (cell, self.proxy.add(rule))
        self._withdraw = time.monotonic() + 10.0

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

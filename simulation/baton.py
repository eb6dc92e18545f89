"""The scheduler of a simulation: one baton for all actors, and a clock that moves only while all of them wait.

Each actor is a thread that runs only while it holds the baton and passes it on when it waits. Virtual time and one
random generator determine the next actor, so that a seed always gives the same order.
"""

from __future__ import annotations

import heapq
import random
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 1, tzinfo=UTC)


MAX_TURNS = 200_000
"""Maximum for one simulation; some hundreds are usual."""


TICK_SECONDS = 1e-6
"""Minimum step of time in seconds. A smaller one is lost when added to a large number, and its waiter never wakes."""


LOCK_SECONDS = 0.01
"""Seconds between two checks whether a lock is free."""


class EndlessError(Exception):
    """The simulation does not end."""


class Gone(BaseException):
    """The actor's process is dead. Not an `Exception`, because it is not a failure of the task."""


@dataclass(eq=False)
class Process:
    """A process that can die or be paused: a worker, or one of its executors.

    Attributes:
        parent: it dies and is paused with its parent.
        stopped_until: virtual seconds; it is paused until then, as by SIGSTOP.
    """

    name: str
    parent: Process | None = None
    stopped_until: float = 0.0
    killed: bool = False

    @property
    def is_dead(self) -> bool:
        return self.killed or (self.parent is not None and self.parent.is_dead)

    @property
    def still_until(self) -> float:
        return max(self.stopped_until, 0.0 if self.parent is None else self.parent.still_until)


@dataclass(eq=False)
class Actor:
    """A thread of the simulation.

    Attributes:
        go: lock that its thread waits for; passing the baton releases it.
        epoch: number of its wait, to recognise wake-ups of earlier waits.
    """

    name: str
    process: Process
    go: threading.Lock
    epoch: int = 0
    interrupt: BaseException | None = None
    is_over: bool = False


class _Thread:
    """A thread that is reused for one piece of work after the other, also in later simulations."""

    _idle: list[_Thread] = []  # noqa: RUF012 - the pool of this process

    def __init__(self) -> None:
        self.go = _held_lock()
        self.work: Callable[[], None] | None = None
        self.thread = threading.Thread(target=self._serve, name="perago-simulated", daemon=True)
        self.thread.start()

    @classmethod
    def take(cls) -> _Thread:
        return cls._idle.pop() if cls._idle else cls()

    def give_back(self) -> None:
        self._idle.append(self)

    @classmethod
    def end_idle(cls) -> None:
        while cls._idle:
            ended = cls._idle.pop()
            ended.work = None
            ended.go.release()
            ended.thread.join()

    def _serve(self) -> None:
        while True:
            self.go.acquire()
            if self.work is None:
                return
            self.work()


class Signal:
    """An event for one waiting actor. Each `set` ends one wait."""

    def __init__(self, baton: Baton) -> None:
        self._baton = baton
        self._waiting: Actor | None = None
        self.is_set = False

    def set(self) -> None:
        self.is_set = True
        if self._waiting is not None:
            self._baton.wake(self._waiting)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it is set, or for some seconds; returns whether it was set."""
        if not self.is_set:
            self._waiting = self._baton.current
            try:
                self._baton.wait(seconds)
            finally:
                self._waiting = None
        was, self.is_set = self.is_set, False
        return was


class Flag:
    """Something that one actor waits for and that, once set, stays set; as `threading.Event`."""

    def __init__(self, baton: Baton) -> None:
        self._signal = Signal(baton)
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        self._signal.set()

    def wait(self, seconds: float | None = None, /) -> bool:
        """Wait until it is set, or for so long; says whether it is."""
        if not self._is_set:
            self._signal.wait(seconds)
        return self._is_set


class Mutex:
    """A lock for actors, which may wait while they hold it."""

    def __init__(self, baton: Baton) -> None:
        self._baton = baton
        self._is_held = False

    def __enter__(self) -> None:
        while self._is_held:
            self._baton.pause(LOCK_SECONDS)
        self._is_held = True

    def __exit__(self, *_: object) -> None:
        self._is_held = False


@dataclass(frozen=True)
class Step:
    """One line of a trace.

    Attributes:
        at: virtual seconds.
        who: the actor.
    """

    at: float
    who: str
    what: str

    def __str__(self) -> str:
        return f"{self.at:9.3f}  {self.who:<22} {self.what}"


class Baton:
    """The scheduler. The creating thread is the first actor; `close` ends all others.

    Attributes:
        now: virtual seconds since the start.
        trace: the steps so far.
        failures: tracebacks of actors that failed, which is a bug.
    """

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.random = random.Random(seed)
        self.trace: list[Step] = []
        self.failures: list[str] = []
        self._order = 0
        self._heap: list[tuple[float, float, int, Actor, int]] = []
        self._actors: list[Actor] = []
        self._closing = False
        self.main = Actor("world", Process("world"), _held_lock())
        self.current = self.main

    # ---- for actors

    def tell(self, what: str) -> None:
        """Write a line of the trace."""
        self.trace.append(Step(self.now, self.current.name, what))

    def spawn(self, name: str, process: Process, work: Callable[[], object]) -> Actor:
        """Start another actor; it is scheduled like all others."""
        thread = _Thread.take()
        actor = Actor(name, process, thread.go)
        thread.work = lambda: self._live(actor, thread, work)
        self._actors.append(actor)
        self._push(actor, self.now)
        return actor

    def pause(self, seconds: float = 0.0) -> None:
        """Wait; 0 s lets other ready actors run first."""
        self.wait(seconds)

    def wait(self, seconds: float | None) -> None:
        """Wait for some seconds, or until `wake`."""
        me = self.current
        me.epoch += 1
        if seconds is not None:
            self._push(me, self.now + (max(seconds, TICK_SECONDS) if seconds > 0 else 0.0))
        self._hand_on(me)

    def wake(self, actor: Actor) -> None:
        """Wake a waiting actor now."""
        self._push(actor, self.now)

    def interrupt(self, actor: Actor, exc: BaseException) -> None:
        """Raise an error in a waiting actor, like a signal handler."""
        if not actor.is_over:
            actor.interrupt = exc
            self._push(actor, self.now)

    def park(self) -> None:
        """Wait forever: the actor has just killed its own process."""
        self._hand_on(self.current)

    # ---- the end

    def close(self) -> None:
        """Unwind all remaining actors, one after the other, and keep their threads."""
        self._closing = True
        for actor in self._actors:
            if not actor.is_over:
                self.current = actor
                actor.go.release()
                self.main.go.acquire()
        self.current = self.main

    # ---- internal

    def _live(self, actor: Actor, thread: _Thread, work: Callable[[], object]) -> None:
        try:
            if not self._closing:
                work()
        except Gone:
            pass
        except BaseException:  # noqa: BLE001 - the verdict on the simulation reports it
            if not self._closing:
                self.failures.append(f"{actor.name}: {traceback.format_exc()}")
        actor.is_over = True
        thread.give_back()
        if self._closing:
            self.main.go.release()
        else:
            self.current = self._next()
            self.current.go.release()

    def _push(self, actor: Actor, at: float) -> None:
        self._order += 1
        heapq.heappush(self._heap, (at, self.random.random(), self._order, actor, actor.epoch))

    def _next(self) -> Actor:
        if self._order > MAX_TURNS:
            self._order = 0
            self.main.interrupt = EndlessError(f"no end after {MAX_TURNS} turns")
            return self.main
        while True:
            at, _, _, actor, epoch = heapq.heappop(self._heap)
            if actor.is_over or actor.epoch != epoch or actor.process.is_dead:
                continue
            if actor.process.still_until > max(at, self.now):
                self._push(actor, actor.process.still_until)
                continue
            self.now = max(self.now, at)
            return actor

    def _hand_on(self, me: Actor) -> None:
        if self._closing:
            raise Gone
        following = self._next()
        self.current = following
        if following is not me:
            following.go.release()
            me.go.acquire()
        me.epoch += 1
        if self._closing:
            raise Gone
        if me.interrupt is not None:
            exc, me.interrupt = me.interrupt, None
            raise exc


@dataclass
class VirtualClock:
    """A `ports.Clock` of one machine.

    Attributes:
        ahead: seconds by which its date is ahead.
    """

    baton: Baton
    ahead: float = field(default=0.0)

    def now(self) -> datetime:
        return START + timedelta(seconds=self.baton.now + self.ahead)

    def monotonic(self) -> float:
        return self.baton.now

    def sleep(self, seconds: float) -> None:
        self.baton.pause(max(seconds, 0.0))


def _held_lock() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


def end_idle_threads() -> None:
    """End the idle threads."""
    _Thread.end_idle()

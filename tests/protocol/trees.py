"""Explicit-state model of workflows with a sub-workflow, on top of `model`.

The world
  root     s (a sub-workflow), with r beside it in the shape `fork`, then b.
  s        is a row that no worker runs. The server starts an instance for it and then attaches it to the row, which is
           IN_PROGRESS until the instance ends.
  instance p, then q (`Config.inner`): rows with `run == (instance,)`. Names are unique in the tree.
  people   terminate (and may miss the sub-workflow's instance, which then goes on alone), retry (the sub-workflow
           begins anew as another row, or goes on in the instance that failed), rerun and restart. A rerun hands out
           again rows of s that came to nothing, also one that has had its retry: the server starts another instance for
           that. A retry within an instance revives the instances of older rows of s. All this is as Conductor does it.
  record   the rows of all instances that count: the root's, and the one of the *last* row of s.

Not modelled: sub-workflows within sub-workflows, and a rerun from a task within one.

usage: python -m tests.protocol.trees --help
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

from tests.protocol import model
from tests.protocol.model import LIVE, Row, State, Worker, new_row, row_of, set_row

CAME_TO_NOTHING = ("FAILED", "CANCELED", "TIMED_OUT")


# ---------------------------------------------------------------- the rules under test
@dataclass(frozen=True)
class Rules(model.Rules):
    tree: bool = True  # commits are judged by the record of the whole tree, not by that of the own instance
    replaced_is_abandoned: bool = True  # a commit of an instance that no longer counts is abandoned, not foreign ...
    replaced_is_not_effective: bool = True  # ... although its try completed there
    last_row_counts: bool = True  # of several instances of one sub-workflow, that of the last row counts
    replaced_refused: bool = True  # an attempt in an instance that does not count is refused
    unattached_is_foreign: bool = True  # a commit whose instance may not be attached to its row yet is foreign
    passed_over_is_over: bool = True  # in a sub-workflow that is passed over, what did not complete is abandoned


FIXED = Rules(seal="adopt")  # as Perago does


@dataclass(frozen=True)
class Config(model.Config):
    shape: str = "line"  # line: s then b;  fork: s beside r, then b from both
    inner: tuple = ("p", "q")
    orphans: bool = False  # who terminates the workflow may miss the instance of the sub-workflow
    resumes: bool = False  # a retry goes on within the instance that failed
    lag: bool = False  # an instance runs before it is attached to its row

    @property
    def outer(self) -> tuple:
        return ("s",) if self.shape == "line" else ("s", "r")


class Tree(NamedTuple):
    kids: tuple = ()  # (id of the row that it was started for, RUN, TERM or DONE), by instance
    rows: tuple = ()  # in the view of an attempt: the rows of all instances


def kid_of(s: State, r: Row) -> int | None:
    """The newest instance that was started for a row of s, attached or not."""
    return next((k for k in reversed(range(len(s.tx.kids))) if s.tx.kids[k][0] == r.tid), None)


def counting(s: State, *, last_only: bool = True) -> tuple:
    """The rows of the tree. Ground truth."""
    outer = [r for r in s.rows if r.name == "s"]
    kids: set = set()
    for r in outer[-1:] if last_only else outer:
        kids.add(r.run or ((kid_of(s, r),) if r.status in LIVE else None))
    return tuple(r for r in s.rows if r.name == "s" or not r.run or r.run in kids)


def unattached(s: State) -> Row | None:
    """The last row of s, if it may have an instance that is not attached yet."""
    last = next((r for r in reversed(s.rows) if r.name == "s"), None)
    return last if last is not None and last.status in LIVE and not last.run else None


# ---------------------------------------------------------------- the protocol
class Protocol(model.Protocol):
    R: Rules
    cfg: Config

    def running(self, s: State, r: Row) -> bool:
        if r.name == "s":
            return False  # no worker runs it
        return s.tx.kids[r.run[0]][1] == "RUN" if r.run else s.wf == "RUN"

    def digest(self, w: Worker) -> tuple:
        return ()

    def view(self, s: State, w: Worker) -> State:
        """What the engine's record shows an attempt."""
        if s.tx.rows:
            return s
        if not self.R.tree:
            shown = tuple(r for r in s.rows if r.name != "s" and r.run == w.run)
        elif not self.R.replaced_is_not_effective:
            shown = s.rows
        else:
            shown = counting(s, last_only=self.R.last_row_counts)
            if (row := unattached(s)) is not None and w.run != (kid_of(s, row),):
                shown = tuple(r for r in shown if r.name == "s" or not r.run)  # unknown to all but itself
        return s._replace(rows=shown, tx=s.tx._replace(rows=s.rows))

    def counts_for_parent(self, s: State, w: Worker) -> bool:
        return not w.run or any(r.run == w.run for r in self.view(s, w).rows if r.name != "s")

    def verdict(self, s: State, i: int, me: Worker) -> str:
        c = s.chain[i]
        row = row_of(s.rows, c.exe[0]) if self.counts(s.chain, i) else None
        if self.counts(s.chain, i) and row is None:
            if not self.R.tree and not (me.run and c.who == me.name and row_of(s.tx.rows, c.exe[0]) is None):
                return "foreign"
            if c.who in self.cfg.inner and not self.R.replaced_is_abandoned:
                return "foreign"
            if c.who in self.cfg.inner and self.R.unattached_is_foreign and not me.run and unattached(s) is not None:
                return "foreign"
        if row is not None and self.R.passed_over_is_over and self.passed_over(s, row):
            return "abandoned"
        return super().verdict(s, i, me)

    def passed_over(self, s: State, r: Row) -> bool:
        """It came to nothing in a sub-workflow that is passed over: no later try will come."""
        return r.name in self.cfg.inner and r.status in CAME_TO_NOTHING and any(x.status == "ENDED" for x in s.rows)

    def start(self, s: State, w: Worker, head: int) -> tuple | None:
        return super().start(self.view(s, w), w, head)

    def decide(self, s: State, w: Worker, head: int) -> tuple:
        if self.R.replaced_refused and not self.counts_for_parent(s, w):
            return ("refuse", ())
        return super().decide(self.view(s, w), w, head)

    def adopt_engine(self, s: State, w: Worker) -> tuple | None:
        return super().adopt_engine(self.view(s, w), w)

    def beside(self, s: State, w: Worker, head: int) -> int | None:
        return super().beside(self.view(s, w), w, head)


# ---------------------------------------------------------------- the world
class World(model.World):
    R: Rules
    cfg: Config
    protocol = Protocol

    def __init__(self, rules: Rules, cfg: Config):
        super().__init__(rules, cfg)
        self.P = self.protocol(rules, cfg)

    # ---- engine
    def initial(self) -> State:
        s = State((model.ROOT,), (), "RUN", (), (), (0,) * len(model.KINDS), 0, 1, Tree())
        return self.begin(s)

    def begin(self, s: State) -> State:
        for name in self.cfg.outer:
            s = new_row(s, name, 0, None, s.gen)
        return s

    def set_kid(self, s: State, k: int, status: str) -> State:
        kids = s.tx.kids
        return s._replace(tx=s.tx._replace(kids=(*kids[:k], (kids[k][0], status), *kids[k + 1 :])))

    def row_for(self, s: State, k: int) -> Row | None:
        """The row of s that waits for an instance."""
        r = row_of(s.rows, s.tx.kids[k][0])
        return r if r is not None and r.status in LIVE and kid_of(s, r) == k else None

    def advance(self, s: State) -> State:
        for k, (_, status) in enumerate(s.tx.kids):
            if status == "RUN":
                s = self.advance_kid(s, k)
        if s.wf != "RUN":
            return s
        last = {r.name: r for r in s.rows if not r.run or r.name == "s"}
        over = [last[n] for n in self.cfg.outer if n in last and last[n].status in ("COMPLETED", "ENDED")]
        if len(over) == len(self.cfg.outer) and "b" not in last:
            return new_row(s, "b", self.P.join(tuple(r.inp if r.out is None else r.out for r in over)), None, s.gen)
        live = any(r.status in LIVE for r in s.rows if not r.run or r.name == "s")
        if "b" in last and last["b"].status == "COMPLETED" and len(over) == len(self.cfg.outer) and not live:
            return s._replace(wf="DONE")
        return s

    def advance_kid(self, s: State, k: int) -> State:
        mine = [r for r in s.rows if r.run == (k,) and r.name != "s"]
        done = {r.name: r for r in mine if r.status == "COMPLETED"}
        names = {r.name for r in mine}
        for before, name in zip(self.cfg.inner, self.cfg.inner[1:], strict=False):
            if before in done and name not in names:
                return new_row(s, name, done[before].out, None, done[before].need, (k,))
        end = done.get(self.cfg.inner[-1])
        if end is None or any(r.status in LIVE for r in mine):
            return s
        r = self.row_for(s, k)
        s = self.set_kid(s, k, "DONE")
        if r is None or not r.run:
            return s  # it ends its row when it is attached
        return set_row(s, r._replace(status="COMPLETED", out=end.out, out_code=end.out_code, ended=s.ids - 1))

    def exhausted(self, s: State, r: Row) -> State:
        if not r.run:
            return self.stop(s)
        return self.fail_kid(s, r.run[0])

    def fail_kid(self, s: State, k: int) -> State:
        s = self.end_kid(s, k)
        r = self.row_for(s, k)
        if r is None or not r.run:
            return s
        s = set_row(s, r._replace(status="FAILED"))
        if r.retried or any(x.prev == r.tid for x in s.rows):
            return self.advance(set_row(s, r._replace(status="FAILED", retried=True)))
        if self.cfg.optional:
            return self.advance(set_row(s, r._replace(status="ENDED")))
        return self.stop(s)

    def end_kid(self, s: State, k: int) -> State:
        """An instance ends without success."""
        rows = tuple(
            r._replace(status="CANCELED") if r.run == (k,) and r.name != "s" and r.status in LIVE else r for r in s.rows
        )
        return self.set_kid(s._replace(rows=rows), k, "TERM")

    def stop(self, s: State, *, missed: bool = False) -> State:
        kids = {kid_of(s, r) for r in s.rows if r.name == "s" and r.status in LIVE} - {None}
        rows = tuple(
            r._replace(status="CANCELED") if r.status in LIVE and (not r.run or r.name == "s") else r for r in s.rows
        )
        s = s._replace(wf="TERM", rows=rows)
        for k in () if missed else sorted(kids):
            if s.tx.kids[k][1] == "RUN":
                s = self.end_kid(s, k)
        return s

    def admin(self, s: State) -> Iterator[tuple[str, State]]:
        if s.wf == "RUN":
            yield "person terminates the workflow", self.stop(s)
            if self.cfg.orphans and any(status == "RUN" for _, status in s.tx.kids):
                yield "person terminates the workflow, and misses the sub-workflow", self.stop(s, missed=True)
            return
        gen = s.gen + 1 if self.cfg.new_code else s.gen
        if s.wf == "TERM":
            yield "person retries the workflow", self.advance(self.retry(s, resume=False))
            last = next((r for r in reversed(s.rows) if r.name == "s"), None)
            if self.cfg.resumes and last is not None and last.status == "FAILED" and last.run:
                yield "person retries the workflow, within the sub-workflow", self.advance(self.retry(s, resume=True))
        for i, r in enumerate(s.rows):
            if (r.run and r.name != "s") or r.prev is not None:
                continue
            if r.name == "s" and any(x.name == "r" for x in s.rows):
                continue  # the server would remove r for good
            if r.name == "r" and any(x.name == "b" for x in s.rows[:i]):
                continue
            before = tuple(self.revived(x, r) for x in s.rows[:i])
            again = r._replace(
                sched=s.ids, poll=0, status="SCHEDULED", out=None, need=gen, retried=False, run=(), ended=0
            )
            inside = tuple(x for x in s.rows[i + 1 :] if x.run and x.name != "s")  # of other instances: they stay
            t = s._replace(rows=(*before, *inside, again), wf="RUN", gen=gen, ids=s.ids + 1)
            if r.name == "s":
                t = self.forget(t, r.tid)
            yield f"person reruns from {r.name}{r.tid}", t
        yield (
            "person restarts the workflow",
            self.begin(s._replace(rows=tuple(r for r in s.rows if r.run and r.name != "s"), wf="RUN", gen=gen)),
        )

    def forget(self, s: State, tid: int) -> State:
        """A row of s gets another instance: that of before is nobody's."""
        kids = tuple((0, status) if by == tid else (by, status) for by, status in s.tx.kids)
        return s._replace(tx=s.tx._replace(kids=kids))

    def revived(self, x: Row, rerun: Row) -> Row:
        if (x.run and x.name != "s") or not self.cfg.revives or x.name == rerun.name or x.status not in CAME_TO_NOTHING:
            return x
        return x._replace(status="SCHEDULED", run=())

    def retry(self, s: State, *, resume: bool) -> State:
        last = {r.name: r for r in s.rows if not r.run or r.name == "s"}
        t = s._replace(wf="RUN")
        for r in s.rows:
            if r.run and r.name != "s":
                continue
            if r.name == "s" and resume and r.run and r.status in CAME_TO_NOTHING and s.tx.kids[r.run[0]][1] == "TERM":
                t = self.revive_kid(set_row(t, r._replace(status="IN_PROGRESS")), r.run[0])
            elif last[r.name] is r and r.status in CAME_TO_NOTHING:
                t = new_row(t, r.name, r.inp, r.tid, r.need)
        return t

    def revive_kid(self, s: State, k: int) -> State:
        last = {r.name: r for r in s.rows if r.run == (k,) and r.name != "s"}
        s = self.set_kid(s, k, "RUN")
        for r in last.values():
            if r.status in CAME_TO_NOTHING:
                s = new_row(s, r.name, r.inp, r.tid, r.need, (k,))
        return s

    # ---- moves outside the workers
    def outside(self, s: State) -> Iterator[tuple[str, State]]:
        yield from super().outside(s)
        yield from self.server(s)

    def server(self, s: State) -> Iterator[tuple[str, State]]:
        """The server starts an instance for a row of s, and attaches it."""
        for r in s.rows:
            if r.name != "s" or r.status != "SCHEDULED" or s.wf != "RUN":
                continue
            k = kid_of(s, r)
            if k is None or s.tx.kids[k][1] == "TERM":
                k = len(s.tx.kids)
                t = s._replace(tx=s.tx._replace(kids=(*s.tx.kids, (r.tid, "RUN"))))
                t = new_row(t, self.cfg.inner[0], r.inp, None, r.need, (k,))
                yield f"the server starts instance {k} for s{r.tid}", t if self.cfg.lag else self.attach(t, r, k)
            else:
                yield f"the server attaches instance {k} to s{r.tid}", self.attach(s, r, k)

    def attach(self, s: State, r: Row, k: int) -> State:
        s = set_row(s, r._replace(status="IN_PROGRESS", run=(k,)))
        if s.tx.kids[k][1] == "DONE":
            s = self.set_kid(s, k, "RUN")
        return self.advance(s)

    def bodies(self, s: State, w: Worker) -> list[tuple]:
        """The second instance writes less than the first one."""
        found = super().bodies(s, w)
        if not w.run or w.run == (0,) or self.cfg.same_body:
            return found
        return [tuple((p, v) for p, v in out if p[1:] != "2") for out in found]

    # ---- properties
    def broken(self, s: State) -> str | None:
        rows = tuple(r for r in counting(s) if r.name != "s")
        if bad := super().broken(s._replace(rows=rows)):
            return bad
        if bad := self.undone(s, rows):
            return bad
        given = {n: [r for r in rows if r.name == n and r.status == "COMPLETED"] for n in (*self.cfg.inner, "r", "b")}
        for r in given["b"] if not any(r.name == "s" and r.status == "ENDED" for r in s.rows) else ():
            outs = {n: {x.out for x in found if x.need == max(y.need for y in found)} for n, found in given.items()}
            names = (*self.cfg.inner, "r") if self.cfg.shape == "fork" else self.cfg.inner
            if r.need == max(x.need for x in given["b"]) and (lost := self.joined(s.chain, r.inp, outs, names)):
                return lost
            if r.out != r.inp and (lost := self.joined(s.chain, r.out, outs, names)):
                return lost.replace("i: b was given", "t: b completed with")
        return None

    def undone(self, s: State, rows: tuple) -> str | None:
        """An instance that does not count must not take back what counts."""
        top, by = s.chain[-1], row_of(s.rows, s.chain[-1].exe[0]) if s.chain[-1].exe else None
        if top.who not in self.cfg.inner or by is None or by in rows:
            return None
        lost = [i for i in top.replaced for r in rows if r.status == "COMPLETED" and r.out == i and r.name == top.who]
        return (
            f"z: c{len(s.chain) - 1} of an instance that does not count replaces the effective c{lost[0]}"
            if lost
            else None
        )

    def soft(self, s: State) -> str | None:
        return None

    # ---- liveness
    def settled(self, s: State) -> State:
        while True:
            step = next(self.server(s), None)
            if step is None:
                return s
            s = step[1]

    def finish(self, s: State, body: int, backwards: bool) -> str | None:
        for _ in range(24):
            s = self.settled(s)
            live = [r for r in s.rows if r.status in LIVE and r.name != "s" and self.P.running(s, r)]
            live = [r for r in live if not (r.retried and r.status == "IN_PROGRESS")]
            if s.wf != "RUN" or not live:
                waits = [r.tid for r in s.rows if r.name == "s" and r.status in LIVE and s.wf == "RUN" and not live]
                return f"s{waits[0]} waits for ever" if waits and not self.held(s) else None
            r = live[-1 if backwards else 0]
            if r.status == "IN_PROGRESS":
                s = set_row(s, r._replace(status="TIMED_OUT", retried=True))
                s = new_row(s, r.name, r.inp, r.tid, r.need, r.run)
                r = s.rows[-1]
            s = set_row(s, r._replace(status="IN_PROGRESS", poll=r.poll + 1))
            w = Worker(r.name, (r.tid, r.sched, r.poll + 1), r.inp, s.gen, "S", -1, None, (), None, r.run)
            s = self.with_worker(s, None, w)
            while s.workers:
                w = s.workers[0]
                options = list(self.work(s, w, faults=False))
                label, t = options[min(body, len(options) - 1)] if w.pc == "S" else options[0]
                if t.workers and t.workers[0].pc == "X" and self.P.counts_for_parent(s, w):
                    return None if self.excused(s, w) else label
                s = t
            if bad := self.broken(s):
                return bad
        return "does not come to an end"

    @staticmethod
    def held(s: State) -> bool:
        """A try that a rerun handed out again is in the hands of a worker that is gone: it is never timed out."""
        return any(r.retried and r.status == "IN_PROGRESS" and r.name != "s" for r in s.rows)

    def excused(self, s: State, w: Worker) -> bool:
        rows = tuple(r._replace(status="ENDED") if self.P.passed_over(s, r) else r for r in counting(s))
        return super().excused(s._replace(rows=rows), w)


# ---------------------------------------------------------------- scenarios
LINE = Config(noop="never")
ONE = replace(LINE, inner=("p",))
FORK = replace(LINE, shape="fork", snapshot=True, inner=("p",))
SCENARIOS = {
    "tree-calm": replace(LINE, total=0, noop="free"),
    "tree-faults": replace(ONE, total=2, timeouts=1, requeues=1, unclear=1),
    "tree-retry": replace(LINE, total=2, timeouts=0, admins=2),
    "tree-noop": replace(ONE, total=2, timeouts=0, admins=2, noop="free"),
    "tree-retry-faults": replace(ONE, total=3, timeouts=1, admins=2),
    "tree-resume": replace(ONE, total=4, timeouts=2, admins=2, resumes=True, tries=1),
    "tree-rerun": replace(ONE, total=4, timeouts=0, admins=4),
    "tree-orphan": replace(ONE, total=3, timeouts=0, admins=2, requeues=1, orphans=True),
    "tree-lag": replace(ONE, total=2, timeouts=1, admins=2, lag=True),
    "tree-optional": replace(LINE, total=2, timeouts=2, optional=True, tries=1),
    "tree-optional-retry": replace(ONE, total=3, timeouts=1, admins=2, optional=True, tries=1),
    "tree-unstored": replace(ONE, total=3, timeouts=1, admins=2, stored=False),
    "tree-fork-calm": replace(FORK, total=1, timeouts=1),
    "tree-fork-retry": replace(FORK, total=2, timeouts=0, admins=2),
    "tree-fork-people": replace(FORK, total=3, timeouts=0, admins=2, persons=1, person_paths=("x",)),
    "tree-fork-orphan": replace(FORK, total=2, timeouts=0, admins=2, orphans=True),
    "tree-fork-lag": replace(FORK, total=2, timeouts=0, admins=2, lag=True),
    "tree-fork-faults": replace(FORK, total=3, timeouts=1, admins=2),
}


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("what", choices=["list", "run", "mutate"])
    ap.add_argument("names", nargs="*", help="scenarios (run), rules (mutate); none: all")
    ap.add_argument("--limit", type=float, default=560, help="seconds for each scenario")
    o = ap.parse_args()
    if o.what == "list":
        for k, c in SCENARIOS.items():
            print(k, {f.name: getattr(c, f.name) for f in fields(Config) if getattr(c, f.name) != f.default})
    elif o.what == "run":
        for k in o.names or SCENARIOS:
            model.show(k, FIXED, SCENARIOS[k], limit_s=o.limit, world_type=World)
    else:
        own = [f.name for f in fields(Rules) if f.name not in {g.name for g in fields(model.Rules)}]
        for r in o.names or own:
            model.mutate(r, FIXED, SCENARIOS, limit_s=o.limit, world_type=World)


if __name__ == "__main__":
    main()

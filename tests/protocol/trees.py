"""Explicit-state model of workflows with sub-workflows, on top of `model`.

The world
  root     s (a sub-workflow), with r beside it in the shape `fork`, then b.
  s        is a row that no worker runs. The server starts an instance for it and then attaches it to the row, which is
           IN_PROGRESS until the instance ends.
  instance of s: the tasks `Config.inner`, p then q: rows with `run == (instance,)`. One may be t, a sub-workflow
           as s is: its instances have the tasks `Config.deep`. Names are unique in the tree.
  people   terminate (and may miss the instance of a sub-workflow, which then goes on alone), retry (the sub-workflow
           begins anew as another row, or goes on in the instance that failed), rerun and restart. A rerun hands out
           again rows of sub-workflows that came to nothing, also one that has had its retry: the server starts another
           instance for that.
  within   people also rerun from a task of a sub-workflow, where nothing has followed that. The rows around it stay,
           and their sub-workflows are IN_PROGRESS again. A retry or a rerun within an instance revives what came to
           nothing beside it: the instances of other rows, which may be older ones, and in place what was cancelled. By
           the server's API they do so in an instance that has been replaced, too: its row gets a new time, and stays
           where it is among the rows. All this is as Conductor does it.
  record   the rows of all instances that count: the root's and, in one that counts, that of the *last* row of each
           sub-workflow. Below one that does not count, none does.

Not modelled: sub-workflows within t, and a t that is optional.

usage: python -m tests.protocol.trees --help
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

from tests.protocol import model
from tests.protocol.model import LIVE, Row, State, Worker, new_row, row_of, set_row

CAME_TO_NOTHING = ("FAILED", "CANCELED", "TIMED_OUT")
SUBS = ("s", "t")


# ---------------------------------------------------------------- the rules under test
@dataclass(frozen=True)
class Rules(model.Rules):
    tree: bool = True  # commits are judged by the record of the whole tree, not by that of the own instance
    replaced_is_abandoned: bool = True  # a commit of an instance that no longer counts is abandoned, not foreign ...
    replaced_is_not_effective: bool = True  # ... although its try completed there
    below_is_abandoned: bool = True  # so is one of an instance below an instance that no longer counts ...
    below_is_not_effective: bool = True  # ... although its try completed there, and is the last one there
    last_row_counts: bool = True  # of several instances of one sub-workflow, that of the last row counts
    last_by_place: bool = True  # the last row is the one that was added last: an older one may have a newer time
    replaced_refused: bool = True  # an attempt in an instance that does not count is refused ...
    below_is_refused: bool = True  # ... also if only an instance further out has been replaced
    unattached_is_foreign: bool = True  # a commit whose instance may not be attached to its row yet is foreign ...
    unattached_around: bool = True  # ... also if that is an instance further out
    passed_over_is_over: bool = True  # in a sub-workflow that is passed over, what did not complete is abandoned ...
    passed_over_around: bool = True  # ... however deep


FIXED = Rules(seal="adopt")  # as Perago does


@dataclass(frozen=True)
class Config(model.Config):
    shape: str = "line"  # line: s then b;  fork: s beside r, then b from both
    inner: tuple = ("p", "q")
    deep: tuple = ()  # the tasks of t
    orphans: bool = False  # who terminates the workflow may miss the instance of a sub-workflow
    resumes: bool = False  # a retry goes on within the instance that failed
    within: bool = False  # people rerun from tasks of sub-workflows, and retry within one that was cancelled
    replaced: bool = False  # people rerun from tasks of instances that have been replaced
    lag: bool = False  # an instance runs before it is attached to its row

    @property
    def outer(self) -> tuple:
        return ("s",) if self.shape == "line" else ("s", "r")

    def tasks(self, sub: str) -> tuple:
        return self.inner if sub == "s" else self.deep

    @property
    def leaves(self) -> tuple:
        """The tasks in sub-workflows that workers run."""
        return tuple(name for name in self.inner + self.deep if name not in SUBS)

    def around(self, name: str) -> tuple:
        """The sub-workflows that a task is in, the outermost first."""
        return ("s", "t") if name in self.deep else ("s",) if name in self.inner else ()


class Kid(NamedTuple):
    """An instance of a sub-workflow."""

    of: str  # s or t
    row: int  # id of the row that it was started for
    run: tuple  # that row's
    status: str = "RUN"  # RUN, TERM or DONE
    attached: bool = False


class Tree(NamedTuple):
    kids: tuple = ()
    rows: tuple = ()  # in the view of an attempt: the rows of all instances


def kid_of(s: State, r: Row, *, attached: bool = False) -> int | None:
    """The newest instance that was started for the row of a sub-workflow, attached or not."""
    kids = s.tx.kids
    return next((k for k in reversed(range(len(kids))) if kids[k].row == r.tid and kids[k].attached >= attached), None)


def runs_around(s: State, run: tuple) -> tuple:
    """An instance and those around it, the root excluded."""
    return (run, *runs_around(s, s.tx.kids[run[0]].run)) if run else ()


def last_subs(s: State, run: tuple, *, by_place: bool = True) -> Iterator[Row]:
    """The last row of each sub-workflow in an instance."""
    for name in SUBS:
        mine = [r for r in s.rows if r.name == name and r.run == run]
        if mine:
            yield mine[-1] if by_place else max(mine, key=lambda r: r.sched)


def attached_to(s: State, r: Row, known: tuple | None = None) -> tuple | None:
    """The instance of the row of a sub-workflow: in truth, or as far as the `known` ones are attached."""
    k = kid_of(s, r, attached=True)
    if k is None and r.status in LIVE and (late := kid_of(s, r)) is not None and (known is None or (late,) in known):
        k = late
    return None if k is None else (k,)


def below(s: State, run: tuple, known: tuple | None = None, *, by_place: bool = True) -> Iterator[tuple]:
    """The instances that count if this one does."""
    for r in last_subs(s, run, by_place=by_place):
        if (kid := attached_to(s, r, known)) is not None:
            yield kid
            yield from below(s, kid, known, by_place=by_place)


def counting(s: State) -> tuple:
    """The rows of the tree. Ground truth."""
    runs = {(), *below(s, ())}
    return tuple(r for r in s.rows if r.run in runs)


# ---------------------------------------------------------------- the protocol
class Protocol(model.Protocol):
    R: Rules
    cfg: Config

    def running(self, s: State, r: Row) -> bool:
        return r.name not in SUBS and self.instance_runs(s, r.run)  # no worker runs a sub-workflow

    @staticmethod
    def instance_runs(s: State, run: tuple) -> bool:
        return s.tx.kids[run[0]].status == "RUN" if run else s.wf == "RUN"

    def digest(self, w: Worker) -> tuple:
        return ()

    def view(self, s: State, w: Worker) -> State:
        """What the engine's record shows an attempt."""
        if s.tx.rows:
            return s
        if not self.R.tree:
            shown = tuple(r for r in s.rows if r.name not in SUBS and r.run == w.run)
        elif not self.R.replaced_is_not_effective:
            shown = s.rows
        else:
            runs = self.runs(s, w)
            shown = tuple(r for r in s.rows if r.run in runs)
        return s._replace(rows=shown, tx=s.tx._replace(rows=s.rows))

    def runs(self, s: State, w: Worker) -> set:
        """The instances that count, as far as an attempt can know: one that is not attached is known to those in it."""
        known = runs_around(s, w.run)
        runs = {(), *below(s, (), known, by_place=self.R.last_by_place)}
        if not self.R.last_row_counts:
            runs |= {(k,) for k, kid in enumerate(s.tx.kids) if kid.attached}
        if not self.R.below_is_not_effective:
            runs |= {run for k in range(len(s.tx.kids)) for run in below(s, (k,), known)}
        return runs

    def counts_for_parent(self, s: State, w: Worker) -> bool:
        if not w.run or not self.R.tree:
            return True
        if self.R.below_is_refused:
            return w.run in self.runs(s, w)
        return w.run in below(s, s.tx.kids[w.run[0]].run, (w.run,))

    def unread(self, s: State, i: int, me: Worker) -> bool:
        """Whether the instance that a commit was made in may not be attached to its row yet."""
        known, around = runs_around(s, me.run), self.cfg.around(s.chain[i].who)
        around = around[0 if self.R.unattached_around else -1 :]
        return any(
            row.name in around and row.status in LIVE and attached_to(s, row, known) is None
            for run in {r.run for r in s.rows}
            for row in last_subs(s, run, by_place=self.R.last_by_place)
        )

    def verdict(self, s: State, i: int, me: Worker) -> str:
        c = s.chain[i]
        row = row_of(s.rows, c.exe[0]) if self.counts(s.chain, i) else None
        if self.counts(s.chain, i) and row is None:
            if not self.R.tree and not (me.run and c.who == me.name and row_of(s.tx.rows, c.exe[0]) is None):
                return "foreign"
            if c.who in self.cfg.leaves and not self.R.replaced_is_abandoned:
                return "foreign"
            if c.who in self.cfg.deep and not self.R.below_is_abandoned:
                return "foreign"
            if self.R.unattached_is_foreign and self.unread(s, i, me):
                return "foreign"
        if row is not None and self.R.passed_over_is_over and self.passed_over(s, row, self.R.passed_over_around):
            return "abandoned"
        return super().verdict(s, i, me)

    def passed_over(self, s: State, r: Row, however_deep: bool = True) -> bool:
        """It came to nothing in a sub-workflow that is passed over: no later try will come."""
        around = self.cfg.around(r.name)[0 if however_deep else -1 :]
        return r.status in CAME_TO_NOTHING and any(x.status == "ENDED" and x.name in around for x in s.rows)

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

    @staticmethod
    def set_kid(s: State, k: int, **values: object) -> State:
        kids = s.tx.kids
        return s._replace(tx=s.tx._replace(kids=(*kids[:k], kids[k]._replace(**values), *kids[k + 1 :])))

    def row_for(self, s: State, k: int) -> Row | None:
        """The row of a sub-workflow that waits for an instance."""
        r = row_of(s.rows, s.tx.kids[k].row)
        return r if r is not None and r.status in LIVE and kid_of(s, r) == k else None

    def advance(self, s: State) -> State:
        for k in reversed(range(len(s.tx.kids))):  # those within another before that
            if s.tx.kids[k].status == "RUN":
                s = self.advance_kid(s, k)
        if s.wf != "RUN":
            return s
        mine = [r for r in s.rows if not r.run]
        last = {r.name: r for r in mine}
        over = [last[n] for n in self.cfg.outer if n in last and last[n].status in ("COMPLETED", "ENDED")]
        if len(over) == len(self.cfg.outer) and "b" not in last:
            return new_row(s, "b", self.P.join(tuple(r.inp if r.out is None else r.out for r in over)), None, s.gen)
        live = any(r.status in LIVE for r in mine)
        if "b" in last and last["b"].status == "COMPLETED" and len(over) == len(self.cfg.outer) and not live:
            return s._replace(wf="DONE")
        return s

    def advance_kid(self, s: State, k: int) -> State:
        tasks = self.cfg.tasks(s.tx.kids[k].of)
        mine = [r for r in s.rows if r.run == (k,)]
        done = {r.name: r for r in mine if r.status == "COMPLETED"}
        names = {r.name for r in mine}
        for before, name in itertools.pairwise(tasks):
            if before in done and name not in names:
                return new_row(s, name, done[before].out, None, done[before].need, (k,))
        end = done.get(tasks[-1])
        if end is None or any(r.status in LIVE for r in mine):
            return s
        r = self.row_for(s, k)
        s = self.set_kid(s, k, status="DONE")
        if r is None or not s.tx.kids[k].attached:
            return s  # it ends its row when it is attached
        return set_row(s, r._replace(status="COMPLETED", out=end.out, out_code=end.out_code, ended=s.ids - 1))

    def exhausted(self, s: State, r: Row) -> State:
        return self.fail_kid(s, r.run[0]) if r.run else self.stop(s)

    def fail_kid(self, s: State, k: int) -> State:
        s = self.end_kid(s, k)
        r = self.row_for(s, k)
        if r is None or not s.tx.kids[k].attached:
            return s
        s = set_row(s, r._replace(status="FAILED"))
        if r.retried or any(x.prev == r.tid for x in s.rows):
            return self.advance(set_row(s, r._replace(status="FAILED", retried=True)))
        if self.cfg.optional and r.name == "s":
            return self.advance(set_row(s, r._replace(status="ENDED")))
        return self.exhausted(s, r)

    def end_kid(self, s: State, k: int, missed: str = "") -> State:
        """An instance ends without success."""
        return self.cancel(self.set_kid(s, k, status="TERM"), (k,), missed)

    def cancel(self, s: State, run: tuple, missed: str = "") -> State:
        """Ends what is live in an instance, and the instances of its sub-workflows, but for the one that is missed."""
        live = [r for r in s.rows if r.run == run and r.status in LIVE]
        for r in live:
            s = set_row(s, r._replace(status="CANCELED"))
        for r in live:
            if r.name in SUBS and r.name != missed and (k := kid_of(s, r)) is not None and s.tx.kids[k].status == "RUN":
                s = self.end_kid(s, k, missed)
        return s

    def stop(self, s: State, missed: str = "") -> State:
        return self.cancel(s._replace(wf="TERM"), (), missed)

    def admin(self, s: State) -> Iterator[tuple[str, State]]:
        if s.wf == "RUN":
            yield "person terminates the workflow", self.stop(s)
            for name in SUBS if self.cfg.orphans else ():
                if any(kid.of == name and kid.status == "RUN" for kid in s.tx.kids):
                    yield f"person terminates the workflow, and misses {name}", self.stop(s, missed=name)
            return
        gen = s.gen + 1 if self.cfg.new_code else s.gen
        if s.wf == "TERM":
            yield "person retries the workflow", self.advance(self.retry(s, ()))
            last = next((r for r in reversed(s.rows) if r.name == "s"), None)
            if self.cfg.resumes and last is not None and last.status == "FAILED" and (inner := self.failed_in(s, last)):
                yield "person retries the workflow, within the sub-workflow", self.advance(self.resume(s, inner))
            for k in self.reached(s) if self.cfg.within else ():
                if row_of(s.rows, s.tx.kids[k].row).status == "CANCELED" and self.to_retry(s, (k,)):
                    yield f"person retries instance {k}", self.advance(self.resume(s, k))
        for r in s.rows:
            if r.run or r.prev is not None:
                continue
            if r.name == "s" and any(x.name == "r" for x in s.rows):
                continue  # the server would remove r for good
            if r.name == "r" and any(x.name == "b" for x in s.rows[: s.rows.index(r)]):
                continue
            t = self.rerun(s, r, gen)._replace(wf="RUN", gen=gen)
            yield f"person reruns from {r.name}{r.tid}", self.forget(t, r.tid) if r.name == "s" else t
        for k in self.reached(s) if self.cfg.within else self.replaced(s) if self.cfg.replaced else ():
            for r in s.rows:
                if r.run == (k,) and r.prev is None and r.name not in SUBS:
                    t = self.rerun(s, r, gen)._replace(gen=gen)
                    yield f"person reruns from {r.name}{r.tid} in instance {k}", self.go_on(t, k, timed=True)
        yield (
            "person restarts the workflow",
            self.begin(s._replace(rows=tuple(r for r in s.rows if r.run), wf="RUN", gen=gen)),
        )

    def rerun(self, s: State, r: Row, gen: int) -> State:
        """A rerun in the instance of a row: what was added later there is gone."""
        before = s.rows[: s.rows.index(r)]
        kept = tuple(x for x in s.rows if x.run != r.run or x in before)
        again = r._replace(sched=s.ids, poll=0, status="SCHEDULED", out=None, need=gen, retried=False, ended=0)
        s = s._replace(rows=(*kept, again), ids=s.ids + 1)
        for x in before:
            lost = x.run == r.run and x.name != r.name and x.status in CAME_TO_NOTHING
            s = self.hand_out(s, x) if lost and self.cfg.revives else s
        return s

    def hand_out(self, s: State, r: Row, **values: int) -> State:
        """Hands out a row again. That of a sub-workflow has no instance then."""
        for k, kid in enumerate(s.tx.kids):
            s = self.set_kid(s, k, attached=False) if kid.row == r.tid else s
        return set_row(s, r._replace(status="SCHEDULED", **values))

    def forget(self, s: State, tid: int) -> State:
        """A row of s gets another instance: that of before is nobody's."""
        kids = tuple(kid._replace(row=0, attached=False) if kid.row == tid else kid for kid in s.tx.kids)
        return s._replace(tx=s.tx._replace(kids=kids))

    @staticmethod
    def reached(s: State) -> Iterator[int]:
        """The instances that have ended, and that nothing has followed, in theirs and in those around."""
        run: tuple = ()
        while mine := [r for r in s.rows if r.run == run]:
            k = kid_of(s, mine[-1], attached=True) if mine[-1].name in SUBS and mine[-1].status not in LIVE else None
            if k is None or s.tx.kids[k].status == "RUN":
                return
            yield k
            run = (k,)

    @staticmethod
    def replaced(s: State) -> Iterator[int]:
        """The instances of older rows of s, if the last one has completed: otherwise the workflow fails at once."""
        outer = [r for r in s.rows if r.name == "s"]
        for r in outer[:-1] if outer and outer[-1].status == "COMPLETED" else ():
            if (kid := attached_to(s, r)) is not None:
                runs = (kid, *below(s, kid))
                yield from (k for (k,) in runs if all(s.tx.kids[j].status != "RUN" for (j,) in runs_around(s, (k,))))

    # ---- retries
    def to_retry(self, s: State, run: tuple) -> list:
        last = {r.name: r for r in s.rows if r.run == run}
        return [r for r in last.values() if r.status in CAME_TO_NOTHING]

    def retry(self, s: State, run: tuple) -> State:
        """What came to nothing in an instance has another try."""
        t = self.set_kid(s, run[0], status="RUN") if run else s._replace(wf="RUN")
        for r in self.to_retry(s, run):
            t = new_row(t, r.name, r.inp, r.tid, r.need, run)
        return t

    def failed_in(self, s: State, r: Row) -> int | None:
        """The innermost instance that failed, from the row of a sub-workflow down."""
        k = kid_of(s, r, attached=True)
        if k is None or s.tx.kids[k].status != "TERM":
            return None
        inner = next((x for x in last_subs(s, (k,)) if x.status == "FAILED"), None)
        return (None if inner is None else self.failed_in(s, inner)) or k

    def resume(self, s: State, k: int) -> State:
        return self.go_on(self.retry(s, (k,)), k)

    def go_on(self, s: State, k: int, *, timed: bool = False) -> State:
        """An instance goes on, and with it those around it, and what came to nothing beside them.

        Around a row that has had its retry, only a rerun by the root's id goes on, which gives a new time to the rows.
        """
        s = self.set_kid(s, k, status="RUN")
        r = row_of(s.rows, s.tx.kids[k].row)
        if r is None:
            return s
        for x in s.rows if not r.retried else ():
            beside = kid_of(s, x, attached=True)
            if x.run != r.run or x.tid == r.tid:
                continue
            if x.name in SUBS and x.status in CAME_TO_NOTHING and beside is not None:
                running = s.tx.kids[beside].status == "RUN"
                if running or self.to_retry(s, (beside,)):
                    s = set_row(s, x._replace(status="IN_PROGRESS"))
                    s = s if running else self.retry(s, (beside,))
            elif x.status == "CANCELED":
                s = self.hand_out(s, x, sched=s.ids, poll=0, retried=False)._replace(ids=s.ids + 1)
        if timed:
            s = set_row(s, r._replace(status="IN_PROGRESS", sched=s.ids, retried=False))._replace(ids=s.ids + 1)
        elif not r.retried:
            s = set_row(s, r._replace(status="IN_PROGRESS"))
        else:
            return s
        return self.go_on(s, r.run[0], timed=timed) if r.run else s._replace(wf="RUN")

    # ---- moves outside the workers
    def outside(self, s: State) -> Iterator[tuple[str, State]]:
        yield from super().outside(s)
        yield from self.server(s)

    def server(self, s: State) -> Iterator[tuple[str, State]]:
        """The server starts an instance for the row of a sub-workflow, and attaches it."""
        for r in s.rows:
            if r.name not in SUBS or r.status != "SCHEDULED" or not self.P.instance_runs(s, r.run):
                continue
            k = kid_of(s, r)
            if k is None or s.tx.kids[k].status == "TERM":
                k = len(s.tx.kids)
                t = s._replace(tx=s.tx._replace(kids=(*s.tx.kids, Kid(r.name, r.tid, r.run))))
                t = new_row(t, self.cfg.tasks(r.name)[0], r.inp, None, r.need, (k,))
                yield f"the server starts instance {k} for {r.name}{r.tid}", t if self.cfg.lag else self.attach(t, r, k)
            else:
                yield f"the server attaches instance {k} to {r.name}{r.tid}", self.attach(s, r, k)

    def attach(self, s: State, r: Row, k: int) -> State:
        s = self.set_kid(set_row(s, r._replace(status="IN_PROGRESS")), k, attached=True)
        if s.tx.kids[k].status == "DONE":
            s = self.set_kid(s, k, status="RUN")
        return self.advance(s)

    def bodies(self, s: State, w: Worker) -> list[tuple]:
        """The second instance writes less than the first one."""
        found, kids = super().bodies(s, w), s.tx.kids
        if not w.run or self.cfg.same_body or kids[w.run[0]].of not in [kid.of for kid in kids[: w.run[0]]]:
            return found
        return [tuple((p, v) for p, v in out if p[1:] != "2") for out in found]

    # ---- properties
    def broken(self, s: State) -> str | None:
        rows = tuple(r for r in counting(s) if r.name not in SUBS)
        if bad := super().broken(s._replace(rows=rows)):
            return bad
        if bad := self.undone(s, rows):
            return bad
        given = {n: [r for r in rows if r.name == n and r.status == "COMPLETED"] for n in (*self.cfg.leaves, "r", "b")}
        for r in given["b"] if not any(r.name == "s" and r.status == "ENDED" for r in s.rows) else ():
            outs = {n: {x.out for x in found if x.need == max(y.need for y in found)} for n, found in given.items()}
            names = (*self.cfg.leaves, "r") if self.cfg.shape == "fork" else self.cfg.leaves
            if r.need == max(x.need for x in given["b"]) and (lost := self.joined(s.chain, r.inp, outs, names)):
                return lost
            if r.out != r.inp and (lost := self.joined(s.chain, r.out, outs, names)):
                return lost.replace("i: b was given", "t: b completed with")
        return None

    def undone(self, s: State, rows: tuple) -> str | None:
        """An instance that does not count must not take back what counts."""
        top, by = s.chain[-1], row_of(s.rows, s.chain[-1].exe[0]) if s.chain[-1].exe else None
        if top.who not in self.cfg.leaves or by is None or by in rows:
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
            live = [r for r in s.rows if r.status in LIVE and self.P.running(s, r)]
            live = [r for r in live if not (r.retried and r.status == "IN_PROGRESS")]
            if s.wf != "RUN" or not live:
                waits = [r for r in s.rows if r.name in SUBS and r.status in LIVE and s.wf == "RUN" and not live]
                return f"{waits[0].name}{waits[0].tid} waits for ever" if waits and not self.held(s) else None
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
                if t.workers and t.workers[0].pc == "X" and (self.P.counts_for_parent(s, w) or w.run in below(s, ())):
                    return None if self.excused(s, w) else label
                s = t
            if bad := self.broken(s):
                return bad
        return "does not come to an end"

    @staticmethod
    def held(s: State) -> bool:
        """A try that a rerun handed out again is in the hands of a worker that is gone: it is never timed out."""
        return any(r.retried and r.status == "IN_PROGRESS" and r.name not in SUBS for r in s.rows)

    def excused(self, s: State, w: Worker) -> bool:
        rows = tuple(r._replace(status="ENDED") if self.P.passed_over(s, r) else r for r in counting(s))
        return super().excused(s._replace(rows=rows), w)


# ---------------------------------------------------------------- scenarios
LINE = Config(noop="never")
ONE = replace(LINE, inner=("p",))
DEEP = replace(LINE, inner=("p", "t"), deep=("q",))
NEST = replace(LINE, inner=("t",), deep=("p",))
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
    "tree-within": replace(LINE, total=2, timeouts=0, admins=2, within=True),
    "tree-within-faults": replace(ONE, total=3, timeouts=1, admins=2, within=True, tries=1),
    "tree-within-twice": replace(ONE, total=4, timeouts=0, admins=4, within=True),
    "tree-replaced": replace(ONE, total=3, timeouts=0, admins=3, replaced=True),
    "tree-deep-calm": replace(DEEP, total=0, noop="free"),
    "tree-deep-retry": replace(NEST, total=2, timeouts=0, admins=2),
    "tree-deep-within": replace(DEEP, total=2, timeouts=0, admins=2, within=True),
    "tree-deep-lag": replace(FORK, total=0, lag=True, inner=("t",), deep=("p",)),
    "tree-deep-optional": replace(NEST, total=2, timeouts=2, optional=True, tries=1),
    "tree-deep-faults": replace(NEST, total=3, timeouts=1, admins=2, within=True, resumes=True, tries=1),
    "tree-deep-orphan": replace(NEST, total=2, timeouts=0, admins=2, orphans=True, within=True),
    "tree-deep-replaced": replace(NEST, total=3, timeouts=0, admins=3, replaced=True),
    "tree-deep-unstored": replace(NEST, total=3, timeouts=1, admins=2, within=True, stored=False),
    "tree-deep-fork": replace(FORK, total=2, timeouts=0, admins=2, inner=("t",), deep=("p",)),
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

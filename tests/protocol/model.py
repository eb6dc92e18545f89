"""Explicit-state model of Perago's publication protocol (design.md, "Publication protocol").

Breadth-first, so that the first trace found for a broken property is a shortest one.

The world
  branch   `chain`, a list of commits.  It only grows (the compare-and-swap is exact, so nothing else can happen to
           it but people committing).  A commit is named by its index; "H down to A" is chain[A+1 .. H].
  engine   `rows`, the task records of ONE workflow instance in schedule order, and `wf` RUN / TERM / DONE.
           rerun: same id, new scheduled time, later rows removed; what came to nothing of other tasks is handed out again
           under its id and time, also a try that has had its retry: that one never times out and is not tried again.
           retry: new id, `prev` = retriedTaskId.
           restart: all rows removed.  A report to a terminal row or a terminal workflow is dropped, any other is taken
           whoever sends it; a slow report reads the row first and writes the whole row later (no lock in the server).
  workers  one per delivery.  A crash is a worker that never moves again, so every step doubles as a crash point.
  floats   merge requests whose client no longer waits: each may land later, if the head is the expected one.

Steps of a worker
  S  read H and the engine: adopt, or run the body (its output is a free choice: nothing, or a change)
  P0 read H -> P1 read the engine and decide -> F2 attempt fence -> M compare-and-swap (or unclear: L look, retry, give up)
  R  attempt fence before the report (rule `report_fence`) -> W1 report (slow: W1 read, W2 write) -> B read back
  X  report FAILED

Rules: every sentence of the protocol that matters is a boolean, so that the text as it stands (TEXT), the proposal (FIXED)
and the proposal less one rule can be run against the same world.   usage: model.py --help
"""
from __future__ import annotations

import argparse
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, fields, replace
from typing import Iterator, NamedTuple

LIVE = ("SCHEDULED", "IN_PROGRESS")


# ---------------------------------------------------------------- the rules under test
@dataclass(frozen=True)
class Rules:
    # who counts as what
    stamp_needs_parent: bool = True    # a stamp counts only where its expected head is the first parent
    effective_by_ref: bool = True      # effective = a COMPLETED try of the stamp's logical task names this commit as output
    missing_is_abandoned: bool = True  # the stamp's (task id, scheduled time) is no longer in this instance: abandoned
    outcome_decides: bool = True       # its logical task completed with another ref: abandoned
    unsettled_is_foreign: bool = True  # its try died, but another try of its logical task may still adopt it: not abandoned
    own_is_replaceable: bool = True    # of this attempt's own logical task, neither adoptable nor effective: abandoned
    pass_over: bool = True             # a seal (ours, and its content is its first parent's) is passed over by the fence
    # adoption
    chain_by_schedule: bool = True     # kin = (task id, scheduled time as recorded now), not the task id alone
    code_digest: bool = True           # adoption needs the same code digest
    kin_both_ways: bool = True         # kin are also the tries that retry this one: a rerun can hand out both at once
    later_decides: bool = True         # another try completed after this one was scheduled: as it did, whatever its code
    beside: bool = True                # the newest stamp is of another try that is live too, and not adoptable: refuse
    newest_only: bool = True           # only the newest stamp of this logical task can be adopted
    engine_first: bool = True          # another try is recorded COMPLETED with the same input ref and code: complete as it did
    adopt_at_publish: bool = True      # the publish fence adopts what the start would adopt
    seal: str = "all"                  # who writes an empty stamped commit when completing without a change of content:
    #                                    never / adopt (adoptions) / retry (+ no-ops of later deliveries) / all (+ every no-op)
    # publishing and reporting
    noop_same_fence: bool = True       # a no-op goes through the same publish fence
    allow_empty: bool = True           # a publication whose content equals H's is still made
    head_before_fence: bool = True     # H is read before the last attempt fence
    snapshot_undo: bool = True         # snapshot: abandoned changes are undone path by path; conflict = E(path) is not A(path)
    same_content_kept: bool = True     # ... but not where a later commit replaced them and wrote the same
    report_fence: bool = True          # attempt fence before any report; an attempt that is not current reports nothing
    last_look: bool = True             # that fence also looks whether another try is recorded COMPLETED
    repost_only_own: bool = True       # read back: post again only through that fence
    # a workspace that is a join
    join_newest: bool = True           # the input is the newest of the joined commits, not that of the last branch
    undo_is_published: bool = True     # a no-op over abandoned changes has its own commit, also where an earlier try undid
    #                                    them: a join of its input and a sibling's commit would lie below what undid them


FIXED = Rules()
LEAN = replace(FIXED, seal="adopt")    # the proposal with no-ops left unwritten
TEXT = Rules(**{f.name: False for f in fields(Rules) if f.type == "bool"} | dict(
    seal="never", stamp_needs_parent=True, missing_is_abandoned=True, head_before_fence=True))


@dataclass(frozen=True)
class Config:
    shape: str = "seq"             # seq: a then b;  fork: l beside r, both from A;  join: a fork, then b from both
    snapshot: bool = False
    total: int = 3                 # faults and operations in all
    timeouts: int = 1
    requeues: int = 0
    persons: int = 0
    admins: int = 0                # terminate, workflow retry, rerun, restart
    unclear: int = 0               # merge requests with an unclear answer
    slow: int = 0                  # reports that read, stall, then write
    reverts: int = 0               # a heartbeat of another delivery reverts COMPLETED
    tries: int = 2                 # tries per logical task before the workflow fails
    stored: bool = True            # the result fits into the stamp
    same_body: bool = False        # the body is deterministic: the same content on every try
    noop: str = "free"             # the body changes nothing: free (on some runs), never, always
    task_id_in_params: bool = False
    optional: bool = False         # fork: l is optional, its last failure leaves COMPLETED_WITH_ERRORS
    person_paths: tuple = ("x",)
    copies: bool = False           # a person may cherry-pick a published commit, metadata and all
    shared_path: bool = False      # fork: both siblings also write path s
    new_code: bool = True          # rerun and restart come with new code
    slow_bound: bool = False       # no report or heartbeat lasts longer in the server than the whole next try
    rerun_first: bool = False      # people rerun first tries only
    mixed: bool = False            # rolling deployment: a poll may meet old or new code
    blind: bool = False            # the code digest does not show the change
    fused: bool = True             # the report follows its fence at once (else: anything may happen in between)
    doubled: bool = False          # fork: it begins after a rerun that handed out two tries of l at once
    revives: bool = True           # a rerun hands out again what came to nothing
    solo: bool = True              # check that one more undisturbed try completes, from every state
    scoped: bool = False           # snapshot, with a conflict wherever something that the task could see has changed
    overlap: bool = False          # fork: the scope of l holds a path that r writes, that of r none of l's
    scope_rule: bool = True        # (mutation: the conflict looks at the written paths alone)

    @property
    def first(self) -> tuple:
        return ("a",) if self.shape == "seq" else ("l", "r")


KINDS = ("timeouts", "requeues", "persons", "admins", "unclear", "slow", "reverts", "touches", "ages")


# ---------------------------------------------------------------- state
class Commit(NamedTuple):
    who: str           # root, person, or the logical task of the stamp
    exe: tuple         # (task id, scheduled time, poll count) of the stamp
    base: int          # its input ref
    expected: int      # its expected head
    tree: tuple
    writes: tuple      # what its body changed
    replaced: tuple    # commits that it says it replaced
    stored: bool       # it holds the result
    digest: tuple      # params digest
    code: int          # code digest of the run that made the result
    person: bool       # ground truth, not visible to the protocol
    completes: int | None = None   # a seal: the ref that its attempt completes with (None: this very commit)


class Row(NamedTuple):
    name: str
    tid: int
    sched: int
    poll: int
    status: str
    inp: int
    out: int | None
    out_code: int
    prev: int | None
    need: int          # ground truth: the code that the user wants to see at work
    ended: int = 0     # of a COMPLETED row: the newest scheduled time when it was recorded
    retried: bool = False  # it has had its retry: no timeout, no other try
    run: tuple = ()    # transactional.py: of a task of a run, its run; of the end, also the commit that it publishes


class Worker(NamedTuple):
    name: str
    exe: tuple
    inp: int
    code: int
    pc: str
    head: int
    writes: tuple | None
    plan: tuple        # ('pub', commit) or ('out', ref, code)
    snap: Row | None   # the row that a slow report read
    run: tuple = ()    # its row's


class State(NamedTuple):
    chain: tuple
    rows: tuple
    wf: str
    workers: tuple
    floats: tuple
    used: tuple
    gen: int
    ids: int
    tx: tuple = ()     # transactional.py: the runs, and who else writes the target


ROOT = Commit("root", (), -1, -1, (("a", "0"),), (), (), False, (), 0, False)


def row_of(rows: tuple, tid: int) -> Row | None:
    return next((r for r in rows if r.tid == tid), None)


def in_scope(name: str, path: str, overlap: bool = False) -> bool:
    """What a task's workspace holds: the shared input `a`, its own paths, and for b those before it. Person's x: nobody's.

    What both siblings write (s) both see; with `overlap`, l sees r's first path as well.
    """
    seen = {"a": "a", "b": "ablr", "l": "als", "r": "ars", "p": "ap", "q": "pq", "e": "apq"}[name]
    return path[0] in seen or (overlap and name == "l" and path == "r1")


def put(tree: tuple, writes: tuple) -> tuple:
    d = dict(tree)
    d.update(writes)
    return tuple(sorted((p, v) for p, v in d.items() if v is not None))


def new_row(s: State, name: str, inp: int, prev: int | None, need: int, run: tuple = ()) -> State:
    r = Row(name, s.ids, s.ids, 0, "SCHEDULED", inp, None, 0, prev, need, run=run)
    rows = tuple(x._replace(retried=True) if x.tid == prev else x for x in s.rows)
    return s._replace(rows=rows + (r,), ids=s.ids + 1)


def set_row(s: State, r: Row) -> State:
    return s._replace(rows=tuple(r if x.tid == r.tid else x for x in s.rows))


def append(s: State, c: Commit) -> State:
    return s._replace(chain=s.chain + (c,), floats=())  # a waiting request expects an older head: it can never land


# ---------------------------------------------------------------- the protocol: pure decisions
class Protocol:
    def __init__(self, rules: Rules, cfg: Config):
        self.R, self.cfg = rules, cfg

    def counts(self, chain: tuple, i: int) -> bool:
        c = chain[i]
        if c.who in ("root", "person", "other"):
            return False
        return c.expected == i - 1 or not self.R.stamp_needs_parent

    def running(self, s: State, r: Row) -> bool:
        """Whether the workflow instance of a row runs."""
        return s.wf == "RUN"

    def current(self, s: State, exe: tuple) -> bool:
        r = row_of(s.rows, exe[0])
        return bool(r) and self.running(s, r) and r.status == "IN_PROGRESS" and (r.sched, r.poll) == exe[1:]

    def other_code(self, code: int, w: Worker) -> bool:
        return self.R.code_digest and not self.cfg.blind and code != w.code

    def digest(self, w: Worker) -> tuple:
        return (w.exe[0],) if self.cfg.task_id_in_params else w.run

    def effective(self, s: State, i: int) -> bool:
        c = s.chain[i]
        if self.R.effective_by_ref:
            return any(r.name == c.who and r.status == "COMPLETED" and r.out == i for r in s.rows)
        r = row_of(s.rows, c.exe[0])
        return bool(r) and r.status == "COMPLETED" and (r.sched, r.poll) == c.exe[1:]

    def verdict(self, s: State, i: int, me: Worker) -> str:
        """effective, abandoned or foreign: chain[i] as the engine tells it, asked about this instance."""
        R, c = self.R, s.chain[i]
        if not self.counts(s.chain, i):
            return "foreign"
        if self.effective(s, i):
            return "effective"
        r = row_of(s.rows, c.exe[0])
        if r is None or r.sched != c.exe[1]:
            return "abandoned" if R.missing_is_abandoned or r is not None else "foreign"
        mine = [x for x in s.rows if x.name == c.who]
        if R.outcome_decides and any(x.status == "COMPLETED" for x in mine):
            return "abandoned"
        if R.own_is_replaceable and c.who == me.name:
            return "abandoned"
        if not R.effective_by_ref and r.poll != c.exe[2]:
            return "abandoned"          # the text: the engine's record is of another delivery, this one will never be
        if r.status in LIVE or r.status == "COMPLETED":
            return "foreign"
        if R.unsettled_is_foreign and not any(x.status == "ENDED" for x in mine):
            return "foreign"
        return "abandoned"

    def superseded(self, s: State, i: int, head: int) -> bool:
        """Its logical task has a newer commit: then no try adopts this one any more."""
        c = s.chain[i]
        newest = next((k for k in range(head, i, -1) if self.counts(s.chain, k) and s.chain[k].who == c.who), i)
        return self.counts(s.chain, i) and i not in (newest, s.chain[newest].completes)

    def kin(self, s: State, w: Worker) -> set:
        """(task id, scheduled time) of this task and of the tries it retries; time None: any."""
        found, r = {w.exe[:2]}, row_of(s.rows, w.exe[0])
        while r and r.prev is not None:
            r = row_of(s.rows, r.prev)
            if r:
                found.add((r.tid, r.sched if self.R.chain_by_schedule else None))
        r = row_of(s.rows, w.exe[0])
        while self.R.kin_both_ways and r and (r := next((x for x in s.rows if x.prev == r.tid), None)):
            found.add((r.tid, r.sched))
        return found

    def beside(self, s: State, w: Worker, head: int) -> int | None:
        """The newest commit of this logical task, where it is of another try that is live as well."""
        for i in range(head, w.inp, -1):
            c = s.chain[i]
            if c.who == w.name and self.counts(s.chain, i):
                r = row_of(s.rows, c.exe[0])
                other = r is not None and r.tid != w.exe[0] and r.sched == c.exe[1] and r.status in LIVE
                return i if other else None
        return None

    def adoptable(self, s: State, i: int, w: Worker, kin: set) -> bool:
        c = s.chain[i]
        if c.base != w.inp or c.digest != self.digest(w) or not c.stored or self.other_code(c.code, w):
            return False
        return c.exe[:2] in kin or (c.exe[0], None) in kin

    def sees(self, w: Worker, path: str) -> bool:
        return in_scope(w.name, path, self.cfg.overlap)

    def adopt(self, s: State, w: Worker, head: int) -> tuple | None:
        """Adoption from the history, newest first."""
        kin = self.kin(s, w)
        for i in range(head, w.inp, -1):
            c = s.chain[i]
            if c.who != w.name or not self.counts(s.chain, i):
                continue
            if self.adoptable(s, i, w, kin):
                return self.complete(s, w, head, i if c.completes is None else c.completes, c.code, True)
            if self.R.newest_only:
                return None
        return None

    def adopt_engine(self, s: State, w: Worker) -> tuple | None:
        """Another try of this logical task is recorded COMPLETED: complete as it did (its seal or stamp tells the code)."""
        for r in s.rows:
            if self.R.later_decides and r.name == w.name and r.tid != w.exe[0] and r.status == "COMPLETED":
                if w.exe[1] <= r.ended:
                    return ("out", r.out, r.out_code)
        for r in s.rows:
            if r.name == w.name and r.tid != w.exe[0] and r.status == "COMPLETED" and r.inp == w.inp:
                again = any(x.prev == r.tid and r.ended < x.sched for x in s.rows)     # its retry is rerun since
                unsealed = r.out == w.inp and self.R.seal != "all" and not again
                if unsealed or not self.other_code(r.out_code, w):
                    return ("out", r.out, r.out_code)
        return None

    def is_seal(self, chain: tuple, i: int) -> bool:
        return self.counts(chain, i) and chain[i].completes is not None and chain[i].tree == chain[i - 1].tree

    def complete(self, s: State, w: Worker, head: int, ref: int, code: int, adopted: bool) -> tuple:
        """Complete with `ref` without new content: at once, or behind an empty commit that bars every older swap."""
        later = w.exe[2] > 1 or any(r.name == w.name and r.tid != w.exe[0] for r in s.rows)
        seal = {"never": False, "adopt": adopted, "retry": adopted or later, "all": True}[self.R.seal]
        if not seal or adopted and self.effective(s, ref):
            return ("out", ref, code)
        return ("pub", Commit(w.name, w.exe, w.inp, head, s.chain[head].tree, (), (), self.cfg.stored, self.digest(w),
                              code, False, ref))

    def join(self, refs: tuple) -> int:
        """The commit that a joined workspace is: the newest on the line, which has all others below it."""
        return max(refs) if self.R.join_newest else refs[-1]

    def start(self, s: State, w: Worker, head: int) -> tuple | None:
        return (self.R.engine_first and self.adopt_engine(s, w)) or self.adopt(s, w, head)

    def make(self, w: Worker, head: int, tree: tuple, replaced: list) -> tuple:
        return ("pub", Commit(w.name, w.exe, w.inp, head, tree, w.writes, tuple(replaced), self.cfg.stored,
                              self.digest(w), w.code, False))

    def decide(self, s: State, w: Worker, head: int) -> tuple:
        """The publish fence: facts -> plan."""
        R, chain, base = self.R, s.chain, s.chain[w.inp].tree
        if R.engine_first and (got := self.adopt_engine(s, w)):
            return got
        if R.adopt_at_publish and (got := self.adopt(s, w, head)):
            return got
        if R.beside and (i := self.beside(s, w, head)) is not None:
            return ("refuse", (i,))
        between = [i for i in range(w.inp + 1, head + 1) if not (R.pass_over and self.is_seal(chain, i))]
        told = {i: self.verdict(s, i, w) for i in between}
        told.update({i: "abandoned" for i in between if told[i] == "foreign" and R.newest_only and self.superseded(s, i, head)})
        own = [i for i in between if told[i] == "effective" and chain[i].who == w.name]
        stop = [i for i in between if told[i] != "abandoned" and not (R.own_is_replaceable and i in own)]
        if not R.own_is_replaceable and own and own == stop and w.writes:
            return ("out", own[-1], chain[own[-1]].code)     # the text: "own and effective: adopt it"
        if not w.writes and not R.noop_same_fence:           # the text's step 6
            return ("out", w.inp, w.code) if not between else \
                ("refuse", tuple(stop)) if stop else self.make(w, head, base, between)
        gone = [i for i in between if i not in stop]
        if not stop:
            if not gone and not w.writes:
                return self.complete(s, w, head, w.inp, w.code, False)
            return self.make(w, head, put(base, w.writes), gone)
        if not self.cfg.snapshot:
            return ("refuse", tuple(stop))
        return self.merge(s, w, head, stop, gone)

    def merge(self, s: State, w: Worker, head: int, stop: list, gone: list) -> tuple:
        chain, base = s.chain, dict(s.chain[w.inp].tree)
        writes = dict(w.writes)
        if not self.R.snapshot_undo:                     # a plain three-way merge of A+changes into H
            touched = {p for i in stop for p, v in chain[i].tree if dict(chain[i - 1].tree).get(p) != v}
            if touched & set(writes):
                return ("refuse", tuple(stop))
            return self.make(w, head, put(chain[head].tree, w.writes), gone)
        left = dict(chain[head].tree)
        for p in {p for i in range(w.inp, head + 1) for p, _ in chain[i].tree}:   # E: the head with the abandoned changes undone
            left[p] = base.get(p)
        last: dict = {}
        for i in range(w.inp + 1, head + 1):
            now, before = dict(chain[i].tree), dict(chain[i - 1].tree)
            changed = {p for p in now.keys() | before.keys() if now.get(p) != before.get(p)}
            if self.R.same_content_kept:         # what it wrote as a commit had that it replaced
                changed |= {p for p, by in last.items() if by in chain[i].replaced and by in gone and self.counts(chain, i)}
            if i in stop:
                left.update((p, now.get(p)) for p in changed)
            last.update(dict.fromkeys(changed, i))
        if any(left.get(p) != base.get(p) and left.get(p) != v for p, v in writes.items()):
            return ("refuse", tuple(stop))
        if self.cfg.scoped and self.cfg.scope_rule:
            if any(left.get(p) != base.get(p) for p in left.keys() | base.keys() if self.sees(w, p)):
                return ("refuse", tuple(stop))
        left.update(writes)
        tree = tuple(sorted((p, v) for p, v in left.items() if v is not None))
        if tree == chain[head].tree and not writes and not (gone and self.R.undo_is_published):
            return self.complete(s, w, head, w.inp, w.code, False)
        return self.make(w, head, tree, gone)


# ---------------------------------------------------------------- the world
class World:
    def __init__(self, rules: Rules, cfg: Config):
        self.R, self.cfg, self.P = rules, cfg, Protocol(rules, cfg)
        self.solo_seen: dict = {}

    # ---- engine
    def initial(self) -> State:
        s = State((ROOT,), (), "RUN", (), (), (0,) * len(KINDS), 0, 1)
        if not self.cfg.doubled:
            return self.begin(s)
        one = Row("l", 1, 1, 1, "SCHEDULED", 0, None, 0, None, 0, retried=True)
        two = one._replace(tid=2, sched=2, poll=0, prev=1)  # it was cancelled before anybody had polled it
        return s._replace(rows=(one, two, Row("r", 3, 3, 0, "SCHEDULED", 0, None, 0, None, 0)), ids=4)

    def begin(self, s: State) -> State:
        for name in self.cfg.first:
            s = new_row(s, name, 0, None, s.gen)
        return s

    def advance(self, s: State) -> State:
        """Conductor's decider: schedule what is next, finish the workflow."""
        if s.wf != "RUN":
            return s
        names = [r.name for r in s.rows]
        if self.cfg.shape == "seq" and "b" not in names:
            done = [r for r in s.rows if r.name == "a" and r.status == "COMPLETED"]
            if done:
                return new_row(s, "b", done[-1].out, None, s.gen)
        if self.cfg.shape == "join" and "b" not in names:
            outs = {r.name: r.out for r in s.rows if r.status == "COMPLETED"}
            if outs.keys() == {"l", "r"}:
                return new_row(s, "b", self.P.join((outs["l"], outs["r"])), None, s.gen)
        last = {r.name: r.status for r in s.rows}
        want = {"seq": ("a", "b"), "fork": ("l", "r"), "join": ("l", "r", "b")}[self.cfg.shape]
        if all(last.get(n) in ("COMPLETED", "ENDED") for n in want) and not any(r.status in LIVE for r in s.rows):
            return s._replace(wf="DONE")
        return s

    def retried(self, s: State, r: Row, status: str) -> State:
        """A try ended badly: the next one, or the end of the workflow."""
        s = set_row(s, r._replace(status=status))
        if r.retried:
            return self.advance(s)
        if any(x.prev == r.tid for x in s.rows):
            return set_row(s, r._replace(status=status, retried=True))
        if sum(x.name == r.name and x.need == r.need and x.run == r.run for x in s.rows) < self.cfg.tries:
            return new_row(s, r.name, r.inp, r.tid, r.need, r.run)
        return self.exhausted(s, r)

    def exhausted(self, s: State, r: Row) -> State:
        """The last try of a task ended badly."""
        if self.cfg.optional and r.name == "l":
            return self.advance(set_row(s, r._replace(status="ENDED")))
        return self.stop(s)

    def stop(self, s: State) -> State:
        return s._replace(wf="TERM", rows=tuple(r._replace(status="CANCELED") if r.status in LIVE else r for r in s.rows))

    def admin(self, s: State) -> Iterator[tuple[str, State]]:
        if s.wf == "RUN":
            yield "person terminates the workflow", self.stop(s)
            return
        gen = s.gen + 1 if self.cfg.new_code else s.gen
        if s.wf == "TERM":
            last = {r.name: r for r in s.rows}
            t = s._replace(wf="RUN")
            for r in last.values():
                if r.status in ("FAILED", "CANCELED", "TIMED_OUT"):
                    t = new_row(t, r.name, r.inp, r.tid, r.need, r.run)
            yield "person retries the workflow", self.advance(t)
        for r in s.rows:
            if r.name == "l" and any(x.name == "r" for x in s.rows):
                continue  # the server would remove r for good; not a use of it we model
            if r.name != "b" and any(x.name == "b" for x in s.rows[: s.rows.index(r)]):
                continue  # a try scheduled after b: the server keeps b's result as it is
            if self.cfg.rerun_first and r.prev is not None:
                continue
            before = tuple(self.revived(x, r) for x in s.rows[: s.rows.index(r)])
            rows = before + (r._replace(sched=s.ids, poll=0, status="SCHEDULED", out=None, need=gen, retried=False),)
            t = s._replace(rows=rows, wf="RUN", gen=gen, ids=s.ids + 1)
            yield f"person reruns from {r.name}{r.tid}", t
        yield "person restarts the workflow", self.begin(s._replace(rows=(), wf="RUN", gen=gen))

    def revived(self, x: Row, rerun: Row) -> Row:
        lost = x.name != rerun.name and x.status in ("FAILED", "CANCELED", "TIMED_OUT")
        return x._replace(status="SCHEDULED") if lost and self.cfg.revives else x

    # ---- moves outside the workers
    def outside(self, s: State) -> Iterator[tuple[str, State]]:
        cfg, used = self.cfg, dict(zip(KINDS, s.used))
        room = sum(s.used) < cfg.total

        def spend(t: State, kind: str) -> State:
            k = KINDS.index(kind)
            return t._replace(used=t.used[:k] + (t.used[k] + 1,) + t.used[k + 1:])

        for r in s.rows:
            if r.status == "SCHEDULED" and self.P.running(s, r):
                q = r._replace(status="IN_PROGRESS", poll=r.poll + 1)
                for code in (s.gen, s.gen + 1) if cfg.mixed else (s.gen,):
                    w = Worker(r.name, (r.tid, r.sched, q.poll), r.inp, code, "S", -1, None, (), None, r.run)
                    yield f"poll {self.id(w)}" + (f" by code {code}" if cfg.mixed else ""), \
                        self.with_worker(set_row(s, q), None, w)
            if r.status == "IN_PROGRESS" and self.P.running(s, r) and room:
                if used["timeouts"] < cfg.timeouts and not r.retried:
                    yield f"timeout of {r.name}{r.tid}", spend(self.retried(s, r, "TIMED_OUT"), "timeouts")
                if used["requeues"] < cfg.requeues:
                    yield f"requeue of {r.name}{r.tid}", spend(set_row(s, r._replace(status="SCHEDULED")), "requeues")
            if r.status == "COMPLETED" and room and used["reverts"] < cfg.reverts and self.P.running(s, r):
                later = s.rows[s.rows.index(r) + 1:]
                if self.cfg.slow_bound and any(x.poll or x.sched != x.tid for x in later):
                    continue
                if any(w.exe[0] == r.tid and w.pc != "B" for w in s.workers):
                    t = set_row(s, r._replace(status="IN_PROGRESS", out=None))
                    yield f"heartbeat of another delivery reverts {r.name}{r.tid}", spend(t, "reverts")
        if room and used["persons"] < cfg.persons:
            for p in cfg.person_paths:
                c = Commit("person", (), -1, -1, put(s.chain[-1].tree, ((p, f"P{len(s.chain)}"),)),
                           ((p, f"P{len(s.chain)}"),), (), False, (), 0, True)
                yield f"person commits {p}", spend(append(s, c), "persons")
            if cfg.copies:
                for i, c in enumerate(s.chain):
                    if c.who not in ("root", "person") and i < len(s.chain) - 1 and not c.person:
                        k = c._replace(tree=put(s.chain[-1].tree, c.writes), person=True)
                        yield f"person cherry-picks c{i}", spend(append(s, k), "persons")
        if room and used["admins"] < cfg.admins:
            for label, t in self.admin(s):
                yield label, spend(t, "admins")
        for head, c in s.floats:
            if head == len(s.chain) - 1:
                yield f"late merge of {c.who}{c.exe} lands", append(s, c)

    # ---- workers
    @staticmethod
    def id(w: Worker) -> str:
        return f"{w.name}{w.exe[0]}(s{w.exe[1]},p{w.exe[2]})"

    @staticmethod
    def with_worker(s: State, old: Worker | None, new: Worker | None) -> State:
        ws = [w for w in s.workers if w is not old]
        if new is not None:
            ws.append(new)
        return s._replace(workers=tuple(sorted(ws, key=lambda w: (w.exe, w.pc))))

    def bodies(self, s: State, w: Worker) -> list[tuple]:
        """First run writes two files, later ones one: what only the first wrote must not survive a replacement."""
        tag = f"{w.name}/code{w.code}" if self.cfg.same_body else f"{w.name}{w.exe}"
        r = row_of(s.rows, w.exe[0])
        first = self.cfg.same_body or (s.gen == 0 and w.exe[2] == 1 and r is not None and r.prev is None and r.sched == r.tid)
        out = tuple((f"{w.name}{k}", tag) for k in ((1, 2) if first else (1,)))
        if self.cfg.shared_path:
            out += (("s", tag),)
        return {"free": [out, ()], "never": [out], "always": [()]}[self.cfg.noop]

    def work(self, s: State, w: Worker, faults: bool = True) -> Iterator[tuple[str, State]]:
        P, R, me = self.P, self.R, self.id(w)

        def go(t: State, **kw) -> State:
            return self.with_worker(t, w, w._replace(**kw))

        if w.pc == "R" and self.cfg.slow_bound and any(v.pc == "W2" and v.name == w.name for v in s.workers):
            return
        if w.pc == "S":
            if got := P.start(s, w, len(s.chain) - 1):
                if got[0] == "out":
                    yield f"{me} adopts c{got[1]} at start", go(s, pc="R", plan=got)
                else:
                    yield f"{me} adopts c{got[1].completes} at start, will seal", go(s, pc="F2", plan=got)
                return
            for out in self.bodies(s, w):
                yield f"{me} runs body: {'changes ' + ','.join(p for p, _ in out) if out else 'no change'}", \
                    go(s, pc="P0", writes=out)
        elif w.pc == "P0":
            yield f"{me} reads H=c{len(s.chain) - 1}", go(s, pc="P1", head=len(s.chain) - 1)
        elif w.pc == "P1":
            plan = P.decide(s, w, w.head)
            if plan[0] == "refuse":
                yield f"{me} refused because of {['c%d' % i for i in plan[1]]}", go(s, pc="X", plan=())
            elif plan[0] == "out":
                yield f"{me} decides: complete with c{plan[1]}", go(s, pc="R", plan=plan)
            else:
                c = plan[1]
                what = f"seal on c{w.head}, complete with c{c.completes}" if c.completes is not None else f"publish on c{w.head}"
                yield f"{me} decides: {what}" + (f", replacing {list(c.replaced)}" if c.replaced else ""), \
                    go(s, pc="F2", plan=plan)
        elif w.pc == "F2":
            if P.current(s, w.exe):
                t = go(s, pc="M")
                if not R.head_before_fence:
                    t = go(s, pc="M", head=99)
                yield f"{me} passes the attempt fence", t
            else:
                yield f"{me} is stale at the attempt fence", self.stale(s, w)
        elif w.pc == "M":
            yield from self.swap(s, w, go, faults)
        elif w.pc == "L":
            if (i := self.published(s, w)) is not None:
                yield f"{me} looks, finds c{i}", go(s, pc="R", plan=self.outcome(s, i))
            else:
                yield f"{me} looks, finds nothing, sends again", go(s, pc="M")
                yield f"{me} looks, finds nothing, gives up", go(s, pc="X", plan=())
        elif w.pc == "R":
            if R.report_fence and not P.current(s, w.exe):
                yield f"{me} is stale before the report", self.with_worker(s, w, None)
                return
            v = w
            if R.last_look and (got := P.adopt_engine(s, w)):
                v = w._replace(plan=got)
            v = v._replace(pc="W1")
            t = self.with_worker(s, w, v)
            if self.cfg.fused and R.report_fence:
                yield from self.report(t, v, faults)
            else:
                yield f"{me} about to report COMPLETED c{v.plan[1]}", t
        elif w.pc == "W1":
            yield from self.report(s, w, faults)
        elif w.pc == "W2":
            yield f"{me}: slow report COMPLETED c{w.plan[1]} is written", self.after_report(self.write(s, w, w.snap), w)
        elif w.pc == "B":
            r = row_of(s.rows, w.exe[0])
            again = r is not None and r.status == "IN_PROGRESS" and P.running(s, r)
            if again and (not R.repost_only_own or P.current(s, w.exe)):
                yield f"{me} reads back IN_PROGRESS, posts again", go(s, pc="R" if R.repost_only_own else "W1")
            else:
                yield f"{me} reads back, done", self.with_worker(s, w, None)
        elif w.pc == "X":
            if R.report_fence and not P.current(s, w.exe):
                yield f"{me} is stale, reports nothing", self.with_worker(s, w, None)
                return
            t, r = self.with_worker(s, w, None), row_of(s.rows, w.exe[0])
            if r and r.status in LIVE and P.running(s, r):
                t = self.retried(t, r, "FAILED")
            yield f"{me} reports FAILED", t

    def stale(self, s: State, w: Worker) -> State:
        return self.with_worker(s, w, None if self.R.report_fence else w._replace(pc="X", plan=()))

    def published(self, s: State, w: Worker) -> int | None:
        return next((i for i in range(len(s.chain) - 1, w.inp, -1)
                     if s.chain[i].exe == w.exe and self.P.counts(s.chain, i)), None)

    @staticmethod
    def outcome(s: State, i: int) -> tuple:
        c = s.chain[i]
        return ("out", i if c.completes is None else c.completes, c.code)

    def swap(self, s: State, w: Worker, go, faults: bool) -> Iterator[tuple[str, State]]:
        me, c = self.id(w), w.plan[1]
        head = len(s.chain) - 1
        if w.head == 99:                         # rule off: H is read again after the fence, the decision is taken again
            plan = self.P.decide(s, w, head) if w.writes is not None else w.plan
            if plan[0] == "refuse":
                yield f"{me} refused", go(s, pc="X", plan=())
                return
            if plan[0] == "out":
                yield f"{me} decides: complete with c{plan[1]}", go(s, pc="R", plan=plan)
                return
            c = plan[1]
        if c.expected == head:
            if c.tree == s.chain[head].tree and c.completes is None and not self.R.allow_empty:
                yield f"{me}: merge answers 'no changes'", go(s, pc="X", plan=())
                return
            t = append(s, c)
            yield f"{me} {'publishes' if c.completes is None else 'seals with'} c{head + 1}", \
                self.with_worker(t, w, w._replace(pc="R", plan=self.outcome(t, head + 1)))
        elif (i := self.published(s, w)) is not None:
            yield f"{me}: swap refused, finds c{i}", go(s, pc="R", plan=self.outcome(s, i))
        else:
            yield f"{me}: swap refused, H is c{head}", go(s, pc="S" if w.writes is None else "P0", plan=())
        k = KINDS.index("unclear")
        if faults and s.used[k] < self.cfg.unclear and sum(s.used) < self.cfg.total:
            t = s._replace(used=s.used[:k] + (s.used[k] + 1,) + s.used[k + 1:])
            if c.expected == head:
                t = t._replace(floats=t.floats + ((c.expected, c),))
            yield f"{me}: merge sent, answer unclear", self.with_worker(t, w, w._replace(pc="L"))

    def report(self, s: State, w: Worker, faults: bool) -> Iterator[tuple[str, State]]:
        me, r = self.id(w), row_of(s.rows, w.exe[0])
        if r is None or r.status not in LIVE or not self.P.running(s, r):
            yield f"{me}: report dropped by the server", self.after_report(s, w)
            return
        yield f"{me}: COMPLETED c{w.plan[1]} recorded", self.after_report(self.write(s, w, r), w)
        k = KINDS.index("slow")
        if faults and s.used[k] < self.cfg.slow and sum(s.used) < self.cfg.total:
            t = s._replace(used=s.used[:k] + (s.used[k] + 1,) + s.used[k + 1:])
            yield f"{me}: slow report has read the row", self.with_worker(t, w, w._replace(pc="W2", snap=r))

    def write(self, s: State, w: Worker, seen: Row) -> State:
        r = row_of(s.rows, w.exe[0])
        if r is None:
            return s
        return self.advance(set_row(s, seen._replace(status="COMPLETED", out=w.plan[1], out_code=w.plan[2], need=r.need, ended=s.ids - 1)))

    def after_report(self, s: State, w: Worker) -> State:
        left = self.cfg.reverts > s.used[KINDS.index("reverts")]
        return self.with_worker(s, w, w._replace(pc="B", snap=None) if left else None)

    def successors(self, s: State) -> Iterator[tuple[str, State]]:
        yield from self.outside(s)
        for w in s.workers:
            yield from self.work(s, w)

    # ---- properties
    def broken(self, s: State) -> str | None:
        chain, done = s.chain, [r for r in s.rows if r.status == "COMPLETED"]
        wanted = {n: max(r.need for r in s.rows if r.name == n) for n in {r.name for r in s.rows}}
        done = [r for r in done if r.need == wanted[r.name]]   # what an earlier run left in the list is no outcome
        outs: dict = {}
        for r in done:
            outs.setdefault(r.name, set()).add(r.out)
            c = chain[r.out]
            if r.out != r.inp and not (self.P.counts(chain, r.out) and c.who == r.name and not c.person):
                return f"2: {r.name} completed with c{r.out}, which is not its publication"
            if r.out_code < r.need:
                return f"c: {r.name} of the rerun completed with the old code's c{r.out}"
            if r.out != r.inp and r.out_code != c.code:
                return "2: the result does not belong to the commit"
            if r.out != r.inp:
                old = dict(chain[r.inp].tree)
                rest = [p for p, v in c.tree if p[0] == r.name and old.get(p) != v and (p, v) not in c.writes and v[0] != "P"]
                if rest:
                    return f"g: {r.name}'s effective c{r.out} still holds {rest} of an abandoned publication of its own"
            if r.name == "b" and self.cfg.shape == "join":
                if lost := self.joined(chain, r.inp, outs):
                    return lost
            elif r.name == "b":
                given = {x.out for x in done if x.name == "a"}
                if given and r.inp not in given:
                    return f"b: b was given c{r.inp}, but a's outcome is {sorted(given)}"
                if not self.cfg.snapshot and r.out != r.inp and c.tree != put(chain[r.inp].tree, c.writes):
                    return "b: b's tree is not a's publication plus b's changes"
            if self.cfg.scoped and r.out != r.inp and c.completes is None:
                start, own = dict(chain[c.base].tree), dict(c.writes)
                now = dict(c.tree)
                wrong = [p for p in now.keys() | start.keys()
                         if in_scope(r.name, p, self.cfg.overlap) and now.get(p) != own.get(p, start.get(p))]
                if wrong:
                    return f"h: within what {r.name} could see, its effective c{r.out} differs in {wrong} from its input plus its changes"
        for name, refs in outs.items():
            if len(refs) > 1:
                return f"d: {name} has two outcomes {sorted(refs)}"
        eff = [(n, i) for n, refs in outs.items() for i in refs if i and chain[i].who == n]
        for n, i in eff:
            for m, j in eff:
                if n != m and i < j and chain[j].base < i:
                    if not self.cfg.snapshot:
                        return f"f: {m}'s effective c{j} was published over {n}'s effective c{i}, unseen"
                    by_people = {p for k in range(i + 1, j) if chain[k].person for p, _ in chain[k].writes}
                    if any(dict(chain[j].tree).get(p) != v for p, v in chain[i].writes if p not in by_people):
                        return f"f: {m}'s effective c{j} lost what {n}'s effective c{i} wrote"
        top = chain[-1]
        if not top.person and top.who != "root":
            for i in range(top.base + 1, len(chain) - 1):
                if chain[i].person and any(dict(top.tree).get(p) != v for p, v in chain[i].writes):
                    if not any(chain[k].person and set(dict(chain[k].writes)) & set(dict(chain[i].writes))
                               for k in range(i + 1, len(chain) - 1)):
                        return f"4: c{len(chain) - 1} lost what a person committed in c{i}"
        return None

    @staticmethod
    def joined(chain: tuple, inp: int, outs: dict, before: tuple = ("l", "r")) -> str | None:
        """What b was given is not exactly what the tasks before it completed with."""
        tree, root = dict(chain[inp].tree), dict(ROOT.tree)
        by_people = {p for k in range(inp + 1) if chain[k].person for p, _ in chain[k].writes}
        for n in before:
            for i in outs.get(n, ()):
                own = dict(chain[i].writes) if chain[i].who == n else {}
                for p in {p for p in tree.keys() | own.keys() if p[0] == n} - by_people:
                    if tree.get(p) != own.get(p, root.get(p)):
                        return f"i: b was given c{inp}, which has not {n}'s outcome c{i} in {p}"
        return None

    def soft(self, s: State) -> str | None:
        """At the end the head should show the outcome.  What a zombie merges last is never repaired by anybody."""
        if s.wf != "DONE" or any(c.person for c in s.chain):
            return None
        head = s.chain[-1].tree
        last = {r.name: r.out for r in s.rows if r.status == "COMPLETED"}
        if self.cfg.shape == "seq" and head != s.chain[last["b"]].tree:
            return "head: the workflow is done and the head is not its outcome"
        if self.cfg.shape != "seq" and any(
                dict(head).get(p) != v for n, i in last.items() if s.chain[i].who == n for p, v in s.chain[i].writes):
            return "head: the workflow is done and the head lacks an effective change"
        return None

    # ---- liveness: from any state, faults stop, one more try completes
    def stuck(self, s: State) -> str | None:
        key = (s.chain, s.rows, s.wf, s.tx)
        if key not in self.solo_seen:
            self.solo_seen[key] = self._stuck(s._replace(workers=(), floats=(), used=(99,) * len(KINDS)))
        return self.solo_seen[key]

    def _stuck(self, s: State) -> str | None:
        starts = [("", s)] if s.wf == "RUN" else [(label + ", then ", t) for label, t in self.admin(s)]
        for label, t in starts:
            for body in (0, 1) if self.cfg.noop == "free" else (0,):
                for order in ((False,) if self.cfg.shape == "seq" else (False, True)):
                    why = self.finish(t, body, order)
                    if why:
                        return f"5: {label}one more try alone, body {'no change' if body else 'changes'}: {why}"
        return None

    def finish(self, s: State, body: int, backwards: bool) -> str | None:
        for _ in range(8):
            live = [r for r in s.rows if r.status in LIVE and not (r.retried and r.status == "IN_PROGRESS")]
            if s.wf != "RUN" or not live:
                return None
            r = live[-1 if backwards else 0]
            if r.status == "IN_PROGRESS":
                s = set_row(s, r._replace(status="TIMED_OUT"))
                s = new_row(s, r.name, r.inp, r.tid, r.need, r.run)
                r = s.rows[-1]
            s = set_row(s, r._replace(status="IN_PROGRESS", poll=r.poll + 1))
            s = self.with_worker(s, None, Worker(r.name, (r.tid, r.sched, r.poll + 1), r.inp, s.gen, "S", -1, None, (), None, r.run))
            while s.workers:
                w = s.workers[0]
                options = list(self.work(s, w, faults=False))
                label, t = options[min(body, len(options) - 1)] if w.pc == "S" else options[0]
                if t.workers and t.workers[0].pc == "X":
                    if self.excused(s, w):
                        return None
                    return label
                s = t
            if bad := self.broken(s):
                return bad
        return "does not come to an end"

    def excused(self, s: State, w: Worker) -> bool:
        """A refusal is right where a person's commit lies between, or a sibling's that counts.

        It costs nothing where a rerun handed out again a try, which had its retry, of a task that is optional.
        """
        me = row_of(s.rows, w.exe[0])
        if me and me.retried and self.cfg.optional and me.name == "l":
            return True
        for i in range(w.inp + 1, len(s.chain)):
            c = s.chain[i]
            if c.person:
                return True
            if i == self.P.beside(s, w, len(s.chain) - 1):
                return True
            if self.cfg.shape != "seq" and c.who != w.name:
                mine = [r for r in s.rows if r.name == c.who]
                eff = any(r.status == "COMPLETED" and r.out == i for r in mine)
                row = row_of(s.rows, c.exe[0])
                past = ("COMPLETED",) if row and row.status in LIVE else ("COMPLETED", "ENDED")
                may = row and row.sched == c.exe[1] and not any(r.status in past for r in mine)
                if (eff or may) and (not self.cfg.snapshot or self.cfg.shared_path or self.cfg.overlap):
                    return True
        return False


# ---------------------------------------------------------------- search
def explore(rules: Rules, cfg: Config, limit_s: float = 560, max_states: int = 12_000_000, stop_first: bool = False,
            world_type: type[World] = World):
    """Returns (states, edges, complete, {kind: (description, trace)}, counters)."""
    world, t0 = world_type(rules, cfg), time.process_time()
    init = world.initial()
    parent: dict = {hash(init): None}     # by 64-bit hash: 10^7 states collide with a chance of about 10^-6
    queue, found, counters, edges = deque([init]), {}, Counter(), 0

    def trace(s: State) -> list[str]:
        out, h = [], hash(s)
        while parent[h] is not None:
            h, label = parent[h]
            out.append(label)
        return out[::-1]

    complete = True
    while queue:
        s = queue.popleft()
        bad = world.broken(s) or (world.stuck(s) if cfg.solo else None)
        soft = world.soft(s)
        if soft:
            counters[soft] += 1
            found.setdefault("soft " + soft, (soft, trace(s)))
        if bad:
            kind = bad.split(":")[0] if not bad.startswith("5") else "5" + ("/noop" if "no change" in bad else "")
            counters[kind] += 1
            found.setdefault(kind, (bad, trace(s)))
            if stop_first:
                break
            continue
        here = hash(s)
        for label, t in world.successors(s):
            edges += 1
            h = hash(t)
            if h not in parent:
                parent[h] = (here, sys.intern(label))
                queue.append(t)
        if len(parent) > max_states or (edges & 1023 < 8 and time.process_time() - t0 > limit_s):
            complete = False
            break
    return len(parent), edges, complete, found, counters


def show(name: str, rules: Rules, cfg: Config, traces: bool = True, soft: bool = False, **kw) -> dict:
    t0 = time.time()
    states, edges, complete, found, counters = explore(rules, cfg, **kw)
    hard = {k: v for k, v in found.items() if not k.startswith("soft")}
    print(f"== {name}: {states} states, {edges} steps, {'complete' if complete else 'CUT OFF'}, "
          f"{time.time() - t0:.0f} s: {'HOLDS' if not hard else 'BROKEN ' + ','.join(sorted(hard))}"
          f"{' (soft: ' + str({k: v for k, v in counters.items() if k.startswith('head')}) + ')' if counters else ''}", flush=True)
    for kind, (what, tr) in found.items() if traces else ():
        if kind.startswith("soft") and not soft:
            continue
        print(f"  [{kind}] {what}   ({counters.get(kind, counters.get(what))} states, {len(tr)} steps)")
        for step in tr:
            print("      ", step)
    sys.stdout.flush()
    return found


def mutate(rule: str, rules: Rules, scenarios: dict, **kw) -> None:
    """Print the first scenario that breaks without a rule, and the shortest trace of it."""
    for name, cfg in scenarios.items():
        found = explore(replace(rules, **{rule: False}), cfg, stop_first=True, **kw)[3]
        hard = [(w, t) for broken, (w, t) in found.items() if not broken.startswith("soft")]
        if hard:
            print(f"## without {rule}: {name}: {hard[0][0]}")
            for step in hard[0][1]:
                print("      ", step)
            break
    else:
        print(f"## without {rule}: nothing breaks")
    sys.stdout.flush()


# ---------------------------------------------------------------- scenarios
SEQ, FORK = Config(), Config(shape="fork")
SNAP = replace(FORK, snapshot=True)
JOIN = Config(shape="join", snapshot=True)
SCENARIOS = {
    "seq-same-content": replace(SEQ, total=2, timeouts=1, requeues=1, admins=2, stored=False, same_body=True, noop="never"),
    "seq-copies": replace(SEQ, total=2, persons=2, timeouts=1, copies=True, person_paths=("x", "a1")),
    "seq-slow-unstored": replace(SEQ, total=2, timeouts=1, requeues=1, slow=1, stored=False, slow_bound=True, noop="never"),
    "seq-slow-lean": replace(SEQ, total=2, timeouts=1, requeues=1, slow=1, slow_bound=True, rerun_first=True),
    "seq-late-report": replace(SEQ, total=3, timeouts=1, requeues=1, unclear=1, fused=False, noop="never"),
    "seq-late-report-unstored": replace(SEQ, total=2, timeouts=1, requeues=1, fused=False, noop="never", stored=False),
    "seq-blind-code": replace(SEQ, total=3, timeouts=1, admins=2, noop="never", blind=True, rerun_first=True),
    "seq-people": replace(SEQ, total=3, persons=2, timeouts=1, unclear=1),
    "seq-task-id-in-params": replace(SEQ, total=2, timeouts=1, requeues=1, admins=2, task_id_in_params=True),
    "seq-unstored": replace(SEQ, total=2, timeouts=1, requeues=1, admins=2, stored=False),
    "seq-retries": replace(SEQ, total=3, timeouts=2, tries=3, unclear=1),
    "seq-slow": replace(SEQ, total=3, timeouts=1, requeues=1, unclear=1, slow=1, slow_bound=True),
    "seq-mixed": replace(SEQ, total=2, timeouts=1, requeues=1, mixed=True),
    "seq-mixed-unclear": replace(SEQ, total=3, timeouts=1, requeues=1, unclear=1, mixed=True, noop="never"),
    "snap-people": replace(SNAP, total=2, timeouts=1, persons=1, person_paths=("x", "l1")),
    "snap-unstored-admin": replace(SNAP, total=2, timeouts=1, admins=2, stored=False, noop="never"),
    "fork-optional": replace(FORK, total=2, timeouts=2, optional=True),
    "snap-optional": replace(SNAP, total=2, timeouts=2, optional=True),
    "snap-same-content": replace(SNAP, total=2, timeouts=1, requeues=1, admins=1, same_body=True, stored=False, noop="never"),
    "snap-redelivery": replace(SNAP, total=2, timeouts=1, requeues=1, unclear=1),
    "snap-unstored": replace(SNAP, total=2, timeouts=1, requeues=1, stored=False),
    "snap-admin": replace(SNAP, total=2, timeouts=1, admins=2, unclear=1),
    "snap-shared-path": replace(SNAP, total=2, timeouts=1, requeues=1, shared_path=True),
    "snap-mixed": replace(SNAP, total=2, timeouts=1, requeues=1, mixed=True, noop="never"),
    "fork-redelivery": replace(FORK, total=2, timeouts=1, requeues=1, unclear=1),
    "fork-admin": replace(FORK, total=2, timeouts=1, admins=2, unclear=1),
    "seq-revert-admin": replace(SEQ, total=3, reverts=1, admins=2, requeues=1, noop="never", slow_bound=True),
    "seq-revert": replace(SEQ, total=3, timeouts=1, requeues=1, unclear=1, reverts=1, slow_bound=True),
    "seq-admin": replace(SEQ, total=3, timeouts=1, admins=2, unclear=1),
    "fork-doubled": replace(FORK, total=1, requeues=1, unclear=1, doubled=True),
    "fork-doubled-unstored": replace(FORK, total=1, requeues=1, unclear=1, doubled=True, stored=False),
    "snap-doubled": replace(SNAP, total=1, requeues=1, unclear=1, doubled=True, noop="never"),
    "snap-doubled-unstored": replace(SNAP, total=1, requeues=1, unclear=1, doubled=True, stored=False, noop="never"),
    "join-people": replace(JOIN, total=2, timeouts=1, persons=1, person_paths=("x", "l1")),
    "join-unstored": replace(JOIN, total=1, timeouts=1, requeues=1, stored=False, noop="never"),
    "join-redelivery": replace(JOIN, total=2, timeouts=1, requeues=1, unclear=1),
    "join-admin": replace(JOIN, total=1, timeouts=1, admins=1, unclear=1),
    "join-admins": replace(JOIN, total=2, timeouts=1, admins=2, noop="never"),
    "join-mixed": replace(JOIN, total=1, timeouts=1, requeues=1, mixed=True),
    "join-serializable": replace(JOIN, snapshot=False, total=1, timeouts=1, requeues=1),
}
SC = replace(SNAP, scoped=True)
SSQ = replace(SEQ, snapshot=True, scoped=True)
SCENARIOS.update({
    "scoped-people": replace(SC, total=2, timeouts=1, persons=1, person_paths=("x", "l1", "a")),
    "scoped-people2": replace(SC, total=2, persons=2, timeouts=0, person_paths=("x", "a")),
    "scoped-unstored-admin": replace(SC, total=2, timeouts=1, admins=2, stored=False, noop="never"),
    "scoped-redelivery": replace(SC, total=2, timeouts=1, requeues=1, unclear=1),
    "scoped-admin": replace(SC, total=2, timeouts=1, admins=2, unclear=1),
    "scoped-mixed": replace(SC, total=2, timeouts=1, requeues=1, mixed=True, noop="never"),
    "scoped-same-content": replace(SC, total=2, timeouts=1, requeues=1, admins=1, same_body=True, stored=False, noop="never"),
    "scoped-doubled": replace(SC, total=1, requeues=1, unclear=1, doubled=True, noop="never"),
    "scoped-seq-people": replace(SSQ, total=2, persons=2, timeouts=1, unclear=1, person_paths=("x", "a")),
    "scoped-seq-admin": replace(SSQ, total=2, timeouts=1, admins=2, unclear=1),
    "scoped-shared-path": replace(SC, total=2, timeouts=1, requeues=1, shared_path=True),
    "scoped-overlap": replace(SC, total=2, timeouts=1, requeues=1, overlap=True, noop="never"),
    "scoped-join-people": replace(JOIN, scoped=True, total=1, persons=1, person_paths=("x", "a", "l1")),
    "scoped-join-unstored": replace(JOIN, scoped=True, total=1, timeouts=1, requeues=1, stored=False, noop="never"),
    "scoped-overlap-people": replace(SC, total=2, timeouts=1, persons=1, person_paths=("r1", "x"), overlap=True),
})
RESIDUAL = {   # broken with every rule on: only the server could close these
    "a rerun between the fence and the report": replace(SEQ, total=2, admins=2, fused=False, noop="never"),
    "a report stuck in the server across a rerun": replace(SEQ, total=3, timeouts=1, slow=1, admins=2, noop="never"),
    "rerun of a retry, change not in the code digest": replace(SEQ, total=3, timeouts=1, admins=2, noop="never", blind=True),
    "a report stuck in the server beyond a whole next try, result not stored":
        replace(SEQ, total=2, timeouts=1, requeues=1, slow=1, stored=False, noop="never"),
}


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("what", choices=["list", "run", "mutate", "residual"])
    ap.add_argument("names", nargs="*", help="scenarios (run), rules (mutate); none: all")
    ap.add_argument("--rules", choices=["fixed", "lean", "text"], default="fixed")
    ap.add_argument("--limit", type=float, default=560, help="seconds for each scenario")
    ap.add_argument("--traces", action=argparse.BooleanOptionalAction, default=True)
    ap.add_argument("--soft", action="store_true", help="show the traces of the soft property too")
    o = ap.parse_args()
    rules = {"fixed": FIXED, "lean": LEAN, "text": TEXT}[o.rules]
    if o.what == "list":
        for k, c in SCENARIOS.items():
            print(k, {f.name: getattr(c, f.name) for f in fields(Config) if getattr(c, f.name) != f.default})
    elif o.what == "residual":
        for k, c in RESIDUAL.items():
            show(k, rules, c, traces=o.traces, limit_s=o.limit)
    elif o.what == "run":
        for k in o.names or SCENARIOS:
            show(f"{o.rules} {k}", rules, SCENARIOS[k], traces=o.traces, soft=o.soft, limit_s=o.limit)
    else:
        for r in o.names or [f.name for f in fields(Rules) if f.type == "bool"]:
            mutate(r, rules, SCENARIOS, limit_s=o.limit)


if __name__ == "__main__":
    main()

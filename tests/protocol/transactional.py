"""Explicit-state model of transactional runs, on top of `model`, which proves the publication protocol on one branch.

The world
  target   `chain`, as in `model`. `e` publishes to it. So may people, and another run (`Tx.other`) of another workflow,
           which begins, decides and swaps in three steps.
  runs     the branches of runs (`Tx.runs`). `chain[0]` is the commit of the target that the branch was created at. A
           reset shortens `tip`; nothing is published to the branch then. Outsiders commit there with a stamp: tasks of
           another workflow that are given the branch, and whoever makes up such a stamp (`Config.outsiders`).
  engine   n (begin) -> p -> q -> e (end). n completes with (run, commit of the target), p and q with commits of the
           run's branch. e is given the commit of the target as its input, and the run's commit (B) as a param.
  tasks    p and q run by the protocol of `model` on the run's branch, in few steps: body, decision and fence; swap;
           report. A worker that stops before its swap is a zombie: it may publish to that branch at any later time.
  end      all steps of `model` on the target. What its body changed is the difference from its input to B.
  janitor  sweeps branches of runs by age. Time is `now`, in retention periods. The target's commits are far older.

Not modelled: a branch that a beginning which was paused for the whole retention creates a second time, tasks that
publish to a branch after it was reset, and several workflows of which each has all steps.

usage: python -m tests.protocol.transactional --help
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import NamedTuple

from tests.protocol import model
from tests.protocol.model import LIVE, Commit, Row, State, Worker, put


# ---------------------------------------------------------------- the rules under test
@dataclass(frozen=True)
class Rules(model.Rules):
    # begin
    named_by_execution: bool = True  # the branch is named by begin's execution, not by the workflow alone
    base_of_branch: bool = True  # begin answers with the commit that the branch was created at, not the head it read
    begun_once: bool = True  # begin completes as another try that completed after this one was scheduled
    # tasks
    closed: bool = True  # a task of another workflow does not publish to the branch of a run
    # end
    end_is_last: bool = True  # it is scheduled when the last task has completed
    base_is_input: bool = True  # its input is the commit that the run began at, not the head that it finds
    recorded_ref: bool = True  # it publishes the commit that the last task completed with, not the branch's head
    union_of_scopes: bool = True  # it is validated with what any of the tasks could see, not the last one
    adopt_before_run: bool = True  # it looks for its own publication before it looks at the run's branch
    foreign_refused: bool = True  # refused if the branch has a commit that no task has made
    outsiders_refused: bool = True  # refused if the branch has a commit with the stamp of another workflow
    reset_refused: bool = True  # refused if the branch lacks the commit to publish
    # what is left of a run
    kept: bool = True  # the branch stays after the end
    age_of_begin: bool = True  # a run is as young as its begin ...
    age_of_head: bool = True  # ... and as its head commit


FIXED = Rules(seal="retry")  # as Perago does


@dataclass(frozen=True)
class Config(model.Config):
    snapshot: bool = True
    scoped: bool = True
    tasks: tuple = ("p", "q")
    at_head: bool = False  # begin is given no commit: it takes the head
    touches: int = 0  # a person commits to the branch of a run, or resets it
    touched_paths: tuple = ("x", "p1")
    resets: bool = True
    outsiders: str = ""  # who commits there in place of a person: "task" of another workflow; "forger" of its stamp
    ages: int = 0  # the retention passes
    sweeps: bool = False  # a janitor sweeps by age
    other: tuple = ()  # another run: (paths that it sees, by first letter; the path that it writes)

    @property
    def first(self) -> tuple:
        return ("n",)


# ---------------------------------------------------------------- state
class Run(NamedTuple):
    name: tuple
    base: int  # the commit of the target that it was created at
    chain: tuple  # all commits that its branch ever had
    tip: int = 0  # its head
    born: int = 0  # the time in its name
    head_time: int = -1  # of its head commit
    need: int = 0  # ground truth: the code that the user wanted to see when it was begun
    touched: int = 0  # ids when a person moved it last
    reset: tuple = ()  # ground truth: commits of the target when a person reset it, and who may have looked before
    gone: int = 0  # 1: swept by the rule;  2: swept, but younger than the retention (ground truth)


class Tx(NamedTuple):
    runs: tuple = ()
    other: tuple = ()  # ('begun', commit), ('decided', commit, head), ('done',), ('refused',)
    now: int = 0
    finished: tuple = ()  # ground truth: (run, B, what its tasks wrote), each time that the last task completed


def set_run(s: State, k: int, **kw) -> State:
    runs = s.tx.runs
    return s._replace(tx=s.tx._replace(runs=(*runs[:k], runs[k]._replace(**kw), *runs[k + 1 :])))


def last(s: State, name: str) -> Row | None:
    return next((r for r in reversed(s.rows) if r.name == name and r.status == "COMPLETED"), None)


def diff(old: tuple, new: tuple) -> tuple:
    before, now = dict(old), dict(new)
    return tuple(sorted((p, now.get(p)) for p in before.keys() | now.keys() if before.get(p) != now.get(p)))


# ---------------------------------------------------------------- the protocol
class Protocol(model.Protocol):
    R: Rules
    cfg: Config

    def sees(self, w: Worker, path: str) -> bool:
        if w.name == "e" and not self.R.union_of_scopes:
            return model.in_scope(self.cfg.tasks[-1], path)
        return super().sees(w, path)

    def begun(self, s: State, w: Worker) -> tuple | None:
        """What another try of the beginning has completed with."""
        for r in s.rows if self.R.begun_once else ():
            if r.name == "n" and r.tid != w.exe[0] and r.status == "COMPLETED" and w.exe[1] <= r.ended:
                return r.out
        return None

    def moved(self, run: Run, ref: int) -> str | None:
        """Why a run is not published: somebody has moved its branch."""
        if self.R.reset_refused and ref > run.tip:
            return "its branch lacks the commit"
        strange = [run.chain[i] for i in range(1, run.tip + 1) if not self.counts(run.chain, i)]
        if self.R.foreign_refused and any(c.who != "other" for c in strange):
            return "its branch has a commit of somebody"
        if self.R.outsiders_refused and any(c.who == "other" for c in strange):
            return "its branch has a commit of another workflow"
        return None

    def lets_in(self, run: Run) -> bool:
        """Whether a task of another workflow may publish to the branch of a run."""
        return not self.R.closed

    def outlived(self, run: Run, now: int) -> bool:
        """Whether a janitor sweeps its branch."""
        times = (run.born,) * self.R.age_of_begin + (run.head_time,) * self.R.age_of_head
        return max(times) < now


# ---------------------------------------------------------------- the world
class World(model.World):
    R: Rules
    cfg: Config
    protocol = Protocol

    def __init__(self, rules: Rules, cfg: Config):
        super().__init__(rules, cfg)
        self.P = self.protocol(rules, cfg)
        self.fresh: tuple[int, int] | None = None  # checking liveness: commits and ids when the run was begun anew
        self.seen: dict = {}

    # ---- engine
    def initial(self) -> State:
        s = super().initial()
        return s._replace(tx=Tx())

    def advance(self, s: State) -> State:
        if s.wf != "RUN":
            return s
        names = {r.name for r in s.rows}
        line = ("n", *self.cfg.tasks)
        for before, name in pairwise(line):
            done = last(s, before)
            if done is not None and name not in names:
                run = (done.out[0],) if before == "n" else done.run
                s = new = self.schedule(s, name, 0 if before == "n" else done.out, run)
                names.add(name)
                if self.R.end_is_last or before == "n":
                    return new
        left = last(s, self.cfg.tasks[-1])
        if left is not None:
            s = self.note(s, left)
        if not self.R.end_is_last and left is None:
            left = last(s, self.cfg.tasks[0])
        if left is not None and "e" not in names:
            begun = last(s, "n")
            return self.schedule(s, "e", begun.out[1], (left.run[0], left.out))
        if last(s, "e") and all(last(s, n) for n in line) and not any(r.status in LIVE for r in s.rows):
            if not self.R.kept:
                s = set_run(s, left.run[0], gone=2)
            return s._replace(wf="DONE")
        return s

    def schedule(self, s: State, name: str, inp: int, run: tuple) -> State:
        return model.new_row(s, name, inp, None, s.gen, run)

    def note(self, s: State, left: Row) -> State:
        """Ground truth: what the tasks of the run have written when the last one completes."""
        run, wrote = s.tx.runs[left.run[0]], ()
        for name in self.cfg.tasks:
            r = last(s, name)
            if r is not None and r.out != r.inp:
                wrote = put(wrote, run.chain[r.out].writes)
        found = (left.run[0], left.out, wrote)
        return s if found in s.tx.finished else s._replace(tx=s.tx._replace(finished=(*s.tx.finished, found)))

    # ---- moves outside the workers
    def outside(self, s: State) -> Iterator[tuple[str, State]]:
        yield from super().outside(s)
        cfg, room = self.cfg, sum(s.used) < self.cfg.total

        def spend(t: State, kind: str) -> State:
            k = model.KINDS.index(kind)
            return t._replace(used=(*t.used[:k], t.used[k] + 1, *t.used[k + 1 :]))

        if room and s.used[model.KINDS.index("touches")] < cfg.touches:
            for k, run in enumerate(s.tx.runs):
                if run.gone or run.reset:
                    continue
                for p in cfg.touched_paths:
                    if (touched := self.touched(s, k, p)) is not None:
                        yield f"{cfg.outsiders or 'person'} commits {p} to run {k}", spend(touched, "touches")
                if run.tip and cfg.resets:
                    looked = (*(w.exe for w in s.workers if w.name == "e"), *(c.exe for _, c in s.floats))
                    t = set_run(s, k, tip=0, reset=(len(s.chain), looked), touched=s.ids)
                    yield f"person resets run {k}", spend(t, "touches")
        if room and s.used[model.KINDS.index("ages")] < cfg.ages:
            yield "the retention passes", spend(s._replace(tx=s.tx._replace(now=s.tx.now + 1)), "ages")
        if cfg.sweeps:
            for k, run in enumerate(s.tx.runs):
                if not run.gone and self.P.outlived(run, s.tx.now):
                    old = max(run.born, run.head_time) < s.tx.now
                    yield f"the janitor sweeps run {k}", set_run(s, k, gone=1 if old else 2)
        if cfg.other:
            yield from self.other(s)

    def touched(self, s: State, k: int, path: str) -> State | None:
        """A commit to a run's branch that is not of the run. None if it is refused."""
        run, outsiders = s.tx.runs[k], self.cfg.outsiders
        if outsiders == "task" and not self.P.lets_in(run):
            return None
        wrote = ((path, f"P{run.tip + 1}r{k}"),)
        tree = put(run.chain[run.tip].tree, wrote)
        who, expected = ("other", run.tip) if outsiders else ("person", -1)
        c = Commit(who, (), -1, expected, tree, wrote, (), False, (), 0, True)
        return self.land(s, k, c) if outsiders == "task" else self.land(s, k, c, touched=s.ids)

    def land(self, s: State, k: int, c: Commit, **kw) -> State:
        run = s.tx.runs[k]
        return set_run(s, k, chain=(*run.chain, c), tip=run.tip + 1, head_time=s.tx.now, **kw)

    def other(self, s: State) -> Iterator[tuple[str, State]]:
        """Another run: begins at the head, reads it and decides, swaps."""

        def go(t: State, *step) -> State:
            return t._replace(tx=t.tx._replace(other=step))

        sees, path = self.cfg.other
        match s.tx.other:
            case ():
                yield "another run begins", go(s, "begun", len(s.chain) - 1)
            case ("begun", base):
                head = len(s.chain) - 1
                then, now = dict(s.chain[base].tree), dict(s.chain[head].tree)
                if any(then.get(p) != now.get(p) for p in then.keys() | now.keys() if p[0] in sees or p == path):
                    yield "another run is refused", go(s, "refused")
                else:
                    yield f"another run decides on c{head}", go(s, "decided", base, head)
            case ("decided", base, head) if head == len(s.chain) - 1:
                wrote = ((path, "O"),)
                c = Commit("other", (), base, head, put(s.chain[head].tree, wrote), wrote, (), False, (), 0, False)
                yield "another run publishes", go(model.append(s, c), "done")
            case ("decided", base, _):
                yield "another run has lost its swap", go(s, "begun", base)

    # ---- workers
    def work(self, s: State, w: Worker, faults: bool = True) -> Iterator[tuple[str, State]]:
        if w.name == "n" and w.pc in "SC":
            yield self.begin_run(s, w)
        elif w.name in self.cfg.tasks and w.pc in "SDM":
            yield from self.on_run(s, w)
        elif w.name == "e" and w.pc == "S":
            yield self.take_run(s, w)
        elif w.name in ("n", *self.cfg.tasks) and w.pc == "R":
            yield self.report_on_run(s, w)
        else:
            yield from super().work(s, w, faults)

    def begin_run(self, s: State, w: Worker) -> tuple[str, State]:
        me = self.id(w)

        def go(t: State, **kw) -> State:
            return self.with_worker(t, w, w._replace(**kw))

        if w.pc == "S":
            if (other := self.P.begun(s, w)) is not None:
                return f"{me} completes as another try has begun", go(s, pc="R", plan=("out", other, w.code))
            head = len(s.chain) - 1 if self.cfg.at_head else 0
            return f"{me} reads c{head} to begin at", go(s, pc="C", head=head)
        name = w.exe[:2] if self.R.named_by_execution else ()
        k = next((k for k, r in enumerate(s.tx.runs) if r.name == name and not r.gone), None)
        if k is not None:
            base = s.tx.runs[k].base if self.R.base_of_branch else w.head
            return f"{me} finds run {k}, begun at c{s.tx.runs[k].base}", go(s, pc="R", plan=("out", (k, base), w.code))
        k = len(s.tx.runs)
        root = Commit("root", (), -1, -1, s.chain[w.head].tree, (), (), False, (), 0, False)
        t = s._replace(tx=s.tx._replace(runs=(*s.tx.runs, Run(name, w.head, (root,), born=s.tx.now, need=w.code))))
        return f"{me} creates run {k} at c{w.head}", go(t, pc="R", plan=("out", (k, w.head), w.code))

    def on_run(self, s: State, w: Worker) -> Iterator[tuple[str, State]]:
        """An attempt of a task, on the branch of its run."""
        k, me = w.run[0], self.id(w)
        run = s.tx.runs[k]

        def go(t: State, **kw) -> State:
            return self.with_worker(t, w, w._replace(**kw))

        if run.gone or run.reset:
            yield f"{me} finds its branch {'gone' if run.gone else 'reset'}", go(s, pc="X", plan=())
            return
        here, head = s._replace(chain=run.chain), run.tip
        if w.pc == "M":
            c = w.plan[1]
            if c.expected == head:
                t = self.land(s, k, c)
                out = self.outcome(s._replace(chain=t.tx.runs[k].chain), head + 1)
                yield f"{me} publishes r{head + 1} to run {k}", go(t, pc="R", plan=out)
            else:
                again = "S" if w.writes is None else "D"
                yield f"{me}: swap refused, head of run {k} is r{head}", go(s, pc=again, plan=())
            return
        if w.pc == "S" and (got := self.P.start(here, w, head)):
            yield f"{me} adopts on run {k}", self.fenced(s, w, got)
            return
        for out in self.bodies(s, w) if w.pc == "S" else (w.writes,):
            v = w._replace(writes=out)
            plan = self.P.decide(here, v, head)
            what = f"changes {','.join(p for p, _ in out)}" if out else "no change"
            yield f"{me} runs body on run {k}: {what}, on r{head}: {plan[0]}", self.fenced(s, w, plan, writes=out)

    def fenced(self, s: State, w: Worker, plan: tuple, **kw) -> State:
        if plan[0] == "pub" and not self.P.current(s, w.exe):
            return self.stale(s, w)
        pc = {"pub": "M", "out": "R", "refuse": "X"}[plan[0]]
        return self.with_worker(s, w, w._replace(pc=pc, plan=() if pc == "X" else plan, **kw))

    def report_on_run(self, s: State, w: Worker) -> tuple[str, State]:
        if not self.P.current(s, w.exe):
            return f"{self.id(w)} is stale before the report", self.with_worker(s, w, None)
        plan = w.plan
        if w.name == "n":
            other = self.P.begun(s, w)
            plan = plan if other is None else ("out", other, w.code)
        elif got := self.P.adopt_engine(s._replace(chain=s.tx.runs[w.run[0]].chain), w):
            plan = got
        v = w._replace(plan=plan)
        row = model.row_of(s.rows, w.exe[0])
        t = self.with_worker(s, w, None)
        return f"{self.id(w)}: COMPLETED {plan[1]} recorded", self.write(t, v, row)

    def take_run(self, s: State, w: Worker) -> tuple[str, State]:
        """The end looks at the run that it is to publish."""
        me, head = self.id(w), len(s.chain) - 1
        (k, ref), run = w.run, s.tx.runs[w.run[0]]
        if self.R.adopt_before_run and (got := self.P.start(s, w, head)):
            pc = "R" if got[0] == "out" else "F2"
            return f"{me} adopts at start", self.with_worker(s, w, w._replace(pc=pc, plan=got))
        why = "its branch is gone" if run.gone else self.P.moved(run, ref)
        if why is not None:
            return f"{me} refused: {why}", self.with_worker(s, w, w._replace(pc="X", plan=()))
        if not self.R.recorded_ref:
            ref = run.tip
        v = w if self.R.base_is_input else w._replace(inp=head)
        wrote = diff(s.chain[v.inp].tree, run.chain[ref].tree)
        return f"{me} takes r{ref} of run {k}", self.with_worker(s, w, v._replace(pc="P0", writes=wrote))

    # ---- properties
    def broken(self, s: State) -> str | None:
        if bad := self.shown(s):
            return bad
        end = tuple(r for r in s.rows if r.name == "e")
        if bad := super().broken(s._replace(rows=end)):
            return f"{bad} (target)"
        for k, run in enumerate(s.tx.runs):
            rows = tuple(r for r in s.rows if r.name in self.cfg.tasks and r.run == (k,))
            key = (run.chain, rows)
            if key not in self.seen:
                self.seen[key] = super().broken(s._replace(chain=run.chain, rows=rows)) if rows else None
            if bad := self.seen[key]:
                return f"{bad} (run {k})"
        begun = {r.out for r in self.outcomes(s, "n")}
        if len(begun) > 1:
            return f"d: one workflow has begun two runs {sorted(begun)}"
        if any(s.tx.runs[r.out[0]].need < r.need for r in self.outcomes(s, "n")):
            return f"c: begun anew, the workflow goes on with the old run {sorted(begun)}"
        given = {r.run for r in self.outcomes(s, "e")}
        left = {(*r.run, r.out) for r in self.outcomes(s, self.cfg.tasks[-1])}
        if given and given != left:
            return f"b: the end has published {given}, and the run has left {left}"
        return None

    @staticmethod
    def outcomes(s: State, name: str) -> list[Row]:
        """Of one task, without what an earlier run left in the list."""
        mine = [r for r in s.rows if r.name == name]
        return [r for r in mine if r.status == "COMPLETED" and r.need == max(x.need for x in mine)]

    def shown(self, s: State) -> str | None:
        """What the newest commit of the target shows; those before it were the newest once."""
        i, c = len(s.chain) - 1, s.chain[-1]
        if c.person or c.who == "root":
            return None
        base = s.tx.runs[c.digest[0]].base if c.who == "e" else c.base
        kept: dict = {}
        for by in s.chain[base + 1 : i]:
            kept.update(by.writes if by.who in ("person", "other") else ())
        lost = [p for p, v in kept.items() if dict(c.tree).get(p) != v]
        if lost:
            return f"4: c{i} of the target lost what others wrote to {lost}"
        return self.whole(s, i, c) if c.who == "e" and c.completes is None else None

    def whole(self, s: State, i: int, c: Commit) -> str | None:
        """A publication of the end is all that one run has left, and nothing else."""
        k, ref = c.digest
        if (reset := s.tx.runs[k].reset) and ref and i >= reset[0] and c.exe not in reset[1]:
            return f"m: c{i} of the target shows r{ref} of run {k}, which a person has taken off its branch"
        if dict(c.writes) not in [dict(wrote) for run, _, wrote in s.tx.finished if run == k]:
            return f"10: c{i} of the target shows {dict(c.writes)}, which no run has left"
        start, now, own = dict(s.chain[c.base].tree), dict(c.tree), dict(c.writes)
        wrong = [
            p for p in start.keys() | now.keys() if model.in_scope("e", p) and now.get(p) != own.get(p, start.get(p))
        ]
        if wrong and self.cfg.scoped:
            return f"h: within what the run could see, c{i} differs in {wrong} from its input plus its changes"
        return None

    def soft(self, s: State) -> str | None:
        return None

    # ---- liveness
    def _stuck(self, s: State) -> str | None:
        starts = [("", s)] if s.wf == "RUN" else [(label + ", then ", t) for label, t in self.admin(s)]
        for label, t in starts:
            anew = "reruns from n" in label or "restarts" in label
            self.fresh = (len(s.chain), s.ids) if anew else None
            for body in (0, 1) if self.cfg.noop == "free" else (0,):
                if why := self.finish(t, body, False):
                    return f"5: {label}one more try alone, body {'no change' if body else 'changes'}: {why}"
        return None

    def excused(self, s: State, w: Worker) -> bool:
        """A refusal is right where somebody has changed what the run could see, or has moved or outlived its branch.

        After a begin anew only what came since counts; for the target only if the run begins at its head.
        """
        P, chain, (commits, ids) = self.P, s.chain, self.fresh or (0, 0)
        run = s.tx.runs[w.run[0]]
        if w.name in self.cfg.tasks:
            here, head = s._replace(chain=run.chain), run.tip
        else:
            here, head = s, len(chain) - 1
            since = max(w.inp + 1, commits if self.cfg.at_head else 0)
            for c in chain[since:]:
                if (c.person or c.who == "other") and (not self.cfg.snapshot or self.overlaps(w, c)):
                    return True
        if w.name == "e" and P.start(s, w, head):
            return False
        if P.beside(here, w, head) is not None:
            return True
        return run.gone == 1 or bool(run.touched and run.touched >= ids)

    def overlaps(self, w: Worker, c: Commit) -> bool:
        if self.cfg.scoped:
            return any(model.in_scope("e", p) for p, _ in c.writes)
        return bool({p for p, _ in c.writes} & {p for p, _ in w.writes or ()})


# ---------------------------------------------------------------- scenarios
BASE = Config(noop="never")
ONE = replace(BASE, tasks=("p",))
OTHER = replace(ONE, total=2, timeouts=1, unclear=1, admins=1)
SCENARIOS = {
    "run-calm": replace(BASE, total=0, noop="free"),
    "run-faults": replace(BASE, total=2, timeouts=2, requeues=1, unclear=1),
    "run-noop": replace(ONE, total=2, timeouts=1, requeues=1, admins=2, noop="free"),
    "run-admin": replace(BASE, total=2, timeouts=1, admins=2),
    "run-unclear": replace(ONE, total=3, timeouts=1, requeues=1, unclear=1, admins=2),
    "run-at-head": replace(
        BASE, total=2, timeouts=0, persons=1, requeues=1, admins=1, at_head=True, person_paths=("a", "x")
    ),
    "run-people": replace(BASE, total=2, persons=2, timeouts=1, unclear=1, person_paths=("x", "a", "p1")),
    "run-people-admin": replace(ONE, total=3, persons=2, timeouts=1, admins=2, person_paths=("x", "a")),
    "run-snapshot": replace(
        BASE, scoped=False, total=2, persons=1, timeouts=1, admins=1, person_paths=("x", "a", "p1")
    ),
    "run-exclusive": replace(BASE, snapshot=False, scoped=False, total=2, persons=1, timeouts=1, admins=1),
    "run-unstored": replace(ONE, total=2, timeouts=1, requeues=1, admins=1, unclear=1, stored=False),
    "run-slow": replace(ONE, total=2, timeouts=1, requeues=1, slow=1, slow_bound=True),
    "run-mixed": replace(ONE, total=2, timeouts=1, requeues=1, mixed=True),
    "run-touched": replace(BASE, total=2, timeouts=1, touches=1, admins=1),
    "run-touched-twice": replace(ONE, total=3, touches=2, timeouts=1, unclear=1, admins=1),
    "run-forged": replace(BASE, total=2, timeouts=1, touches=1, admins=1, outsiders="forger", resets=False),
    "run-outsider": replace(BASE, total=2, timeouts=1, touches=1, admins=1, outsiders="task", resets=False),
    "run-swept": replace(BASE, total=2, timeouts=1, ages=1, admins=1, sweeps=True),
    "run-beside": replace(OTHER, other=("y", "y")),
    "run-beside-people": replace(OTHER, other=("xy", "y"), persons=1, person_paths=("x",)),
    "run-skew": replace(OTHER, other=("p", "a")),
    "run-same": replace(OTHER, other=("y", "p1")),
    "run-beside-admins": replace(OTHER, other=("y", "y"), timeouts=0, admins=2),
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

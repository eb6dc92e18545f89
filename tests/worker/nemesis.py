"""Workflows on many branches, whose workers are killed, whose servers are killed, and whose branches a person moves."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter

import psutil
from nemesis_judge import Branch
from start_support import wait_for

LOOK_SECONDS = 0.2
DECIDE_SECONDS = 2.0
"""How often Conductor is made to notice timeouts: by itself it does once a minute."""
KILL_CHANCE, COMMIT_CHANCE, SUPERVISOR_SHARE = 0.2, 0.1, 0.4
"""In each look: of a kill, and of a commit by the person; and of kills, those of supervisors."""


class Nemesis:
    """Runs workflows, one at a time on each branch, and does them harm.

    Args:
        servers: the lakeFS and the Conductor, each of which is killed and started again once.
        workers: started ones.
        rounds: workflows in all.

    Attributes:
        done: what was done, by kind.
    """

    def __init__(self, pipeline, servers, workers, branches, rounds, seed):
        self.pipeline, self.workers, self.rounds = pipeline, workers, rounds
        self.branches = {name: Branch(pipeline.repository.branch(name, "main")) for name in branches}
        self.done = Counter()
        self._lakefs, self._conductor = servers
        self._chance = random.Random(seed)
        least, more = divmod(rounds, len(self.branches))
        self._waiting = {name: least + (number < more) for number, name in enumerate(self.branches)}
        self._running = {}
        self._conductor_starts = None
        self._decided = time.monotonic()

    def run(self, seconds):
        """Until all workflows have ended, both servers have been restarted, and the branches have come to rest."""
        deadline = time.monotonic() + seconds
        while sum(self._waiting.values()) or self._running or self._conductor_starts:
            assert time.monotonic() < deadline, f"{self._waiting} wait, {self._running} run, {self.done}"
            if self._conductor_answers():
                self._begin_workflows()
                self._end_workflows()
            self._do_harm()
            self._look_at_heads()
            time.sleep(LOOK_SECONDS)
        for branch in self.branches.values():
            branch.log = self.pipeline.repository.log(branch.name)
            branch.files = self.pipeline.repository.files(branch.name)

    # ---- workflows

    def _begin_workflows(self):
        for name, left in self._waiting.items():
            if left and name not in self._running:
                self._running[name] = self.pipeline.start(name)
                self._waiting[name] -= 1
                if not self.done["commits by hand"]:
                    self._commit(name)  # in the way of one workflow for sure

    def _end_workflows(self):
        api = self.pipeline.api
        decide = time.monotonic() - self._decided > DECIDE_SECONDS
        for name, workflow in list(self._running.items()):
            if decide:
                api.decide(workflow)
            found = api.workflow(workflow)
            if found["status"] not in ("RUNNING", "PAUSED"):
                self.branches[name].workflows.append(found)
                del self._running[name]
        if decide:
            self._decided = time.monotonic()

    @property
    def _ended(self):
        return sum(len(branch.workflows) for branch in self.branches.values())

    # ---- harm

    def _do_harm(self):
        if self._ended >= self.rounds // 3 and not self.done["lakeFS restarted"]:
            self._restart_lakefs()
        if self._ended >= self.rounds // 2 and not self.done["Conductor restarted"]:
            self._restart_conductor()
        if self._chance.random() < KILL_CHANCE and self._kills < self.rounds // 2:
            self._kill()
        if self._chance.random() < COMMIT_CHANCE and self.done["commits by hand"] < self.rounds // 4:
            self._commit(self._chance.choice(sorted(self.branches)))

    @property
    def _kills(self):
        return self.done["executors killed"] + self.done["supervisors killed"]

    def _restart_lakefs(self):
        self._lakefs.kill()
        self.pipeline.repository.api.close()
        self._lakefs.start()
        self.done["lakeFS restarted"] += 1

    def _restart_conductor(self):
        """Killed now; the workers go on as well as they can while it starts."""
        for worker in self.workers:
            worker.wait_ready()  # one that has yet to find it would rightly give up
        self._conductor.kill()
        self.pipeline.api.close()
        self._conductor_starts = threading.Thread(target=self._conductor.start)
        self._conductor_starts.start()
        self.done["Conductor restarted"] += 1

    def _conductor_answers(self):
        if self._conductor_starts is not None and not self._conductor_starts.is_alive():
            self._conductor_starts.join()
            self._conductor_starts = None
            assert self._conductor.is_healthy(), "it did not start again"
        return self._conductor_starts is None

    def _kill(self):
        worker = self._chance.choice(self.workers)
        assert worker.process.poll() is None, worker.told()
        supervisor = self._chance.random() < SUPERVISOR_SHARE or not self.done["supervisors killed"]
        if supervisor and self._conductor_starts is None:
            family = psutil.Process(worker.pid).children(recursive=True)
            worker.signal(signal.SIGKILL)
            worker.wait()
            wait_for(lambda: not any(map(_lives, family)), "a killed worker's processes to go", 30)
            worker.start()
            self.done["supervisors killed"] += 1
        elif worker.is_ready and (executors := _executors(worker)):  # a first one that dies is a module that fails
            try:
                self._chance.choice(executors).kill()
            except psutil.NoSuchProcess:
                return  # it was being replaced
            self.done["executors killed"] += 1

    # ---- the person

    def _commit(self, name):
        """A file of the person's own, committed by hand."""
        self.done["commits by hand"] += 1
        path = f"by-hand-{self.done['commits by hand']}.txt"
        commit = self.pipeline.repository.commit_files(name, {path: b"by hand"})
        self.branches[name].by_hand[commit] = path

    def _look_at_heads(self):
        for name, branch in self.branches.items():
            branch.seen.add(self.pipeline.repository.head(name))


def processes_of(worker):
    """All processes that work below a worker's root, whoever their parent is by now."""
    found = []
    for process in psutil.process_iter():
        try:
            root = process.environ().get("PERAGO_WORKSPACE_ROOT")
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if root == str(worker.root) and _lives(process):
            found.append(process)
    return found


def _executors(worker):
    try:
        reapers = psutil.Process(worker.pid).children()
        return [executor for reaper in reapers for executor in reaper.children()]
    except psutil.NoSuchProcess:
        return []


def _lives(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

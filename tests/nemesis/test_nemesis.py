"""Workflows on real servers under a nemesis, judged by their whole history; PERAGO_TEST_NEMESIS_MINUTES: how long."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections import Counter
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

import figures
from clocks import LaterClock
from leaks import secrets_in_files, secrets_in_values, told_by
from nemesis import hook
from nemesis.cached import COMPUTED, HITS, THERE, cached_faults
from nemesis.cached import counted as counted_results
from nemesis.cells import CONDUCTOR_CALLS, LAKEFS_CALLS
from nemesis.host import Host, left_in
from nemesis.judge import journal_faults
from nemesis.proxy import SpoiledTraffic
from nemesis.reader import Reader
from nemesis.recovery import percentile, recoveries
from nemesis.run import Nemesis, Scale
from nemesis.workflows import MODULES, Workflows
from perago.engines.conductor import ConductorEngine
from perago.stores.lakefs import LakeFSStore
from perago.stores.lakefs.publication.fence import ACTIONS_PREFIX
from perago.workspace.cache.examine import examine
from perago.workspace.cache.objects import PARTIAL
from servers.fixtures import repository_on

MINUTES = float(os.environ.get("PERAGO_TEST_NEMESIS_MINUTES", "2"))
HOSTS = {"host": (2, 1, 1, 1), "noting": (1, 1)}
"""How many slots each has, by its kind; what has one slot is soon there again. Those that only take notes take the next
one with their report, as they have a single type of tasks, of which more wait than there are slots."""

HERE = Path(__file__).parent
TASKS_OF = {"host": MODULES, "noting": ("nemesis_notes",)}

BRANCHES, WORKFLOWS = 20, 60
FEWEST_FOR_AN_HOUR = 30
"""A cell of an hour's run that was filled less often voids it."""

WHOLE_RUN = 4.0
"""Minutes from which on a run must have filled every cell, and seen so many workflows."""

FINISH_SECONDS = 600.0
"""A bound for what is under way when faults stop, on a machine that has much else to do."""


def scale() -> Scale:
    least = FEWEST_FOR_AN_HOUR if MINUTES >= 60 else int(MINUTES >= WHOLE_RUN)
    workflows = WORKFLOWS if MINUTES >= WHOLE_RUN else 6
    return Scale(seconds=60 * MINUTES, most_seconds=300 * MINUTES, workflows=workflows, least=least)


@pytest.mark.first
@pytest.mark.timeout(360 * MINUTES + FINISH_SECONDS + 900)
def test_nothing_is_lost_nothing_twice_and_nothing_orphaned(
    start_conductor, start_lakefs, s3_server, tmp_path, counted, tell_at_end
):
    seed = int(os.environ.get("PERAGO_TEST_NEMESIS_SEED", random.randrange(2**32)))
    print(f"\nPERAGO_TEST_NEMESIS_SEED={seed}", flush=True)
    chance, password = random.Random(seed), f"planted-{random.Random(seed).randbytes(12).hex()}"
    lakefs = start_lakefs(config=s3_server.lakefs_config, storage=s3_server.storage)
    conductor = start_conductor()
    secrets = [password, lakefs.secret_access_key]
    with ExitStack() as stack:
        repository, api = stack.enter_context(repository_on(lakefs)), stack.enter_context(conductor.api())
        traffic = [stack.enter_context(each) for each in _traffic(lakefs, conductor, chance)]
        engine = stack.enter_context(ConductorEngine(conductor.url))
        workflows = Workflows(api, engine, repository, [f"b{number}" for number in range(BRANCHES)], chance, password)
        hosts = [stack.enter_context(host) for host in _hosts(lakefs, traffic, workflows.domain, tmp_path)]
        nemesis = Nemesis(workflows, hosts, (lakefs, conductor), traffic, tmp_path, scale(), chance, secrets)
        for host in hosts:
            host.wait_ready()
        reader = stack.enter_context(Reader(lakefs, repository.name, workflows.branches, tmp_path / "read.jsonl"))
        nemesis.run()
        wanting = nemesis.wanting()
        print(nemesis.table(), flush=True)
        nemesis.let_finish(FINISH_SECONDS)
        nemesis.end_hosts()
        nemesis.heed_reader(reader)
        faults = _faults(nemesis, tmp_path, secrets)
        orphans = _orphans(lakefs, repository, hosts, tmp_path)
    print(", ".join(f"{what} {nemesis.done[what]}" for what in (HITS, THERE, COMPUTED)), flush=True)
    _count(nemesis, counted)
    counted(figures.NEMESIS_FAULTS).update(faults=len(faults), orphans=len(orphans))
    if faults:
        print(f"what was judged: {_keep(workflows, tmp_path)}")
    assert [*faults, *orphans] == [], "\n".join([f"seed {seed}", *faults, *orphans])
    assert wanting == [], f"seed {seed}: the run is void"
    assert nemesis.done["tasks taken along with a report"], f"seed {seed}: no worker took its next task with its report"
    assert nemesis.done["runs published"], f"seed {seed}: no run was published"
    assert nemesis.done[HITS], f"seed {seed}: no earlier result was published"
    assert nemesis.done[COMPUTED], f"seed {seed}: no result was computed for the cache"
    assert nemesis.done["lakeFS restarted"] == nemesis.done["Conductor restarted"] == 2


def _traffic(lakefs, conductor, chance):
    return [
        SpoiledTraffic(url, calls, chance, pause_seconds=pause, at_once=at_once, longest_delay_seconds=8.0)
        for url, calls, pause, at_once in (
            (lakefs.url, LAKEFS_CALLS, 0.5, 3),
            (conductor.url, CONDUCTOR_CALLS, 1.5, 2),
        )
    ]


def _hosts(lakefs, traffic, domain, directory):
    """Hosts that reach both servers through the proxies."""
    variables = {
        "LAKECTL_SERVER_ENDPOINT_URL": traffic[0].proxy.url,
        "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": lakefs.access_key_id,
        "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": lakefs.secret_access_key,
        "PERAGO_CACHE_DIR": str(directory / "cache"),
        hook.DIRECTORY_VARIABLE: str(directory),
    }
    programs = shutil.copytree(HERE, directory / "programs")
    shutil.copytree(HERE.parent / "support", programs / "support")
    url = f"{traffic[1].proxy.url}/api"
    return [
        Host(
            directory / f"{kind}-{number}",
            programs,
            TASKS_OF[kind],
            url,
            "--domain",
            domain,
            "-j",
            str(slots),
            **variables,
        )
        for kind, all_slots in HOSTS.items()
        for number, slots in enumerate(all_slots)
    ]


def _faults(nemesis, directory, secrets):
    """All that the judges find: in the history, the record, the journal, and whatever was written."""
    workflows, faults = nemesis.workflows, list(nemesis.faults)
    repository, known = workflows.repository, {}
    for branch in workflows.branches.values():
        branch.log = repository.log(branch.name)
        branch.contents = {commit["id"]: _contents(repository, commit["id"], known) for commit in branch.log}
        faults += branch.faults()
        faults += secrets_in_values("a commit", branch.log, secrets)
    faults += secrets_in_values("a task", told_by(workflows.all_ended), secrets)
    faults += secrets_in_values("a task's log", workflows.logs(), secrets)
    faults += secrets_in_files(directory, secrets)
    logs = [branch.log for branch in workflows.branches.values()]
    faults += cached_faults(logs)
    nemesis.done.update(counted_results(logs, [task for each in workflows.all_ended for task in each["tasks"]]))
    journal = (directory / hook.JOURNAL).read_text().splitlines()
    return [*faults, *journal_faults(map(json.loads, journal))]


def _keep(workflows, directory):
    """Write down what the judge saw, for whoever looks into a fault; returns the file."""
    path = directory / "judged.json"
    told = {name: vars(branch) for name, branch in workflows.branches.items()}
    path.write_text(json.dumps(told, default=lambda value: sorted(value) if isinstance(value, set) else str(value)))
    return path


def _count(nemesis, counted):
    """For the figures: what ended how, what was done, and how long recovery took."""
    workflows = nemesis.workflows
    statuses = Counter(found["status"].lower() for found in workflows.all_ended)
    counted(f"workflows on {BRANCHES} branches under a nemesis").update(statuses)
    counted(figures.NEMESIS).update(nemesis.done)
    undisturbed = [found for found in workflows.all_ended if found["workflowId"] not in workflows.meddled]
    seconds = recoveries(nemesis.blows, undisturbed)
    if seconds:
        half, most = percentile(seconds, 0.5), percentile(seconds, 0.99)
        counted(figures.RECOVERY).update(p50=round(1000 * half), p99=round(1000 * most), tasks=len(seconds))


def _contents(repository, commit, known):
    """All files of a commit but the fence, by path; `known`: content by where it lies."""
    files = {}
    for found in repository.objects(commit):
        if not found["path"].startswith(ACTIONS_PREFIX):
            address = found["physical_address"]
            if address not in known:
                known[address] = repository.get(commit, found["path"])
            files[found["path"]] = known[address]
    return files


def _orphans(lakefs, repository, hosts, directory):
    """What is left when nobody works any more, and the janitor has swept."""
    keys = {"access_key_id": lakefs.access_key_id, "secret_access_key": lakefs.secret_access_key}
    store = LakeFSStore(endpoint_url=lakefs.url, **keys)
    try:
        store.repository(repository.name).sweep(0.0, runs_older_than_seconds=0.0)
    finally:
        store.close()
    for finding in examine(directory / "cache", LaterClock(timedelta(hours=1))):
        finding.mend()
    left = [path for host in hosts for path in left_in(host.root)]
    left += (directory / "cache").glob(f"*/{PARTIAL}/*")
    left += [path for host in hosts for path in host.root.glob("supervisor/undelivered/*")]
    return [f"{path} is left" for path in left] + [
        f"branch {name} is left" for name in repository.branches("perago-", hidden=True)
    ]

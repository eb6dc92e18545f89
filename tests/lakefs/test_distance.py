"""A small attempt far from its server: how many calls it makes one after the other."""

from pathlib import Path

from pydantic import BaseModel

from perago import WorkspaceSpec, task
from perago.attempt.context import RunContext
from perago.attempt.phases import Phases
from perago.attempt.report import Reported, last_look, report_attempt
from perago.attempt.run import run_attempt
from perago.ports import SystemClock, ignore
from perago.stores.lakefs import LakeFSStore
from perago.testing import MemoryEngine
from perago.workspace.cache import ObjectCache
from servers.link import Link, in_sequence

ROUND_TRIP = 0.2
"""Long, so that calls that begin together are under way together on a busy machine, too."""


class Params(BaseModel):
    text: str


class Result(BaseModel):
    pass


@task(name="change_two", owner_email="ada@example.org", workspace=WorkspaceSpec(prefix="data"))
def change_two(workspace: Path, params: Params) -> Result:
    for name in ("0", "1"):
        (workspace / name).write_text(params.text + name)
    return Result()


def attempt(store, engine, base, root, text):
    """Run an attempt whole, as a worker does; returns the published commit."""
    task, workspace = change_two.__perago_task__, {"repository": base[0], "branch": "main", "refType": "commit"}
    engine.schedule("change_two", {"workspace": {**workspace, "ref": base[1]}, "params": {"text": text}})
    delivered = engine.poll()
    context = RunContext(observer=ignore)
    result = run_attempt(
        task, delivered.input_data, delivered, context, workspace_root=root, open_store=lambda: store, engine=engine
    )
    look = last_look(
        task, delivered.input_data, delivered, read_history=store.read_history, load_record=engine.load_record
    )
    phases = Phases(ignore, SystemClock(), execution_id="e", task_id=delivered.task_id)
    assert report_attempt(engine, delivered, result, phases, last_look=look) is Reported.RECORDED
    assert result.output is not None, result.reason_for_incompletion
    return result.output["workspace"]["ref"]


def test_a_small_attempt_makes_eight_calls_one_after_the_other(lakefs_server, lakefs_repository, tmp_path):
    head = lakefs_repository.commit_files("main", {f"data/{number}": bytes([number]) for number in range(10)})
    with (
        ObjectCache(tmp_path / "cache", 10**6) as cache,
        Link(lakefs_server.url, ROUND_TRIP) as link,
        LakeFSStore(
            endpoint_url=link.url,
            access_key_id=lakefs_server.access_key_id,
            secret_access_key=lakefs_server.secret_access_key,
            cache=cache,
        ) as store,
    ):
        chains = []
        for text in ("one", "two", "three"):
            engine = MemoryEngine()
            head = attempt(store, engine, (lakefs_repository.name, head), tmp_path / "root", text)
            chains.append([call.line.split(lakefs_repository.name)[-1] for call in in_sequence(link.calls())])

    shortest = min(chains[1:], key=len)  # on a busy machine, one of two that begin together may begin late
    assert len(shortest) == 8, shortest
    assert lakefs_repository.get(head, "data/1") == b"three1"
    assert lakefs_repository.branches("perago-", hidden=True) == []
    assert len(chains[0]) <= 15, "the first of a process also downloads, and tries the fence"

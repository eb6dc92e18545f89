"""Workflows for the commands."""

from __future__ import annotations

import os
import time
from pathlib import Path

from pydantic import BaseModel, SecretStr

from perago import Flow, RetryPolicy, TaskControls, TaskFailed, WorkspaceSpec, task, workflow

OWNER = "a@example.org"


class Words(BaseModel):
    words: list[str]


class Counted(BaseModel):
    count: int


class Given(BaseModel):
    count: int = 0
    token: SecretStr = SecretStr("")


@task(name="cli.write", owner_email=OWNER, workspace=WorkspaceSpec())
def write(workspace: Path, params: Words) -> Counted:
    (workspace / "words.txt").write_text("\n".join(params.words))
    print("written")
    return Counted(count=len(params.words))


@task(name="cli.read", owner_email=OWNER, workspace=WorkspaceSpec(read_only=True))
def read(workspace: Path, params: Given) -> Counted:
    return Counted(count=len((workspace / "words.txt").read_text().split()))


@task(name="cli.gate", owner_email=OWNER, controls=TaskControls(retry=RetryPolicy(count=1, delay_seconds=60)))
def gate(params: Given) -> Counted:
    if not Path(os.environ["CLI_GATE"]).exists():
        raise TaskFailed("the gate is closed")
    return Counted(count=params.count)


@task(name="cli.wait", owner_email=OWNER)
def wait(params: Given) -> Counted:
    Path(os.environ["CLI_GATE"]).write_text("waiting")
    time.sleep(120)
    return Counted(count=params.count)


class Kept(BaseModel):
    phrase: SecretStr = SecretStr("of-the-code")  # by its name nobody would take it for a secret


@task(name="cli.length", owner_email=OWNER)
def length(params: Kept) -> Counted:
    return Counted(count=len(params.phrase.get_secret_value()))


@workflow(name="cli_phrase", owner_email=OWNER)
def phrase(flow: Flow, params: Kept) -> Counted:
    return flow.run(length, phrase=params.phrase)


@task(name="cli.slow", owner_email=OWNER)
def slow(params: Given) -> Counted:
    time.sleep(60)
    return Counted(count=0)


@workflow(name="cli_beside", owner_email=OWNER)
def beside(flow: Flow) -> None:
    with flow.parallel():
        flow.run(slow)
        flow.run(length)


class Report(BaseModel):
    written: int
    read: int


@workflow(name="cli_plain", owner_email=OWNER, description="writes, and reads")
def plain(flow: Flow, params: Words) -> Report:
    written = flow.run(write, words=params.words)
    with flow.parallel():
        seen = flow.run(read)
        flow.run(read, ref_="again")
    return flow.output(Report, written=written.count, read=seen.count)


@workflow(name="cli_gated", owner_email=OWNER)
def gated(flow: Flow, params: Words) -> Counted:
    written = flow.run(write, words=params.words)
    return flow.run(gate, count=written.count)


@workflow(name="cli_outer", owner_email=OWNER)
def outer(flow: Flow, params: Words) -> Report:
    with flow.parallel():
        flow.run(length)
        with flow.branch():
            inner = flow.run(gated, words=params.words, ref_="inner")
    seen = flow.run(read)
    return flow.output(Report, written=inner.count, read=seen.count)


@workflow(name="cli_nested", owner_email=OWNER)
def nested(flow: Flow, params: Words) -> Counted:
    flow.run(gated, words=params.words, ref_="inner")
    return flow.run(read)


@task(name="cli.fail", owner_email=OWNER, controls=TaskControls(retry=RetryPolicy(count=0)))
def fail(params: Given) -> Counted:
    gate = Path(os.environ["CLI_GATE"])
    while not gate.exists():
        time.sleep(0.01)
    raise TaskFailed("broken")


@workflow(name="cli_hopeless", owner_email=OWNER)
def hopeless(flow: Flow) -> Counted:
    with flow.parallel():
        flow.run(wait)
        return flow.run(fail)


@workflow(name="cli_lenient", owner_email=OWNER)
def lenient(flow: Flow) -> Counted:
    flow.run(hopeless, optional_=True)
    return flow.run(length)


@workflow(name="cli_waiting", owner_email=OWNER)
def waiting(flow: Flow, params: Words) -> Counted:
    flow.run(write, words=params.words)
    return flow.run(wait)


@workflow(name="cli_secret", owner_email=OWNER)
def secret(flow: Flow, params: Given) -> Counted:
    return flow.run(gate, params)


@workflow(name="cli_rivals", owner_email=OWNER)
def rivals(flow: Flow) -> None:
    with flow.parallel():
        flow.run(write, words=["a"])
        flow.run(write, words=["b"])


class Word(BaseModel):
    word: str
    plus: int = 0
    phrase: SecretStr = SecretStr("")  # by its name nobody would take it for a secret


class Each(BaseModel):
    counts: list[Counted]


class Phrased(BaseModel):
    words: list[str]
    phrase: SecretStr = SecretStr("")


@task(name="cli.size", owner_email=OWNER)
def size(params: Word) -> Counted:
    if params.word == "bad":
        raise TaskFailed("a bad word")
    return Counted(count=len(params.word) + len(params.phrase.get_secret_value()) + params.plus)


@workflow(name="cli_quiet", owner_email=OWNER)
def quiet(flow: Flow, params: Word) -> None:
    flow.run(size, word=params.word)


class KeptSecrets(BaseModel):
    count: int = 0
    token: SecretStr = SecretStr("another-of-the-code")
    phrase: SecretStr = SecretStr("of-the-code")


@workflow(name="cli_kept_secrets", owner_email=OWNER)
def kept_secrets(flow: Flow, params: KeptSecrets) -> Counted:
    gated = flow.run(gate, count=params.count, token=params.token)
    return flow.run(size, word="", plus=gated.count, phrase=params.phrase)


@workflow(name="cli_mapped", owner_email=OWNER)
def mapped(flow: Flow, params: Phrased) -> Each:
    sizes = flow.map(size, over=params.words, as_="word", phrase=params.phrase, plus=1)
    return flow.output(Each, counts=sizes)


@task(name="cli.once", owner_email=OWNER, controls=TaskControls(retry=RetryPolicy(count=1, delay_seconds=0)))
def fails_once(params: Word) -> Counted:
    """Fails at its first try in a run, which leaves a file in the directory CLI_ONCE."""
    try:
        (Path(os.environ["CLI_ONCE"]) / params.word).touch(exist_ok=False)
    except FileExistsError:
        return Counted(count=len(params.word))
    raise TaskFailed("the first time")


@workflow(name="cli_all_once", owner_email=OWNER)
def all_once(flow: Flow, params: Words) -> Each:
    return flow.output(Each, counts=flow.map(fails_once, over=params.words, as_="word"))


class Put(BaseModel):
    name: str


class Names(BaseModel):
    names: list[str]


@task(name="cli.put", owner_email=OWNER, workspace=WorkspaceSpec(isolation="snapshot"))
def put(workspace: Path, params: Put) -> Counted:
    (workspace / params.name).write_text(params.name)
    return Counted(count=1)


@task(name="cli.list", owner_email=OWNER, workspace=WorkspaceSpec(isolation="snapshot"))
def collect(workspace: Path, params: Given) -> Names:
    names = sorted(path.name for path in workspace.iterdir())
    (workspace / "names.txt").write_text(" ".join(names))
    return Names(names=names)


@workflow(name="cli_joined", owner_email=OWNER, description="writers beside each other, and what they have made")
def joined(flow: Flow) -> Names:
    with flow.parallel():
        flow.run(put, name="a.txt")
        flow.run(put, name="b.txt")
        with flow.branch():
            flow.run(put, name="c.txt")
            flow.run(put, name="d.txt")
    flow.run(gate)
    return flow.run(collect)


@workflow(name="cli_side_by_side", owner_email=OWNER)
def side_by_side(flow: Flow, params: Put) -> None:
    with flow.parallel():
        flow.run(put, name=params.name)
        flow.run(put, name="a.txt")


@workflow(
    name="cli_around_joined", owner_email=OWNER, description="writers beside each other within one that joins them"
)
def around_joined(flow: Flow) -> Names:
    with flow.parallel():
        flow.run(side_by_side, name="b.txt")
        flow.run(put, name="c.txt")
    return flow.run(collect)


class Phrases(BaseModel):
    phrases: list[SecretStr]


@workflow(name="cli_phrases", owner_email=OWNER)
def phrases(flow: Flow, params: Phrases) -> Each:
    return flow.output(Each, counts=flow.map(length, over=params.phrases, as_="phrase"))


@workflow(name="cli_put_all", owner_email=OWNER, description="writers beside each other, as many as there are words")
def put_all(flow: Flow, params: Words) -> Names:
    flow.map(put, over=params.words, as_="name")
    return flow.run(collect)


@workflow(name="cli_writers", owner_email=OWNER)
def writers(flow: Flow) -> None:
    """Ends with tasks that publish beside each other."""
    with flow.parallel():
        flow.run(put, name="one.txt")
        flow.run(put, name="two.txt")

"""The task that is killed: it adds a line to a file, so that a line lost or written twice is seen."""

from pathlib import Path

from pydantic import BaseModel

from perago import Flow, TaskContext, WorkspaceSpec, task, workflow


class Params(BaseModel):
    """`password` is one that must be seen nowhere."""

    line: int
    password: str = ""


class Result(BaseModel):
    lines: int


@task(name="append", owner_email="tests@example.org", workspace=WorkspaceSpec())
def append(workspace: Path, params: Params, context: TaskContext) -> Result:
    context.logger.info("appending", password=params.password)
    log = workspace / "log.txt"
    lines = [*log.read_text().splitlines(), str(params.line)]
    log.write_text("".join(f"{line}\n" for line in lines))
    (workspace / "new" / str(params.line)).parent.mkdir(exist_ok=True)
    (workspace / "new" / str(params.line)).write_text(str(params.line))
    return Result(lines=len(lines))


class Lines(BaseModel):
    first: int
    second: int


@workflow(name="append_twice", owner_email="tests@example.org")
def append_twice(flow: Flow, params: Lines) -> Result:
    flow.run(append, ref_="one", line=params.first)
    last = flow.run(append, ref_="other", line=params.second)
    return flow.output(Result, lines=last.lines)

"""Tasks that the testing kit is tested with."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field

from perago import (
    MetricRecorder,
    MetricSpec,
    TaskContext,
    TaskFailed,
    WorkspaceSpec,
    forbid_glob,
    require_file,
    require_glob,
    task,
)


class Params(BaseModel):
    suffix: str = ""
    fail_on: list[int] = Field(default_factory=list)


class Result(BaseModel):
    text: str


OWNER = "ada@example.org"


@task(
    name="copy",
    owner_email=OWNER,
    workspace=WorkspaceSpec(
        prefix="data", pre=[require_file("in.txt")], post=[forbid_glob("*.tmp")], exclude=["private/**"]
    ),
    strict_params=True,
)
def copy(workspace: Path, params: Params, context: TaskContext) -> Result:
    """in.txt and a suffix become out.txt; old.txt goes."""
    context.progress(1, 2, "copying")
    if context.retry_count in params.fail_on:
        (workspace / "half.txt").write_text("half done")
        raise TaskFailed("not this time")
    text = (workspace / "in.txt").read_text() + params.suffix
    (workspace / "out.txt").write_text(text)
    (workspace / "old.txt").unlink(missing_ok=True)
    context.raise_if_cancelled()
    return Result(text=text)


@task(name="look", owner_email=OWNER, workspace=WorkspaceSpec(read_only=True, pre=[require_glob("*")]))
def look(workspace: Path, params: Params) -> Result:
    (workspace / "scratch").write_text("nobody gets this")
    return Result(text=" ".join(sorted(path.name for path in workspace.iterdir())))


@task(name="append", owner_email=OWNER, workspace=WorkspaceSpec(isolation="snapshot"))
def append(workspace: Path, params: Params) -> Result:
    """A file of its own: parallel tasks may write theirs."""
    (workspace / f"part{params.suffix}").write_text(params.suffix)
    return Result(text=params.suffix)


@task(name="free", owner_email=OWNER, metrics=MetricSpec())
async def free(params: Params, metrics: MetricRecorder, context: TaskContext) -> Result:
    metrics.gauge("letters", len(params.suffix), labels={"of": "suffix"})
    context.raise_if_cancelled()
    return Result(text=params.suffix.upper())


@task(name="leave", owner_email=OWNER, workspace=WorkspaceSpec())
def leave(workspace: Path, params: Params) -> Result:
    """Leaves a file of the name that it is told."""
    (workspace / params.suffix).write_text("")
    return Result(text=params.suffix)


@task(name="link", owner_email=OWNER, workspace=WorkspaceSpec())
def link(workspace: Path, params: Params) -> Result:
    (workspace / "link").symlink_to("/etc/passwd")
    return Result(text="")


@task(name="lie", owner_email=OWNER)
def lie(params: Params) -> Result:
    return Result.model_construct(text=float("nan"))

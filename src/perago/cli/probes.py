"""What a worker's readiness rests on besides itself: tasks that are registered, a store that answers."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from perago.errors import RuntimeConfigError
from perago.http.loop import LoopThread
from perago.settings import LakeFSConfig, RuntimeConfig
from perago.worker.supervisor.health import Look

if TYPE_CHECKING:
    from perago.engines.conductor import ConductorEngine

STORE_SECONDS = 5.0
"""Deadline of a look at the lakeFS server."""


def probes_of(
    stack: ExitStack, config: RuntimeConfig, engine: ConductorEngine, tasks: list[str], repository: Path | None
) -> Mapping[str, Look]:
    """The looks of a worker; see `worker.supervisor.health`.

    Args:
        stack: closes what they open.
        tasks: names of the worker's tasks; filled when they are known.
        repository: path of the git repository that it works on; None: the lakeFS server that is configured, if one is.
    """
    found: dict[str, Look] = {"tasks": partial(_look_at_tasks, engine, tasks)}
    if repository is not None:
        found["store"] = partial(_look_at_git, repository)
    elif config.lakefs is not None:
        found["store"] = _look_at_lakefs(stack, config.lakefs)
    return found


def _look_at_tasks(engine: ConductorEngine, tasks: list[str]) -> str:
    missing = [name for name in tasks if engine.get_taskdef(name) is None]
    if missing:
        raise RuntimeConfigError(f"not registered: {', '.join(missing)}")
    return f"{len(tasks)} registered"


def _look_at_git(path: Path) -> str:
    if not (path / "HEAD").is_file():
        raise RuntimeConfigError(f"{path} is no repository any more")
    return "there"


def _look_at_lakefs(stack: ExitStack, config: LakeFSConfig) -> Look:
    """The user of the access key: the server answers, and knows the key."""
    from perago.stores.lakefs.api.client import LakeFSClient

    client = LakeFSClient.connect(
        config.endpoint_url, config.access_key_id, config.secret_access_key.get_secret_value(), connections=1
    )
    loop = LoopThread("perago-store-probe", client.close)
    stack.callback(loop.close)

    async def ask() -> str:
        await client.get("getCurrentUser", client.url("/user"), dict)
        return "answers"

    return lambda: loop.run(ask(), STORE_SECONDS)

"""The page of `perago ui` for tests: on recorded runs and a git repository, as a browser with its cookie sees it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.testclient import TestClient

from perago.engines.local import LocalEngine
from perago.running.repos.address import local_engine, parse_address
from perago.ui.app import build
from perago.ui.guard import Keys
from perago.ui.source import Source
from perago.values.models import RuntimeTaskResult

if TYPE_CHECKING:
    from perago.ui.conductor import ConductorRuns

PORT = 4321
HOST = f"127.0.0.1:{PORT}"
WORKSPACE = {"repository": "data", "branch": "main", "refType": "commit", "ref": "a" * 40}

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202e\x1b[31m"


def repository(path: Path, files: dict[str, str | bytes] | None = None) -> str:
    """A git repository with a branch `main`; returns its address."""
    address = parse_address(str(path / "data.git"))
    source = path / "source"
    for name, content in (files or {"raw/a.csv": "x,y\n1,2\n"}).items():
        file = source / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    with address.create("main", lambda _event: None, storage_namespace=None) as opened:
        opened.import_directory(source, "main", "Imported raw data")
    return address.argument


@contextmanager
def opened(
    argument: str | None,
    keys: Keys | None = None,
    conductor: ConductorRuns | None = None,
    *,
    read_seconds: float | None = None,
) -> Iterator[TestClient]:
    """A browser that has opened the page."""
    keys = keys or Keys(PORT)
    address = None if argument is None else parse_address(argument)
    source = Source(address, "main", None, conductor, read_seconds=read_seconds)
    client = TestClient(build(source, keys), base_url=f"http://{HOST}{keys.place}")
    client.cookies.set(keys.cookie_name, keys.cookie)
    yield client


def record_run(
    argument: str | None, task: str, params: object, result: object = None, reason: str | None = None
) -> str:
    """Record the run of a task; returns its id."""
    engine: LocalEngine = local_engine(None if argument is None else parse_address(argument))
    with engine.start_run(
        target=f"app:{task}", task_name=task, input_data={"workspace": WORKSPACE, "params": params}
    ) as run:
        status = "COMPLETED" if reason is None else "FAILED"
        output = None if reason is not None else {"workspace": {**WORKSPACE, "ref": "b" * 40}, "result": result or {}}
        run.report(run.attempt.task_id, RuntimeTaskResult(status=status, output=output, reason_for_incompletion=reason))
        return run.run_id


def text_of(html: str) -> str:
    """What a person reads of a page."""
    import html as entities

    without = re.sub(r"<(script|style)\b.*?</\1>", "", html, flags=re.DOTALL)
    return " ".join(entities.unescape(re.sub(r"<[^>]*>", " ", without)).split())

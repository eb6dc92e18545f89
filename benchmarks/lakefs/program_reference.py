"""One attempt's work by the reference, perago 0.6.1 from PyPI, in its own environment.

usage: program_reference.py URL REPOSITORY DIRECTORY TASK COUNT WORD, run by that environment's Python, with the access
key in PERAGO_BENCH_KEY_ID and PERAGO_BENCH_SECRET. It prints the seconds of each step as JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import uuid
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.append(str(Path(__file__).parents[2]))  # after the reference, whose package has the same name

from benchmarks.changing import CHANGES


def clean(runtime: Any, staged: Any, work: Path) -> None:
    """Remove what the attempt leaves."""
    runtime.cleanup_staging(staged)
    shutil.rmtree(work)


def main() -> None:
    """Run the steps and print the result."""
    url, repository, directory, task, count, word = sys.argv[1:]
    reference: Any = import_module("perago")
    config = reference.LakeFSConfig(
        endpoint_url=url,
        access_key_id=os.environ["PERAGO_BENCH_KEY_ID"],
        secret_access_key=os.environ["PERAGO_BENCH_SECRET"],
    )
    runtime = import_module("perago.lakefs_runtime").LakeFSWorkspaceRuntime.from_config(config)
    head = os.environ["PERAGO_BENCH_HEAD"]
    given = reference.WorkspaceInput(repository=repository, branch="main", refType="commit", ref=head)
    spec, name, work = reference.WorkspaceSpec(), uuid.uuid4().hex, Path(directory) / "work"
    work.mkdir()
    attempt = SimpleNamespace(
        task_id=name,
        workflow_instance_id=name,
        reference_task_name="bench",
        seq=1,
        iteration=0,
        retry_count=0,
        execution_id=name,
    )
    steps: dict[str, float] = {}

    def timed(step: str, do: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = do()
        steps[step] = time.perf_counter() - began
        return result

    timed("materialize", lambda: runtime.download_workspace(given, spec, work))
    timed("body", lambda: CHANGES[task](work, int(count), word))
    staged = timed("stage", lambda: runtime.stage_workspace(work, given, spec, attempt))
    timed("publish", lambda: runtime.publish_workspace(staged, given, spec, attempt))
    timed("clean", lambda: clean(runtime, staged, work))
    print(json.dumps(steps))


if __name__ == "__main__":
    main()

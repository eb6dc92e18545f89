"""conductor-python's own runner with a task that does almost nothing, in its own environment.

usage: program_runner.py SLOTS, run by that environment's Python, with CONDUCTOR_SERVER_URL and PERAGO_BENCH_TASK.
Everything else is conductor-python's default.
"""

import os
import sys
from importlib import import_module
from typing import Any


def echo(task: object) -> dict[str, str]:
    """Return the input. conductor-python passes the polled task to a function with one parameter."""
    polled: Any = task
    return {"text": polled.input_data["params"]["text"]}


def main() -> None:
    """Run until a signal."""
    [slots] = sys.argv[1:]
    client: Any = import_module("conductor.client.configuration.configuration")
    workers: Any = import_module("conductor.client.worker.worker")
    handlers: Any = import_module("conductor.client.automator.task_handler")
    worker = workers.Worker(os.environ["PERAGO_BENCH_TASK"], echo, thread_count=int(slots))
    configuration = client.Configuration(server_api_url=os.environ["CONDUCTOR_SERVER_URL"])
    with handlers.TaskHandler([worker], configuration, scan_for_annotated_workers=False) as handler:
        handler.start_processes()
        handler.join_processes()


if __name__ == "__main__":
    main()

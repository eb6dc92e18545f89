"""A process that runs a body and prints what the body tells; for tests that kill it."""

import sys

from perago.attempt.body import BodyCall
from perago.tasks.context import TaskContext
from perago.tasks.load import load_module_task
from perago.tasks.params import validate_params
from perago.values.models import AttemptIdentity
from perago.worker.body.run import BodyProcess, BodyZygote, load_order

TARGET = "worker_bodies:leave_children"

if __name__ == "__main__":
    task = load_module_task(TARGET)
    raw = {"text": sys.argv[1]}
    context = TaskContext(
        identity=AttemptIdentity(workflow_instance_id="w", task_id="t", retry_count=0),
        execution_id="e",
        task_name=task.name,
        is_cancelled=bool,
    ).reporting_to(lambda _done, _total, message: print(message, flush=True))
    load = load_order([TARGET], "fork")
    with BodyZygote(load) as zygote:
        BodyProcess(zygote.start, load, cancelled=bool)(
            BodyCall(task=task, params=validate_params(task, raw), raw_params=raw, context=context)
        )

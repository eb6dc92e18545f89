"""What bodies in the process of a test cannot have."""

from __future__ import annotations

import os

from perago.errors import RuntimeConfigError
from perago.tasks.declare import TaskDefinition
from perago.values.sandbox import SandboxMode, fault_of_sandbox


def expect_no_sandbox(task: TaskDefinition) -> None:
    """Check that a task may run without an enforced sandbox.

    Raises:
        RuntimeConfigError: it declares one, and `PERAGO_SANDBOX` is not `report`.
    """
    default: SandboxMode = "report" if os.environ.get("PERAGO_SANDBOX") == "report" else "off"
    lacks = "the testing kit runs bodies in the process of the test"
    fault = fault_of_sandbox(task.name, task.sandbox, default, lacks=lacks)
    if fault is not None:
        raise RuntimeConfigError(fault)

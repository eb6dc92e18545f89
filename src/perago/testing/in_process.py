"""What bodies in the process of a test cannot have."""

from __future__ import annotations

import os

from perago.tasks.declare import TaskDefinition
from perago.values.sandbox import SANDBOX_MODES, SandboxMode
from perago.worker.body.sandbox import expect_sandbox


def expect_no_sandbox(task: TaskDefinition) -> None:
    """Check that a task may run without an enforced sandbox.

    Raises:
        RuntimeConfigError: it declares one, and `PERAGO_SANDBOX` is not `report`.
    """
    given = os.environ.get("PERAGO_SANDBOX", "off")
    default: SandboxMode = next((mode for mode in SANDBOX_MODES if mode == given and mode != "enforce"), "off")
    expect_sandbox([task], default, lacks="the testing kit runs bodies in the process of the test")

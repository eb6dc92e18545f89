"""The sandbox of a task, for whoever starts its body: what it comes to on this host, and what the body is told."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from perago.attempt.body import BodyCall
from perago.errors import RuntimeConfigError, TaskDefinitionError, TaskExecutionError
from perago.files.short_path import short_path_to
from perago.tasks.declare import TaskDefinition
from perago.values.sandbox import SandboxMode, fault_of_sandbox
from perago.worker.body.reach import Places
from perago.worker.process.messages import Confinement

_PRIVATE = "private-"


def lacks_for(*, network: bool) -> str | None:
    """What this host lacks to enforce a sandbox; None if nothing.

    Args:
        network: whether the task may make connections, which then need not be refused.
    """
    if sys.platform != "linux":
        return "it needs Landlock, which only Linux has"
    from perago.worker.process.landlock import FILES_ABI, TCP_ABI, landlock_abi

    abi = landlock_abi()
    if abi == 0:
        return (
            "this kernel offers no Landlock (Linux 6.7 or newer, with landlock among the modules of "
            "/sys/kernel/security/lsm, and a seccomp profile that lets it through)"
        )
    needed, linux = (FILES_ABI, "6.2") if network else (TCP_ABI, "6.7")
    if abi < needed:
        return f"this kernel's Landlock has version {abi}, and {needed} is needed (Linux {linux})"
    return None


def ability() -> str:
    """Whether this host can enforce a sandbox, as a sentence without its full stop."""
    lacks = lacks_for(network=False)
    return "this host can enforce it" if lacks is None else f"this host cannot enforce it: {lacks}"


def sandbox_of(task: TaskDefinition, default: SandboxMode, *, in_process: str | None = None) -> SandboxMode:
    """The mode in which a body of a task runs on this host.

    Args:
        default: the mode of tasks that declare none.
        in_process: why the body shares a process with other code, which cannot be watched; None if it does not.
    """
    if task.is_builtin or in_process is not None or task.sandbox.is_off(default):
        return "off"
    return task.sandbox.mode_on(default, lacks=lacks_for(network=task.sandbox.network))


def expect_sandbox(
    tasks: Iterable[TaskDefinition], default: SandboxMode, root: Path, *, in_process: str | None = None
) -> None:
    """Check that the sandboxes of tasks can be had, before anything starts.

    Args:
        root: the workspace root.
        default, in_process: as for `sandbox_of`.

    Raises:
        RuntimeConfigError: one cannot; says what lacks.
        TaskDefinitionError: a path that a task reads or writes does not exist, or opens the workspaces of all.
    """
    for task in tasks:
        if task.is_builtin or task.sandbox.is_off(default):
            continue
        lacks = in_process or lacks_for(network=task.sandbox.network)
        fault = fault_of_sandbox(task.name, task.sandbox, default, lacks=lacks)
        if fault is not None:
            raise RuntimeConfigError(fault)
        _expect_paths(task, root)


def _expect_paths(task: TaskDefinition, root: Path) -> None:
    for option, paths in (("reads", task.sandbox.reads), ("writes", task.sandbox.writes)):
        for path in paths:
            where = f"{task.target}: {option} has {path!r}, which"
            if not os.path.lexists(path):
                raise TaskDefinitionError(f"{where} does not exist on this host. Create it, or leave it out")
            if os.path.realpath(root) in Places([os.path.realpath(path)]):
                raise TaskDefinitionError(
                    f"{where} holds the workspaces of all tasks ({root}). Name what the task needs more closely, or "
                    f"put the workspaces elsewhere with PERAGO_WORKSPACE_ROOT"
                )


def confinement_of(call: BodyCall, default: SandboxMode, stack: ExitStack) -> Confinement | None:
    """What a body or a guard may reach; None if it is not confined.

    Args:
        default: as for `sandbox_of`.
        stack: removes the private directory and what leads there.

    Raises:
        TaskExecutionError: this host cannot enforce it.
    """
    task, spec = call.task, call.task.sandbox
    mode = sandbox_of(task, default)
    if mode == "off":
        return None
    fault = fault_of_sandbox(task.name, spec, default, lacks=lacks_for(network=spec.network))
    if fault is not None:
        raise TaskExecutionError(fault)
    beside = None if call.workspace is None else call.workspace.absolute().parent
    private = stack.enter_context(TemporaryDirectory(prefix=_PRIVATE, dir=beside, ignore_cleanup_errors=True))
    return Confinement(
        mode=mode,
        private=os.path.realpath(private),
        short=short_path_to(os.path.realpath(private), stack),
        workspace=None if call.workspace is None else os.path.realpath(call.workspace),
        read_only=task.workspace is not None and task.workspace.read_only,
        reads=(*spec.reads, *_files_in_key(task)),
        writes=spec.writes,
        network=spec.network,
        environment=task.environment,
    )


def _files_in_key(task: TaskDefinition) -> tuple[str, ...]:
    """Files of the host that the task has named for the key of its cache, as far as they are there."""
    named = () if task.cache is None else task.cache.depends
    return tuple(path for path in named if path.startswith("/") and os.path.lexists(path))

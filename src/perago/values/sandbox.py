"""What a body may reach besides its workspace: what a task declares, and what that comes to on a host. Values only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

SandboxMode = Literal["enforce", "report", "off"]
SANDBOX_MODES: tuple[SandboxMode, ...] = ("enforce", "report", "off")


@dataclass(frozen=True, kw_only=True)
class SandboxSpec:
    """What a task declares.

    Attributes:
        mode: None for the default of the process that runs it, `PERAGO_SANDBOX`.
        reads, writes: absolute paths of files and directories on the host.
        network: whether it may make TCP connections.
        proves: the task has a cache, which needs to know what its results depend on. Without a mode of its own it is
            enforced where that can be had, and else noted.
    """

    mode: SandboxMode | None = None
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    network: bool = False
    proves: bool = False

    def is_off(self, default: SandboxMode) -> bool:
        """Whether the task runs without one on any host."""
        return not self.proves and (self.mode or default) == "off"

    def mode_on(self, default: SandboxMode, *, lacks: str | None) -> SandboxMode:
        """The mode that the task runs in.

        Args:
            default: the setting of the process.
            lacks: what `enforce` lacks where the body would run; None if nothing. The setting `report` is then the
                word for doing without.
        """
        mode = self.mode or default
        if self.proves and self.mode is None and mode != "enforce":
            return "enforce" if lacks is None else "report"
        return "report" if mode == "enforce" and lacks is not None and default == "report" else mode


@dataclass(frozen=True, kw_only=True)
class SandboxRecord:
    """What one body could reach, and what else it reached for, for the record of its run.

    Attributes:
        mode, reads, writes, network: as they took effect.
        reached: in words; more: how many more there were.
        modules: source modules that it imported while it ran, by name. What a module imports from the beginning, its
            source says.
        opened: real paths of files of source modules that it opened while it ran, and of packages that it listed.
    """

    mode: SandboxMode
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    network: bool = False
    reached: tuple[str, ...] = ()
    more: int = 0
    modules: tuple[str, ...] = ()
    opened: tuple[str, ...] = ()

    def after(self, before: SandboxRecord | None) -> SandboxRecord:
        """This record with what was reached for before it, by a guard or the body of the same try."""
        if before is None:
            return self
        reached = tuple(dict.fromkeys((*before.reached, *self.reached)))
        modules = tuple(dict.fromkeys((*before.modules, *self.modules)))
        opened = tuple(dict.fromkeys((*before.opened, *self.opened)))
        return replace(self, reached=reached, more=before.more + self.more, modules=modules, opened=opened)


def fault_of_sandbox(task: str, spec: SandboxSpec, default: SandboxMode, *, lacks: str | None) -> str | None:
    """Why a task cannot run in its sandbox; None if it can.

    Args:
        task: its name.
        default, lacks: as for `mode_on`.
    """
    if lacks is None or spec.mode_on(default, lacks=lacks) != "enforce":
        return None
    return (
        f"task {task!r} runs with sandbox 'enforce', but {lacks}. Run it where it can be enforced, or set "
        f"PERAGO_SANDBOX=report to only note what it reads outside of its workspace"
    )

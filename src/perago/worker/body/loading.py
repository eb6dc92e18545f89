"""Loading the modules of tasks in a process that runs bodies, or forks those that do."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from perago.errors import TaskDefinitionError
from perago.tasks.declare import TaskDefinition
from perago.tasks.load import load_module_tasks
from perago.worker.process.messages import Load
from perago.worker.process.outbox import Outbox, send_logs_to


def load(order: Load, outbox: Outbox) -> dict[str, TaskDefinition]:
    """Take the caller's place, and load the modules that it names; raises as `load_tasks`."""
    sys.path[:] = order.sys_path
    if order.cwd is not None:
        os.chdir(order.cwd)
    send_logs_to(outbox, order.log_levels)
    return load_tasks(order.targets)


def load_tasks(targets: list[str]) -> dict[str, TaskDefinition]:
    """All the tasks of some targets, by name.

    Raises:
        TaskDefinitionError: a module cannot be loaded or has no task, or two tasks have one name.
    """
    found: dict[str, TaskDefinition] = {}
    for target in targets:
        for task in load_module_tasks(target):
            other = found.setdefault(task.name, task)
            if other is not task:
                raise TaskDefinitionError(
                    f"{other.target} and {task.target} are both named {task.name!r}; one worker runs one task of a name"
                )
    return found


@dataclass
class Randomness:
    """The generators of random numbers that a process has one of: a fork must not repeat what another one draws.

    But where a module gave a seed when it was loaded, each fork begins with it, as each process would that loads it.
    """

    seeded: object = None

    @contextmanager
    def noting_seeds(self) -> Iterator[None]:
        """While modules are loaded."""
        seed: Callable[..., None] = random.seed

        def note(*args: Any, **named: Any) -> None:
            seed(*args, **named)
            self.seeded = args[0] if args else named.get("a")

        random.seed = note
        try:
            yield
        finally:
            random.seed = seed
            self._state = random.getstate()

    def begin_fork(self) -> None:
        """In a fork."""
        if self.seeded is not None:
            random.setstate(self._state)  # Python seeds anew at each fork
        generator = getattr(sys.modules.get("numpy.random"), "get_bit_generator", None)
        if generator is not None and generator().seed_seq is not None:  # None: it was given a seed
            sys.modules["numpy.random"].seed()

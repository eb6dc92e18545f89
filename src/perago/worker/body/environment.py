"""The environment of a body: without the worker's credentials, unless its task asks for them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from perago.errors import TaskExecutionError
from perago.tasks.declare import TaskDefinition
from perago.values.credentials import CREDENTIALS


def withhold(asked_for: Collection[str] = ()) -> dict[str, str]:
    """Remove the credentials from this process's environment, except those asked for; returns what was removed."""
    return {name: os.environ.pop(name) for name in CREDENTIALS if name in os.environ and name not in asked_for}


@contextmanager
def without_credentials(task: TaskDefinition, withheld: Mapping[str, str] | None = None) -> Iterator[None]:
    """Run a body without the credentials that its task does not ask for. Restores the environment.

    Args:
        withheld: credentials that were removed before. A task may ask for them, too.

    Raises:
        TaskExecutionError: the body looked for a credential that is withheld.
    """
    given = {name: value for name, value in (withheld or {}).items() if name in task.environment}
    os.environ.update(given)
    removed = withhold(task.environment)
    try:
        with explained(task, {**(withheld or {}), **removed}):
            yield
    finally:
        os.environ.update(removed)
        for name in given:
            os.environ.pop(name, None)


@contextmanager
def explained(task: TaskDefinition, withheld: Collection[str]) -> Iterator[None]:
    """Say what to do if a body fails because it looks for a credential that is withheld."""
    try:
        yield
    except KeyError as exc:
        name = exc.args[0] if exc.args else None
        if name not in withheld or name in task.environment:
            raise
        what = ", a credential of the worker" if name in CREDENTIALS else " in a sandbox"
        error = TaskExecutionError(
            f"task {task.name!r}: bodies do not see {name}{what}. If this one needs it, declare "
            f'@task(..., environment=["{name}"])'
        )
        raise error from exc

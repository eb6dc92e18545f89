"""Stores and an engine with a bug, for the tests that must find it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from perago.values.history import Publish
from simulation.faults import InjectedError, TappedStore


def tapped(store, **replaced) -> TappedStore:
    """The store, with some of its callables replaced."""
    ports = {name: getattr(store, name) for name in TappedStore.__dataclass_fields__}
    return TappedStore(**ports | replaced)


def resetting(store) -> TappedStore:
    """Sets the branch to what was staged, wherever it stands."""

    def publish(staged, workspace_input, spec, execution):
        store.reset(workspace_input.branch, staged.commit)
        return staged.commit

    return tapped(store, publish_workspace=publish)


def retrying_blindly(head: Callable[[str], str]) -> Callable[..., TappedStore]:
    """Answers an unclear answer to a publication by another publication, on whatever the head is then.

    Args:
        head: of a branch.
    """

    def plant(store):
        staged_from = []

        def stage(*arguments):
            staged_from[:] = arguments
            return store.stage_workspace(*arguments)

        def publish(staged, workspace_input, spec, execution):
            try:
                return store.publish_workspace(staged, workspace_input, spec, execution)
            except InjectedError:
                again = replace(execution, plan=Publish(head(workspace_input.branch)))
                staged = store.stage_workspace(staged_from[0], workspace_input, spec, again)
                return store.publish_workspace(staged, workspace_input, spec, again)

        return tapped(store, stage_workspace=stage, publish_workspace=publish)

    return plant


class Trusting:
    """An engine that is asked once about an execution, and believed from then on."""

    def __init__(self, engine):
        self._engine = engine
        self._seen = {}

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def load_current_attempt(self, attempt):
        key = (attempt.task_id, attempt.scheduled_time, attempt.poll_count)
        if key not in self._seen:
            self._seen[key] = self._engine.load_current_attempt(attempt)
        return self._seen[key]

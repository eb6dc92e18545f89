"""The definition that `@workflow` attaches to a function."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel

from perago.tasks.declare import TaskDefinition
from perago.workflows.graph import WorkflowGraph

WORKFLOW_ATTRIBUTE = "__perago_workflow__"
"""Attribute of a decorated function that holds its definition."""


@dataclass(frozen=True, kw_only=True)
class WorkflowDefinition:
    """One declared workflow.

    Attributes:
        fn: the function that declares it.
        graph: what it gave, with names and expressions of Conductor.
        tasks: the definitions of its tasks, those of sub-workflows too, by their names.
        uses_workspace: at least one task has a workspace.
    """

    fn: Callable[..., object]
    graph: WorkflowGraph
    tasks: dict[str, TaskDefinition]
    uses_workspace: bool

    @property
    def name(self) -> str:
        return self.graph.name

    @property
    def params_model(self) -> type[BaseModel] | None:
        """None if it takes no params."""
        return self.graph.params_model

    @property
    def output_model(self) -> type[BaseModel] | None:
        """None if it has no result."""
        return self.graph.output_model

    @property
    def target(self) -> str:
        """`module:function`."""
        return f"{self.fn.__module__}:{self.fn.__qualname__}"


def workflow_of(value: object) -> WorkflowDefinition | None:
    """The definition attached to a function; None if it is no workflow. Runs no code of the value."""
    found = inspect.getattr_static(value, WORKFLOW_ATTRIBUTE, None)
    return found if isinstance(found, WorkflowDefinition) else None

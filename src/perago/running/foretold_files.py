"""The files that a task would find: those of a commit, with what tasks before it would have changed. Writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from perago.attempt.join import resolve_join
from perago.attempt.parse import parse_workspace_input
from perago.errors import required
from perago.ports import ListedFile, Repository
from perago.tasks.declare import TaskDefinition
from perago.values.joins import WorkspaceJoin, joined
from perago.values.models import WorkspaceInput
from perago.values.spec import WorkspaceSpec
from perago.workflows.decide import Branches
from perago.workflows.unknown import Unknown
from perago.workspace.patterns import may_see, visible_to


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What a task would have changed.

    Attributes:
        changes: the new file at each path of the repository, None for one that is gone. None: it is not known which.
        spec: all that it may have changed.
        of: the tasks that this depends on.
        branches: those that the task is in.
    """

    name: str
    changes: Mapping[str, ListedFile | None] | None
    spec: WorkspaceSpec
    of: tuple[str, ...]
    branches: Branches

    def may_change(self, seen: WorkspaceSpec) -> bool:
        """Whether it may have changed what a task sees."""
        return may_see(seen, self.spec) if self.changes is None else any(map(visible_to(seen), self.changes))


@dataclass(frozen=True, kw_only=True)
class Head:
    """The files that a task would find: those of a commit, with what tasks before it would have changed.

    Attributes:
        onto: the head of the branch, if that is another commit. What is published goes on top of it.
        of: the tasks that decide which layers there are, if that is not known.
        is_of_run: the commit is on the branch of a transactional run.
    """

    base: WorkspaceInput
    is_of_run: bool = False
    onto: WorkspaceInput | None = None
    layers: tuple[Layer, ...] = ()
    of: tuple[str, ...] = ()


class FutureCommit(Unknown):
    """A commit that a run would publish, in place of its id."""

    __slots__ = ("head",)

    def __init__(self, name: str, head: Head) -> None:
        super().__init__([name])
        self.head = head


@dataclass(frozen=True)
class Files:
    """Looks once at each branch, and at each commit for the same patterns."""

    repository: Repository
    heads: dict[str, str | None] = field(default_factory=dict)
    known: dict[tuple[str, str], Mapping[str, ListedFile]] = field(default_factory=dict)

    def of(self, head: Head, spec: WorkspaceSpec) -> dict[str, ListedFile]:
        """The files of a workspace, by path below its prefix."""
        base = head.base if head.onto is None or not head.layers else head.onto
        found, sees = dict(self._listed(base, spec)), visible_to(spec)
        for layer in head.layers:
            for path, file in (layer.changes or {}).items():
                if sees(path):
                    found.pop(path[len(spec.root) :], None)
                    found |= {} if file is None else {path[len(spec.root) :]: file}
        return found

    def _listed(self, commit: WorkspaceInput, spec: WorkspaceSpec) -> Mapping[str, ListedFile]:
        key = (commit.ref, spec.model_dump_json(include={"prefix", "include", "exclude", "read_only"}))
        if key not in self.known:
            self.known[key] = self.repository.list_workspace(commit, spec)
        return self.known[key]

    def _branch_head(self, branch: str) -> str | None:
        if branch not in self.heads:
            self.heads[branch] = self.repository.branch_head(branch)
        return self.heads[branch]

    def waits_for(self, head: Head, seen: WorkspaceSpec) -> tuple[str, ...]:
        """The tasks that decide which files a task would see; none if that is known."""
        unknown = [layer for layer in head.layers if layer.changes is None]
        if head.onto is None or self._listed(head.base, seen) == self._listed(head.onto, seen):
            unknown = [layer for layer in unknown if layer.may_change(seen)]
        return tuple(dict.fromkeys((*head.of, *(name for layer in unknown for name in layer.of))))

    def head(self, task: TaskDefinition, raw: object, given: WorkspaceInput | None) -> Head:
        """What a task with this workspace in its input would find.

        Args:
            given: to the workflow; None if it was given none.

        Raises:
            TaskInputError: it is no workspace.
        """
        bases, layers, of = dict[str, WorkspaceInput](), dict[str, Layer](), list[str]()
        is_of_run = False
        for _, one in joined(raw):
            ref = one.get("ref") if isinstance(one, Mapping) else one
            if isinstance(ref, FutureCommit):
                bases[ref.head.base.ref] = ref.head.base
                layers |= {layer.name: layer for layer in ref.head.layers}
                of += ref.head.of
                is_of_run |= ref.head.is_of_run
            elif isinstance(ref, Unknown):
                of += ref.of
            else:
                found = parse_workspace_input(task, one)
                bases[found.ref] = found
        inputs = tuple(bases.values()) or (required(given, "what is unknown began with the workflow's workspace"),)
        base = resolve_join(WorkspaceJoin(inputs), self.repository.read_history)
        newest = None if is_of_run else self._branch_head(base.branch)
        onto = None if newest in (None, base.ref) else base.model_copy(update={"ref": newest})
        return Head(base=base, onto=onto, layers=tuple(layers.values()), of=tuple(of), is_of_run=is_of_run)


def changes_to(
    before: Mapping[str, ListedFile], after: Mapping[str, ListedFile], root: str
) -> dict[str, ListedFile | None]:
    """What leads from one listing to another, by paths of the repository."""
    gone: dict[str, ListedFile | None] = {root + path: None for path in before.keys() - after.keys()}
    return gone | {root + path: file for path, file in after.items() if before.get(path) != file}

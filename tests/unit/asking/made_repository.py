"""A repository in memory, with its index: people's and tasks' commits, side lines that were merged, and reverts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random
from types import SimpleNamespace
from typing import Any

from perago.asking.past import Past
from perago.errors import ObjectNameError
from perago.index.history import HistoryIndex
from perago.ports import CommitEntry
from perago.values.models import Changes
from perago.values.names import name_fault
from tests.unit.index.made_history import entry, since, stamp

PATHS = [f"{directory}/{name}" for directory in ("raw", "clean", "model") for name in "abc"]
SELECTIONS: list[dict[str, Any]] = [
    {},
    {"include": ["raw/**"], "outputs": ["clean/**"]},
    {"include": ["clean/*"], "exclude": ["clean/b"]},
    {"prefix": "model"},
    {"prefix": "raw", "include": ["a", "c"]},
]


def difference(before: dict[str, int], after: dict[str, int]) -> Changes:
    return Changes(
        added=tuple(sorted(after.keys() - before.keys())),
        modified=tuple(sorted(path for path in after.keys() & before.keys() if after[path] != before[path])),
        deleted=tuple(sorted(before.keys() - after.keys())),
    )


@dataclass
class MadeRepository:
    """The commits, oldest first, and the content of each: a number for each file."""

    entries: list[CommitEntry] = field(default_factory=list)
    trees: dict[str, dict[str, int]] = field(default_factory=dict)
    heads: dict[str, str] = field(default_factory=dict)
    asked: int = 0
    """Commits whose changes were asked for."""
    asked_whole: int = 0
    """Of these, commits whose changes were asked for without a prefix."""

    def commit(self, branch: str, tree: dict[str, int], *merged: str, **fields: Any) -> CommitEntry:
        parents = (self.heads[branch], *merged) if branch in self.heads else merged
        made = entry(len(self.entries), *parents, **{"seconds": len(self.entries), **fields})
        if made.stamp is not None:
            made = replace(made, stamp=replace(made.stamp, expected_head=parents[0]))
        self.entries.append(made)
        self.trees[made.id] = dict(tree)
        self.heads[branch] = made.id
        return made

    def tree(self, branch: str) -> dict[str, int]:
        return dict(self.trees[self.heads[branch]]) if branch in self.heads else {}

    # ---- what `Past` asks

    def changes_of(self, _repository: str, commits: Sequence[CommitEntry], prefix: str = "") -> list[Changes]:
        self.asked += len(commits)
        self.asked_whole += 0 if prefix else len(commits)
        found = (self.changes(each.parents[0] if each.parents else "", each.id) for each in commits)
        return [changes.beginning_with(prefix) for changes in found]

    def changes(self, before: str, after: str) -> Changes:
        return difference(self.trees.get(before, {}), self.trees[after])

    def find_file(self, ref: str, path: str) -> object | None:
        if name_fault(path) is not None:
            raise ObjectNameError(f"object name {path!r} {name_fault(path)}")
        return path if path in self.trees[ref] else None

    def files(self, ref: str, _prefix: str) -> list[str]:
        return sorted(self.trees[ref])

    def branches(self) -> list[str]:
        return sorted(self.heads)

    def branch_head(self, branch: str) -> str | None:
        return self.heads.get(branch)

    def line(self, head: str) -> list[CommitEntry]:
        """A commit and its first parents, newest first."""
        by_id, found = {each.id: each for each in self.entries}, list[CommitEntry]()
        while head:
            found.append(by_id[head])
            head = next(iter(by_id[head].parents), "")
        return found

    def revert(self, branch: str, *undone: CommitEntry) -> CommitEntry:
        """What `perago revert` commits for some commits of a branch, newest first, that nobody has changed since."""
        before, tree = self.trees[undone[-1].parents[0]], self.tree(branch)
        for commit in undone:
            changed = self.changes(commit.parents[0], commit.id)
            for path in (*changed.written, *changed.deleted):
                tree.pop(path, None)
                tree |= {path: before[path]} if path in before else {}
        by_hand = stamp(
            task="perago.revert", input_ref=self.heads[branch], reverts=tuple(commit.id for commit in undone)
        )
        return self.commit(branch, tree, stamp=by_hand)

    def can_be_reverted(self, branch: str) -> list[CommitEntry]:
        """Those of the newest commits of a branch whose files nobody has changed since."""
        found, changed_since = [], set[str]()
        for commit in self.line(self.heads[branch])[:6]:
            if commit.parents:
                changes = self.changes(commit.parents[0], commit.id)
                paths = {*changes.written, *changes.deleted}
                found += [commit] if paths and not paths & changed_since else []
                changed_since |= paths
        return found

    def past(self, index: HistoryIndex, seconds: float | None = None) -> Past:
        index.refresh(since(self.entries))
        return Past(self, self, index, SimpleNamespace(name="data", argument="data.git"), seconds)


def made_at_random(seed: int, commits: int) -> MadeRepository:
    chance = Random(seed)
    made = MadeRepository()
    made.commit("main", dict.fromkeys(PATHS[:5], 0), author="Ada")
    for number in range(commits):
        branch = chance.choice(["main", "main", "main", *made.heads])
        tree = made.tree(branch)
        act = chance.random()
        if act < 0.1 and len(made.heads) < 3:
            made.heads[f"side-{number}"] = made.heads["main"]
        elif act < 0.2 and branch != "main":
            other, base = made.tree("main"), tree
            for path in PATHS:  # somebody's merge, and what they made of it
                choice = chance.choice([other.get(path), base.get(path), base.get(path), number])
                other = {name: value for name, value in other.items() if name != path}
                other |= {} if choice is None else {path: choice}
            made.commit("main", other, made.heads[branch], author="Bob")
        elif act < 0.35 and (undone := made.can_be_reverted(branch)):
            made.revert(branch, chance.choice(undone))
        else:
            for path in chance.sample(PATHS, chance.randint(0, 3)):
                if chance.random() < 0.3:
                    tree.pop(path, None)
                else:
                    tree[path] = chance.choice([number, 0])
            line = [commit.id for commit in made.line(made.heads[branch])[:5]]
            task = stamp(input_ref=chance.choice(line), selection=chance.choice(SELECTIONS), task=chance.choice("xyz"))
            made.commit(
                branch, tree, stamp=task if chance.random() < 0.7 else None, author=chance.choice(["Ada", "Bob"])
            )
    return made

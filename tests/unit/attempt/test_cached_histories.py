"""Random histories of edits and cached runs: a run leaves what its body would have left, and nothing runs twice.

PERAGO_TEST_CACHE_HISTORIES: how many.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import shutil
import sys
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from perago.attempt import cache_key
from perago.attempt.context import RunContext
from perago.attempt.reuse import RunCache
from perago.attempt.run import run_attempt
from perago.index.history import HistoryIndex
from perago.index.results import IndexedResults
from perago.ports import CommitEntry, ListedFile, ignore
from perago.running.distrust import seal_of_distrust
from perago.tasks.code import forget_digests
from perago.tasks.sources.parts import forget_parts
from perago.testing import MemoryEngine, MemoryStore
from perago.values.history import Stamp

HISTORIES = int(os.environ.get("PERAGO_TEST_CACHE_HISTORIES", "60"))
STEPS = 14
CHUNK = 20

TASKS = '''
"""Tasks. {docstring}"""
import os
from pathlib import Path

import cachedlib
from pydantic import BaseModel

from perago import WorkspaceSpec, task
from cachedpkg.helper import help_with

# {comment}
CONSTANT = {code}


class Params(BaseModel):
    number: int = 0
    more: dict[str, int] = {{}}


class Result(BaseModel):
    lines: int


def made_for(prefix):
    @task(
        name="histories.body",
        owner_email="{owner}",
        workspace=WorkspaceSpec(prefix=prefix, include=["in/**"], outputs=["out/**"]),
        cache=True,
        environment=["CACHED_RATE"],
    )
    def body(workspace: Path, params: Params) -> Result:
        """{docstring}"""
        lines = 0
        for path in sorted((workspace / "in").rglob("*")):
            if path.is_file():
                facts = [path.read_text(), bool(path.stat().st_mode & 0o100), CONSTANT, help_with(params.number)]
                facts += [cachedlib.VERSION, os.environ["CACHED_RATE"], sorted(params.more.items())]
                (workspace / "out" / (path.name + ".out")).write_text(repr(facts))
                lines += 1
        return Result(lines=lines)

    return body


bodies = {{prefix: made_for(prefix) for prefix in ("a", "b")}}
'''
HELPER = """
from pathlib import Path

# {comment}


def help_with(number):
    return [number, {helper}, Path(__file__).with_name("data.txt").read_text()]
"""


@dataclass
class Code:
    """What the files of the code say."""

    code: int = 0
    helper: int = 0
    data: int = 0
    version: int = 0
    comment: int = 0
    docstring: int = 0

    def write(self, root: Path) -> None:
        package, library = root / "cachedpkg", root / "site-packages"
        package.mkdir(exist_ok=True)
        (package / "__init__.py").touch()
        words = {**self.__dict__, "owner": f"ada{self.comment}@example.org"}
        (package / "tasks.py").write_text(TASKS.format(**words))
        (package / "helper.py").write_text(HELPER.format(**words))
        (package / "data.txt").write_text(str(self.data))
        shutil.rmtree(library, ignore_errors=True)
        information = library / f"cachedlib-1.{self.version}.dist-info"
        information.mkdir(parents=True)
        (library / "cachedlib.py").write_text(f"VERSION = {self.version}")
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: cachedlib\nVersion: 1.{self.version}\n")
        (information / "RECORD").write_text("cachedlib.py,,\n")
        (information / "top_level.txt").write_text("cachedlib\n")

    def load(self) -> object:
        for name in [name for name in sys.modules if name.startswith(("cachedpkg", "cachedlib"))]:
            del sys.modules[name]
        importlib.invalidate_caches()
        forget_parts()
        forget_digests()
        return importlib.import_module("cachedpkg.tasks")


@dataclass
class World:
    """A repository with two branches, the code, and what its runs have published."""

    root: Path
    chance: random.Random
    store: MemoryStore = field(default_factory=MemoryStore)
    code: Code = field(default_factory=Code)
    branch: str = "main"
    prefix: str = "a"
    number: int = 0
    more: int = 0
    runs: int = 0
    hits: int = 0
    computed: dict[str, list[str]] = field(default_factory=dict)
    spoiled: set[str] = field(default_factory=set)
    did: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.results = IndexedResults(self.root / "index", uuid.uuid4().hex, is_server=False)
        first = {f"{prefix}/in/{name}": name for prefix in "ab" for name in ("x", "y")}
        self.store.commit("main", {**first, "other": "other"})
        self.store.commit("other", {**first, "other": "different"})
        self.code.write(self.root)
        self.module = self.code.load()

    # ---- edits

    def edit_input(self) -> None:
        name = self.chance.choice("xyz")
        content = self.chance.choice(["1", "2", None])
        if content is None and f"{self.prefix}/in/{name}" not in self.store.files(self.branch):
            content = "1"
        bits = [f"{self.prefix}/in/{name}"] if content is not None and self.chance.random() < 0.4 else []
        self.store.commit(self.branch, {f"{self.prefix}/in/{name}": content}, executable=bits)

    def change_bit(self) -> None:
        """The same content, executable or no more."""
        files, executables = self.store.files(self.branch), self.store.executables(self.branch)
        path = self.chance.choice(sorted(path for path in files if path.startswith(f"{self.prefix}/in/")) or [None])
        if path is not None:
            bits = [] if path in executables else [path]
            self.store.commit(self.branch, {path: files[path].decode()}, executable=bits)

    def rename_input(self) -> None:
        found = [path for path in self.store.files(self.branch) if path.startswith(f"{self.prefix}/in/")]
        if found:
            old = self.chance.choice(sorted(found))
            new = f"{self.prefix}/in/{self.chance.choice('uvx')}"
            if new != old:
                content = self.store.files(self.branch)[old]
                self.store.commit(self.branch, {old: None, new: content})

    def edit_output(self) -> None:
        self.store.commit(self.branch, {f"{self.prefix}/out/{self.chance.choice('xq')}.out": "by hand"})

    def edit_elsewhere(self) -> None:
        self.store.commit(self.branch, {"other": str(self.chance.random())})

    def edit_code(self) -> None:
        part = self.chance.choice(["code", "helper", "data", "version", "comment", "docstring"])
        setattr(self.code, part, self.chance.randrange(3))
        self.code.write(self.root)
        os.utime(self.root / "cachedpkg" / "data.txt", (1, self.chance.randrange(1_000_000)))
        self.module = self.code.load()

    def edit_environment(self) -> None:
        os.environ["CACHED_RATE"] = self.chance.choice("12")

    def edit_params(self) -> None:
        self.number, self.more = self.chance.randrange(2), self.chance.randrange(2)

    def switch_branch(self) -> None:
        self.branch = "other" if self.branch == "main" else "main"

    def switch_prefix(self) -> None:
        self.prefix = "b" if self.prefix == "a" else "a"

    def revert(self) -> None:
        """A person reverts the newest publication of a branch."""
        head = self.store.head(self.branch)
        stamp = self.store.stamp_of(head)
        if stamp is not None and stamp.completes is None and stamp.distrusts is None:
            parent = self.store.files(stamp.expected_head)
            now = self.store.files(head)
            back = {path: parent.get(path) for path in now.keys() | parent.keys() if now.get(path) != parent.get(path)}
            self.store.commit(self.branch, back, subject=f"This reverts commit {head}.")
            self.spoiled.add(head)

    def distrust(self) -> None:
        publications = [
            commit
            for commit in self.store.history(self.branch)
            if (found := self.store.stamp_of(commit)) and found.cache_key
        ]
        if not publications:
            return
        chosen = self.chance.choice(publications)
        made = self.store.stamp_of(chosen)
        assert made is not None
        origin = made.cached_from or adopted_by(made) or chosen
        head = self.store.head(self.branch)
        said = seal_of_distrust(self.branch, head, origin, "wrong").stamp
        self.store.commit(self.branch, {}, stamp=replace(said.on(head), completes=origin))
        self.spoiled.add(origin)

    # ---- runs

    def run(self) -> None:
        """A run, held against what its body would have made."""
        before = self.store.files(self.branch)
        expected = self.expected(before)
        facts = json.dumps(expected, sort_keys=True)
        can_hit = any(self.may_serve(commit) for commit in self.computed.get(facts, ()))
        count, head = self.runs, self.store.head(self.branch)
        engine = MemoryEngine()
        self.attempt(engine, fails=False)
        is_hit = self.runs == count
        after = self.store.files(self.branch)
        rest = {path: content for path, content in before.items() if not path.startswith(f"{self.prefix}/out/")}
        assert after == {**rest, **{path: text.encode() for path, text in expected["files"].items()}}, self.did
        assert is_hit == can_hit, (is_hit, self.did)
        self.hits += is_hit
        now = self.store.head(self.branch)
        if now != head:
            self.computed.setdefault(facts, []).append(now)

    def may_serve(self, commit: str) -> bool:
        stamp = self.store.stamp_of(commit)
        assert stamp is not None
        return self.spoiled.isdisjoint((commit, stamp.cached_from or adopted_by(stamp) or commit))

    def fail(self) -> None:
        """A run whose body fails, unless it takes a result."""
        before = self.store.head(self.branch)
        count = self.runs
        if self.attempt(MemoryEngine(), fails=True) != "COMPLETED":
            assert self.store.head(self.branch) == before
        else:
            assert self.runs == count
            if self.store.head(self.branch) != before:
                facts = json.dumps(self.expected(self.store.files(before)), sort_keys=True)
                self.computed.setdefault(facts, []).append(self.store.head(self.branch))

    def lose(self) -> None:
        """A run whose report is lost. Its retry adopts what it has published, or computes what it found there."""
        before, head = self.store.files(self.branch), self.store.head(self.branch)
        expected, engine = self.expected(before), MemoryEngine()
        self.attempt(engine, fails=False, is_lost=True)
        self.attempt(engine, fails=False)
        rest = {path: content for path, content in before.items() if not path.startswith(f"{self.prefix}/out/")}
        due = {**rest, **{path: text.encode() for path, text in expected["files"].items()}}
        assert self.store.files(self.branch) == due, self.did
        line = self.store.history(self.branch)
        self.computed.setdefault(json.dumps(expected, sort_keys=True), []).extend(line[: line.index(head)])

    def attempt(self, engine: MemoryEngine, *, fails: bool, is_lost: bool = False) -> str:
        definition = self.module.bodies[self.prefix].__perago_task__
        keys = ["k", "l"] if self.chance.random() < 0.5 else ["l", "k"]
        params = {"number": self.number, "more": dict.fromkeys(keys, self.more)}
        given = {"workspace": self.store.input(self.branch).model_dump(), "params": params}
        attempt = engine.poll()
        if attempt is None:
            engine.schedule("t", given, reference_task_name="t")
            attempt = engine.poll()
        assert attempt is not None

        def invoke(call: object) -> dict:
            self.runs += 1
            if fails:
                raise RuntimeError("told to fail")
            return call.task.fn(call.workspace, call.params).model_dump()

        result = run_attempt(
            definition,
            attempt.input_data,
            attempt,
            RunContext(
                observer=ignore,
                invoke_body=invoke,
                sandbox="enforce",
                cache=RunCache(results=self.results, mode="proven"),
            ),
            workspace_root=self.root / "attempts",
            open_store=lambda: self.store,
            engine=engine,
        )
        assert fails or result.status == "COMPLETED", (result.reason_for_incompletion, self.did)
        if is_lost:
            engine.timeout(attempt.task_id)
        else:
            engine.report_result(attempt, result)
        return result.status

    def expected(self, files: Mapping[str, bytes]) -> dict:
        """What the body makes of a branch with these files, and all that it depends on."""
        executables = self.store.executables(self.branch)
        code, rate = self.code, os.environ["CACHED_RATE"]
        made = {}
        for path, content in sorted(files.items()):
            if path.startswith(f"{self.prefix}/in/"):
                facts = [content.decode(), path in executables, code.code, [self.number, code.helper, str(code.data)]]
                facts += [code.version, rate, [("k", self.more), ("l", self.more)]]
                made[f"{self.prefix}/out/{path.rpartition('/')[2]}.out"] = repr(facts)
        everything = [code.code, code.helper, code.data, code.version, rate, self.number, self.more, self.prefix]
        return {"files": made, "depends": everything}


EDITS: list[tuple[Callable[[World], None], int]] = [
    (World.run, 10),
    (World.edit_input, 3),
    (World.change_bit, 1),
    (World.rename_input, 1),
    (World.edit_output, 1),
    (World.edit_elsewhere, 1),
    (World.edit_code, 4),
    (World.edit_environment, 1),
    (World.edit_params, 2),
    (World.switch_branch, 2),
    (World.switch_prefix, 1),
    (World.revert, 1),
    (World.distrust, 1),
    (World.fail, 1),
    (World.lose, 1),
]


def adopted_by(stamp: Stamp) -> str | None:
    """The publication of an earlier try, with which a retry completes."""
    return None if stamp.completes == stamp.input_ref else stamp.completes


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # edits of the same second and size would not be seen
    monkeypatch.setenv("CACHED_RATE", "1")
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(tmp_path / "site-packages"), *sys.path])
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith(("cachedpkg", "cachedlib"))]:
        del sys.modules[name]
    forget_parts()
    forget_digests()


def history(place: Path, seed: int) -> World:
    chance = random.Random(seed)
    world = World(place, chance)
    for edit in chance.choices([edit for edit, _ in EDITS], [weight for _, weight in EDITS], k=STEPS):
        world.did.append(edit.__name__)
        edit(world)
    return world


@pytest.mark.parametrize("first", range(0, HISTORIES, CHUNK))
def test_a_cached_run_leaves_what_its_body_would_have_left(place, first):
    worlds = [history(place, seed) for seed in range(first, min(first + CHUNK, HISTORIES))]
    assert sum(world.hits for world in worlds) > len(worlds) / 2  # or nothing was proven
    assert sum(world.runs for world in worlds) > len(worlds)


def without(name: str) -> Callable[[pytest.MonkeyPatch], None]:
    """Keys whose code lacks a part, by the beginning of its name."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        honest = cache_key.code_of

        def lacking(task: object) -> object:
            code = honest(task)
            return replace(
                code,
                sources={each: digest for each, digest in code.sources.items() if each != name},
                libraries={each: version for each, version in code.libraries.items() if each != name},
                variables={each: digest for each, digest in code.variables.items() if each != name},
            )

        monkeypatch.setattr(cache_key, "code_of", lacking)

    return plant


def without_executable_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = cache_key._inputs  # noqa: SLF001 - to plant a bug in it

    def plain(inputs: Mapping[str, ListedFile]) -> object:
        return honest({path: file._replace(executable=False) for path, file in inputs.items()})

    monkeypatch.setattr(cache_key, "_inputs", plain)


def without_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    without("CACHED_RATE")(monkeypatch)  # the code names it
    monkeypatch.setattr(cache_key, "_variables", lambda *_, **__: {})  # and the task declares it


def served_whatever_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_key(index: HistoryIndex, key: str, *, limit: int) -> list[CommitEntry]:
        return [entry for entry in index.of_task("histories.body", limit=limit) if entry.stamp.cache_key == key]

    monkeypatch.setattr(HistoryIndex, "with_key", with_key)
    monkeypatch.setattr(HistoryIndex, "standing", lambda *_: "effective")


PLANTED = {
    "no executable bit": without_executable_bits,
    "no prefix": lambda monkeypatch: monkeypatch.setattr(cache_key, "_workspace", lambda _: {}),
    "no params": lambda monkeypatch: monkeypatch.setattr(cache_key, "_params", lambda *_, **__: ""),
    "no variables": without_variables,
    "no code of its own": without("cachedpkg.tasks"),
    "no sibling": without("cachedpkg.helper"),
    "no data file": without("cachedpkg/data.txt"),
    "no library": without("cachedlib"),
    "whatever was said of it": served_whatever_was_said,
}
FEWEST_FOR_A_BUG = 200


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_caught(place, monkeypatch, bug):
    PLANTED[bug](monkeypatch)
    assert any(is_broken(place, seed) for seed in range(FEWEST_FOR_A_BUG))


def is_broken(place: Path, seed: int) -> bool:
    try:
        history(place, seed)
    except AssertionError:
        return True
    return False

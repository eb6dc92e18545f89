"""Workspaces that have some of their files already: what a store names, what it lays out, and what it leaves alone."""

from __future__ import annotations

import os
import stat
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perago.errors import (
    BranchNotFoundError,
    ObjectNameError,
    PeragoError,
    PrefixNotFoundError,
    RefNotFoundError,
    RepositoryNotFoundError,
)
from perago.ports import NOTHING_KEPT, CompletesWorkspaces, Kept, Source, WorkspaceStore
from perago.testing.contract.bench import EVERYTHING, Bench, StoreHooks, executables, read_files
from perago.testing.contract.framework import pytest
from perago.testing.contract.store_input import BAD_REFS, CONTENT, HOSTILE_NAMES, LARGE
from perago.values.models import WorkspaceInput
from perago.values.spec import WorkspaceSpec

TREE = {"a": b"1", "d/b": b"2", "d/e/c": b"3", "d/e/large": LARGE, "f/g": b"4", "run.sh": b"5"}
MARK = b"as it was"
"""What no store would lay out: a file that has it afterwards was not written."""
DIGEST = "contract:00ff"
"""A digest that no store would tell."""


def _store(store: WorkspaceStore) -> CompletesWorkspaces:
    assert isinstance(store, CompletesWorkspaces)
    return store


@dataclass
class Keeping:
    """A `ports.KeepFiles` that keeps some files of a directory, each with `MARK` for its content.

    Attributes:
        told: what it was told, once for each call.
        inodes: of all that it keeps, by path.
    """

    directory: Path
    files: Iterable[str] = ()
    directories: Iterable[str] = ()
    told: list[Mapping[str, Source]] = field(default_factory=list)
    inodes: dict[str, int] = field(default_factory=dict)

    def __call__(self, sources: Mapping[str, Source], /) -> Kept:
        self.told.append(dict(sources))
        directories = {*self.directories}
        for path in self.files:
            directories |= {os.fspath(above) for above in Path(path).parents if above != Path()}
        for path in sorted(directories):
            (self.directory / path).mkdir()
        for path in self.files:
            (self.directory / path).write_bytes(MARK)
            (self.directory / path).chmod(0o640)
        self.inodes = {path: (self.directory / path).stat().st_ino for path in [*self.files, *directories]}
        return Kept(dict.fromkeys(self.files, DIGEST), directories)


def complete(
    bench: Bench, ref: str, spec: WorkspaceSpec = EVERYTHING, files: Iterable[str] = (), directories: Iterable[str] = ()
) -> tuple[Keeping, Mapping[str, str]]:
    """Complete a new workspace. Returns what it has kept, and the digests that the store tells."""
    keeping = Keeping(bench.directory(), files, directories)
    digests = _store(bench.store).complete_workspace(bench.input(ref), spec, keeping.directory, keeping)
    return keeping, digests


def sources(bench: Bench, ref: str, spec: WorkspaceSpec = EVERYTHING) -> Mapping[str, Source]:
    """What a store lays out at each path."""
    (told,) = complete(bench, ref, spec)[0].told
    return told


def modes(top: Path) -> dict[str, int]:
    """Everything below a directory, by relative path."""
    return {os.fspath(path.relative_to(top)): stat.S_IMODE(path.stat().st_mode) for path in top.rglob("*")}


class CompletingStoreContract(StoreHooks):
    """Tests of `ports.CompletesWorkspaces`, for a store that passes `StoreContract`, too."""

    @abstractmethod
    def opened_again(self, store: Any) -> AbstractContextManager[WorkspaceStore]:
        """Another store on the same repository, as another process has it."""

    # ---- what is laid out

    @pytest.mark.parametrize(
        "spec",
        [
            EVERYTHING,
            WorkspaceSpec(prefix="deep"),
            WorkspaceSpec(include=["deep/**", "plain.txt"], exclude=["**/deeper"]),
            WorkspaceSpec(prefix="nowhere"),
        ],
    )
    def test_where_nothing_is_kept_it_is_a_download(self, bench: Bench, spec: WorkspaceSpec) -> None:
        work = bench.lay_out(bench.commit({**CONTENT, "deep/large": LARGE}))
        work.make_executable("plain.txt")
        work.make_executable("deep/large")
        base = bench.stage(work).finish()
        downloaded = bench.lay_out(base, spec)
        keeping, digests = complete(bench, base, spec)
        assert read_files(keeping.directory) == downloaded.before
        assert modes(keeping.directory) == modes(downloaded.directory)
        assert digests == downloaded.digests

    @pytest.mark.parametrize(
        "kept",
        [
            ["a"],
            ["d/b"],
            ["d/e/c"],
            ["d/e/large"],
            ["run.sh"],
            ["a", "d/e/c", "f/g"],
            ["d/b", "d/e/c", "d/e/large"],
            sorted(TREE),
        ],
        ids=" ".join,
    )
    def test_what_is_kept_is_not_written_and_all_else_is_laid_out(self, bench: Bench, kept: list[str]) -> None:
        keeping, _ = complete(bench, bench.commit(TREE), files=kept)
        assert read_files(keeping.directory) == {**TREE, **dict.fromkeys(kept, MARK)}
        assert {path: (keeping.directory / path).stat().st_ino for path in keeping.inodes} == keeping.inodes
        assert {modes(keeping.directory)[path] for path in kept} == {0o640}

    def test_what_is_said_to_be_kept_is_not_looked_for(self, bench: Bench) -> None:
        """Whether it is there is known to the one who keeps it."""
        base, directory = bench.commit(TREE), bench.directory()
        kept = {"a": DIGEST, "f/g": DIGEST}
        told = _store(bench.store).complete_workspace(
            bench.input(base), EVERYTHING, directory, lambda _: Kept(kept, ())
        )
        assert read_files(directory) == {path: content for path, content in TREE.items() if path not in kept}
        assert not (directory / "f").exists()
        assert told.items() >= kept.items()

    def test_digests_are_those_of_what_is_kept_and_those_of_a_download(self, bench: Bench) -> None:
        base = bench.commit(TREE)
        downloaded = bench.lay_out(base).digests
        _, digests = complete(bench, base, files=["a", "d/e/large"])
        assert isinstance(downloaded, Mapping)
        assert digests == {**downloaded, "a": DIGEST, "d/e/large": DIGEST}

    def test_directories_that_are_there_are_used_and_stay(self, bench: Bench) -> None:
        keeping, _ = complete(bench, bench.commit(TREE), files=["d/b"], directories=["d/e", "f"])
        assert read_files(keeping.directory) == {**TREE, "d/b": MARK}
        assert {path: (keeping.directory / path).stat().st_ino for path in keeping.inodes} == keeping.inodes

    def test_executable_bits_are_those_of_the_input_but_for_what_is_kept(self, bench: Bench) -> None:
        work = bench.lay_out(bench.commit(TREE))
        for path in ("a", "d/e/c", "run.sh"):
            work.make_executable(path)
        base = bench.stage(work).finish()
        told = sources(bench, base)
        assert {path for path, source in told.items() if source.executable} == {"a", "d/e/c", "run.sh"}
        keeping, _ = complete(bench, base, files=["a", "f/g"])
        assert executables(keeping.directory) == {"d/e/c", "run.sh"}

    def test_prefix_and_patterns_say_what_may_be_kept(self, bench: Bench) -> None:
        base = bench.commit(TREE)
        spec = WorkspaceSpec(prefix="d", exclude=["e/large"])
        assert sources(bench, base, spec).keys() == {"b", "e/c"}
        keeping, _ = complete(bench, base, spec, files=["e/c"])
        assert read_files(keeping.directory) == {"b": TREE["d/b"], "e/c": MARK}

    # ---- names of contents

    def test_a_name_is_that_of_one_content_in_every_commit(self, bench: Bench) -> None:
        contents = [b"", b"1", b"2", b"12", LARGE, LARGE[:-1] + b"x", b"x" + LARGE[1:]]
        named: dict[str, bytes] = {}
        for turn in range(len(contents)):
            files = {f"d/{number}": contents[(number + turn) % len(contents)] for number in range(len(contents))}
            for path, source in sources(bench, bench.commit(files)).items():
                assert named.setdefault(source.content, files[path]) == files[path]
        assert {*named.values()} == {*contents}

    def test_a_file_that_no_commit_has_changed_keeps_its_name(self, bench: Bench) -> None:
        """Else it would never be kept."""
        base = bench.commit(TREE)
        first = sources(bench, base)
        ref = bench.publish(base, {"a": b"new", "f/g": None, "new": b"new"})
        later = sources(bench, ref)
        same = TREE.keys() - {"a", "f/g"}
        assert {path: later[path] for path in same} == {path: first[path] for path in same}
        assert later["a"].content != first["a"].content
        assert sources(bench, ref, WorkspaceSpec(prefix="d"))["e/c"] == first["d/e/c"]

    def test_only_the_executable_bit_differs_where_only_that_was_changed(self, bench: Bench) -> None:
        work = bench.lay_out(bench.commit(TREE))
        before = sources(bench, work.workspace_input.ref)
        work.make_executable("run.sh")
        after = sources(bench, bench.stage(work).finish())
        assert [path for path in TREE if before[path].executable != after[path].executable] == ["run.sh"]
        assert [path for path in TREE if path != "run.sh" and before[path] != after[path]] == []

    def test_another_process_has_the_same_names(self, bench: Bench) -> None:
        base = bench.commit(TREE)
        told, keeping = sources(bench, base), Keeping(bench.directory())
        with self.opened_again(bench.store) as store:
            _store(store).complete_workspace(bench.input(base), EVERYTHING, keeping.directory, keeping)
        assert keeping.told == [told]

    def test_names_of_contents_are_short_and_of_one_line(self, bench: Bench) -> None:
        for source in sources(bench, bench.commit({**CONTENT, "large": LARGE})).values():
            assert source.content.isascii()
            assert source.content.isprintable()
            assert 0 < len(source.content) <= 128

    # ---- refusals: before anything is kept

    @pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
    def test_a_hostile_name_is_refused_before_anything_is_kept(self, bench: Bench, name: str) -> None:
        base = bench.commit({"a/fine": b"1", f"a/{name}": b"2"})
        self._refused(bench, bench.store, bench.input(base), ObjectNameError)

    @pytest.mark.parametrize("kind", BAD_REFS)
    def test_an_input_that_is_no_full_commit_id_is_refused_before_anything_is_kept(
        self, bench: Bench, kind: str
    ) -> None:
        base = bench.commit({"a": b"1"})
        self._refused(bench, bench.store, bench.input(BAD_REFS[kind](base)), RefNotFoundError)

    def test_what_is_missing_is_said_before_anything_is_kept(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        self._refused(bench, bench.store, bench.input(self.unknown_commit), RefNotFoundError)
        self._refused(bench, bench.store, bench.input(base, "elsewhere"), BranchNotFoundError)
        spec = WorkspaceSpec(prefix="data", read_only=True)
        self._refused(bench, bench.store, bench.input(base), PrefixNotFoundError, spec)
        store, repository = self.without_repository(bench.store, bench.directory())
        given = bench.input(base).model_copy(update={"repository": repository})
        self._refused(bench, store, given, RepositoryNotFoundError)

    def test_an_error_of_the_one_who_keeps_is_passed_on(self, bench: Bench) -> None:
        base, directory = bench.commit(TREE), bench.directory()

        def fail(_: Mapping[str, Source]) -> Kept:
            raise KeyError("not this time")

        with pytest.raises(KeyError, match="not this time"):
            _store(bench.store).complete_workspace(bench.input(base), EVERYTHING, directory, fail)
        assert read_files(directory) == {}
        _store(bench.store).complete_workspace(bench.input(base), EVERYTHING, directory, lambda _: NOTHING_KEPT)
        assert read_files(directory) == TREE

    @staticmethod
    def _refused(
        bench: Bench,
        store: WorkspaceStore,
        given: WorkspaceInput,
        error: type[PeragoError],
        spec: WorkspaceSpec = EVERYTHING,
    ) -> None:
        keeping = Keeping(bench.directory())
        with pytest.raises(error):
            _store(store).complete_workspace(given, spec, keeping.directory, keeping)
        assert (keeping.told, read_files(keeping.directory)) == ([], {})

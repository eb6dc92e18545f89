"""Download of an input: content, digests, the executable bit, prefix and patterns, and refusals."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
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
from perago.files.beneath import Beneath
from perago.ports import WorkspaceStore
from perago.testing.contract.bench import EVERYTHING, MAIN, Bench, StoreHooks, read_files
from perago.testing.contract.framework import pytest
from perago.values.history import Merge
from perago.values.models import Changes, WorkspaceInput
from perago.values.spec import WorkspaceSpec
from perago.workspace.digest import algorithm_of, digest_file, is_known

CONTENT = {
    "plain.txt": b"one\n",
    "empty": b"",
    ".hidden/.file": b"dot",
    "deep/er/and/deeper": b"\x00\xff\r\n",
    "a b/\u00e4 \u6f22.txt": b"name",
    "deep.txt": b"beside a directory",
}
LARGE = bytes(range(256)) * 8192  # 2 MiB: stores treat large files differently

BAD_REFS: dict[str, Callable[[str], str]] = {
    "a branch": lambda _: MAIN,
    "a short id": lambda ref: ref[:12],
    "in capitals": lambda ref: ref[:-2] + "AB",
    "with a space": lambda ref: ref + " ",
    "with a line end": lambda ref: ref + "\n",
    "an expression": lambda ref: ref + "~0",
    "a name of the store's": lambda _: "HEAD",
}
HOSTILE_NAMES = ["back\\slash", "bidi\u202etxt.exe", "del\x7f"]

Call = Callable[[Bench, WorkspaceStore, WorkspaceInput], object]
CALLS: dict[str, Call] = {
    "download": lambda bench, store, given: store.download_workspace(given, EVERYTHING, bench.directory()),
    "history": lambda _, store, given: store.read_history(given),
    "stage": lambda bench, store, given: store.stage_workspace(
        bench.directory(), given, EVERYTHING, bench.execution(given.ref, changes=Changes())
    ),
    "no-op": lambda bench, store, given: store.complete_noop_workspace(given, EVERYTHING, bench.execution(given.ref)),
}


class InputContract(StoreHooks):
    """Inputs of a store."""

    def test_an_input_is_laid_out_whole(self, bench: Bench) -> None:
        base = bench.commit(CONTENT)
        assert bench.lay_out(base).before == CONTENT

    def test_large_files_are_laid_out_and_published(self, bench: Bench) -> None:
        base = bench.commit({"large": LARGE, "small": b"1"})
        ref = bench.publish(base, {"other": LARGE[::-1]})
        assert bench.lay_out(ref).before == {"large": LARGE, "small": b"1", "other": LARGE[::-1]}
        assert bench.files(ref)["other"] == LARGE[::-1]

    def test_an_older_commit_is_laid_out_as_it_was(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1", "b": b"1"})
        bench.commit({"a": b"2", "b": None})
        assert bench.lay_out(base).before == {"a": b"1", "b": b"1"}

    def test_a_commit_without_files_is_an_empty_workspace(self, bench: Bench) -> None:
        bench.commit({"a": b"1"})
        emptied = bench.commit({"a": None})
        assert bench.lay_out(emptied).before == {}
        assert bench.files(bench.publish(emptied, {"b": b"2"})) == {"b": b"2"}

    def test_digests_that_are_told_are_right(self, bench: Bench) -> None:
        work = bench.lay_out(bench.commit({**CONTENT, "large": LARGE}))
        with Beneath(work.directory) as files:
            digests = {} if work.digests is None else work.digests
            assert isinstance(digests, Mapping), digests
            for path, digest in digests.items():
                assert is_known(digest), digest
                size = len(work.before[path])
                assert digest_file(files, path, algorithm_of(digest), size) == digest, path

    def test_a_directory_that_becomes_a_link_while_files_are_laid_out_leads_nowhere(
        self, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        outside, mkdir = tmp_path / "outside", os.mkdir
        outside.mkdir()
        base = bench.commit({"a": b"1", "deep/below/file": b"2", "deep/large": LARGE})

        def mkdir_and_swap(path: Any, *arguments: Any, **options: Any) -> None:
            mkdir(path, *arguments, **options)
            if os.fspath(path).endswith("deep"):
                (made,) = (found for found in tmp_path.rglob("deep") if found.is_dir())
                made.rmdir()
                made.symlink_to(outside)

        monkeypatch.setattr(os, "mkdir", mkdir_and_swap)
        with pytest.raises(PeragoError, match="lay out"):
            bench.lay_out(base)
        assert list(outside.iterdir()) == []

    def test_files_that_are_laid_out_can_be_changed_without_a_trace_in_the_store(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        with (bench.lay_out(base).directory / "a").open("r+b") as file:
            file.write(b"2")
        assert bench.lay_out(base).before == {"a": b"1"}

    # ---- prefix and patterns

    def test_a_prefix_shows_what_is_below_it_and_nothing_beside(self, bench: Bench) -> None:
        base = bench.commit({"data/a": b"1", "data/b/c": b"2", "data2/d": b"3", "data.txt": b"4", "e/data/f": b"5"})
        assert bench.lay_out(base, WorkspaceSpec(prefix="data")).before == {"a": b"1", "b/c": b"2"}
        assert bench.lay_out(base, WorkspaceSpec(prefix="/e/data")).before == {"f": b"5"}

    def test_a_prefix_that_is_not_there_is_empty_for_a_task_that_writes(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        spec = WorkspaceSpec(prefix="new/place")
        assert bench.lay_out(base, spec).before == {}
        ref = bench.publish(base, {"b": b"2"}, spec=spec)
        assert bench.files(ref) == {"a": b"1", "new/place/b": b"2"}

    def test_a_prefix_that_is_not_there_is_refused_to_a_task_that_reads(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1", "data2/b": b"2"})
        with pytest.raises(PrefixNotFoundError, match="'data'"):
            bench.lay_out(base, WorkspaceSpec(prefix="data", read_only=True))

    def test_a_prefix_that_is_a_file_is_refused_to_all(self, bench: Bench) -> None:
        base = bench.commit({"data": b"1"})
        for read_only in (True, False):
            with pytest.raises(PrefixNotFoundError, match="'data'"):
                bench.lay_out(base, WorkspaceSpec(prefix="data", read_only=read_only))

    def test_patterns_select_below_the_prefix(self, bench: Bench) -> None:
        base = bench.commit({"p/a.csv": b"1", "p/q/b.csv": b"2", "p/q/c.txt": b"3", "p/raw/d.csv": b"4", "e.csv": b"5"})
        spec = WorkspaceSpec(prefix="p", include=["**/*.csv"], exclude=["raw"])
        assert bench.lay_out(base, spec).before == {"a.csv": b"1", "q/b.csv": b"2"}

    def test_names_are_judged_after_the_patterns(self, bench: Bench) -> None:
        base = bench.commit({"fine/a": b"1", "bad/back\\slash": b"2"})
        assert bench.lay_out(base, WorkspaceSpec(exclude=["bad"])).before == {"fine/a": b"1"}

    # ---- directory markers, as the S3 console leaves them

    def test_signs_of_directories_are_no_files(self, bench: Bench) -> None:
        base = bench.commit(self._with_signs({"data/x": b"1"}))
        assert bench.lay_out(base).before == {"data/x": b"1"}
        assert bench.lay_out(base, WorkspaceSpec(prefix="data")).before == {"x": b"1"}
        ref = bench.publish(base, {"x": None, "y": b"2"}, spec=WorkspaceSpec(prefix="data"))
        assert bench.files(ref) == self._with_signs({"data/y": b"2"})

    def test_a_directory_of_which_there_is_only_the_sign_is_empty(self, bench: Bench) -> None:
        base = bench.commit(self._with_signs({"other": b"1"}))
        for spec in (WorkspaceSpec(prefix="data", read_only=True), WorkspaceSpec(prefix="data/empty")):
            assert bench.lay_out(base, spec).before == {}

    @pytest.mark.parametrize("exclude", [[], ["none"]])
    def test_a_file_may_take_the_place_of_a_directory_of_which_there_is_only_the_sign(
        self, bench: Bench, exclude: list[str]
    ) -> None:
        files = self._with_signs({"other": b"1"})
        ref = bench.publish(bench.commit(files), {"data": b"2"}, spec=WorkspaceSpec(exclude=exclude))
        assert bench.files(ref) == {**files, "data": b"2"}
        assert bench.lay_out(ref).before == {"other": b"1", "data": b"2"}

    @pytest.mark.parametrize("spec", [EVERYTHING, WorkspaceSpec(prefix="data")])
    def test_an_object_with_such_a_name_that_is_not_empty_is_refused(self, bench: Bench, spec: WorkspaceSpec) -> None:
        base = bench.commit(self._with_signs({"data/": b"1"}))
        with pytest.raises(ObjectNameError):
            bench.lay_out(base, spec)

    def test_signs_of_directories_that_others_made_are_merged_with(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        foreign = bench.commit(self._with_signs({}))
        ref = bench.publish(base, {"data/x": b"2"}, Merge(foreign, (foreign,)))
        assert bench.files(ref) == self._with_signs({"a": b"1", "data/x": b"2"})

    def _with_signs(self, files: dict[str, bytes]) -> dict[str, bytes]:
        if not self.holds_signs_of_directories:
            pytest.skip(
                "no name ends with a slash here: a store that accepts such names sets holds_signs_of_directories"
            )
        return {"data/": b"", "data/empty/": b"", **files}

    # ---- refusals

    @pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
    def test_a_hostile_name_is_refused_before_anything_is_written(self, bench: Bench, name: str) -> None:
        base = bench.commit({"a/fine": b"1", f"a/{name}": b"2"})
        directory = bench.directory()
        with pytest.raises(ObjectNameError):
            bench.store.download_workspace(bench.input(base), EVERYTHING, directory)
        assert read_files(directory) == {}

    @pytest.mark.parametrize("call", CALLS)
    @pytest.mark.parametrize("kind", BAD_REFS)
    def test_an_input_ref_is_a_full_commit_id(self, bench: Bench, kind: str, call: str) -> None:
        base = bench.commit({"a": b"1"})
        with pytest.raises(RefNotFoundError):
            CALLS[call](bench, bench.store, bench.input(BAD_REFS[kind](base)))
        assert (bench.line(), bench.staged()) == ([base], [])

    @pytest.mark.parametrize("call", CALLS)
    def test_a_commit_that_is_not_there_is_named(self, bench: Bench, call: str) -> None:
        bench.commit({"a": b"1"})
        with pytest.raises(RefNotFoundError, match=self.unknown_commit):
            CALLS[call](bench, bench.store, bench.input(self.unknown_commit))

    @pytest.mark.parametrize("call", CALLS)
    def test_a_branch_that_is_not_there_is_named(self, bench: Bench, call: str) -> None:
        base = bench.commit({"a": b"1"})
        with pytest.raises(BranchNotFoundError, match="'elsewhere'"):
            CALLS[call](bench, bench.store, bench.input(base, "elsewhere"))
        assert bench.staged() == []

    @pytest.mark.parametrize("call", CALLS)
    def test_a_repository_that_is_not_there_is_said_to_be(self, bench: Bench, call: str, tmp_path: Path) -> None:
        base = bench.commit({"a": b"1"})
        store, repository = self.without_repository(bench.store, tmp_path / "no-repository")
        with pytest.raises(RepositoryNotFoundError):
            CALLS[call](bench, store, bench.input(base).model_copy(update={"repository": repository}))

"""Listings, and whole attempts of tasks with declared outputs."""

from __future__ import annotations

from pathlib import Path

from perago.ports import Event, Phase
from perago.testing.contract.attempts import whole_attempt
from perago.testing.contract.bench import Bench, Edits, StoreHooks, edit, read_files
from perago.testing.contract.framework import pytest
from perago.testing.engine import MemoryEngine
from perago.values.spec import WorkspaceSpec
from perago.workspace.digest import digest_bytes, is_known

LARGE = bytes(range(256)) * 8_000
"""More than stores keep as they keep small files."""

BEFORE: Edits = {
    "data/raw/a.csv": b"1",
    "data/raw/b.csv": b"2",
    "data/clean/a.csv": b"a",
    "data/clean/large": LARGE,
    "data/clean/old/b.csv": b"b",
    "data/notes.txt": b"n",
    "top": b"t",
}
SPEC = WorkspaceSpec(prefix="data", include=["raw/**"], outputs=["clean/**"])


class OutputsContract(StoreHooks):
    """`list_workspace`, and what comes of outputs."""

    @pytest.mark.parametrize(
        "spec",
        [
            WorkspaceSpec(),
            WorkspaceSpec(prefix="data"),
            WorkspaceSpec(prefix="data", include=["**/*.csv"], exclude=["clean/old"]),
            WorkspaceSpec(prefix="data", include=["nothing/**"]),
            WorkspaceSpec(prefix="nowhere"),
        ],
    )
    def test_a_listing_has_the_files_that_are_laid_out(self, bench: Bench, spec: WorkspaceSpec) -> None:
        work = bench.lay_out(bench.commit(BEFORE))
        work.make_executable("data/raw/a.csv")
        base = bench.stage(work).finish()
        laid_out = bench.lay_out(base, spec)
        listed = bench.store.list_workspace(bench.input(base), spec)
        files = read_files(laid_out.directory)
        assert {path: file.size for path, file in listed.items()} == {p: len(c) for p, c in files.items()}
        assert {path for path, file in listed.items() if file.executable} == set(laid_out.executables)
        for path, file in listed.items():
            if is_known(file.digest):
                assert digest_bytes(files[path], file.digest.partition(":")[0]) == file.digest
        assert all(is_known(file.digest) for file in listed.values())

    def test_what_the_body_leaves_there_is_the_output(self, bench: Bench) -> None:
        bench.commit(BEFORE)
        found: dict[str, bytes] = {}

        def body(workspace: Path) -> None:
            found.update(read_files(workspace))
            assert (workspace / "clean").is_dir()
            edit(workspace, {"clean/a.csv": b"A", "clean/large": LARGE, "clean/new/c.csv": b"c"})

        result = whole_attempt(bench, SPEC, body)
        assert result.status == "COMPLETED", result.reason_for_incompletion
        assert found == {"raw/a.csv": b"1", "raw/b.csv": b"2"}
        made = {"data/clean/a.csv": b"A", "data/clean/large": LARGE, "data/clean/new/c.csv": b"c"}
        kept = {path: content for path, content in BEFORE.items() if not path.startswith("data/clean/")}
        assert bench.files(bench.head()) == {**kept, **made}
        assert bench.staged() == []

    def test_the_same_output_is_no_change(self, bench: Bench) -> None:
        base = bench.commit(BEFORE)
        same = {path.removeprefix("data/"): data for path, data in BEFORE.items() if path.startswith("data/clean/")}
        result = whole_attempt(bench, SPEC, lambda workspace: edit(workspace, same))
        assert result.status == "COMPLETED", result.reason_for_incompletion
        assert bench.head() == base

    def test_without_an_output_all_of_it_is_deleted(self, bench: Bench) -> None:
        bench.commit(BEFORE)
        assert whole_attempt(bench, SPEC, lambda _: None).status == "COMPLETED"
        assert not any(path.startswith("data/clean/") for path in bench.files(bench.head()))

    @pytest.mark.parametrize(
        ("edits", "named"),
        [
            ({"raw/a.csv": b"changed"}, "'raw/a.csv' (modified)"),
            ({"raw/b.csv": None}, "'raw/b.csv' (deleted)"),
            ({"raw/c.csv": b"new"}, "'raw/c.csv' (added)"),
            ({"scratch": b"x", "clean/a.csv": b"A"}, "'scratch' (added)"),
        ],
    )
    def test_a_change_anywhere_else_fails_the_attempt(self, bench: Bench, edits: Edits, named: str) -> None:
        base = bench.commit(BEFORE)
        result = whole_attempt(bench, SPEC, lambda workspace: edit(workspace, edits))
        assert result.status != "COMPLETED"
        assert f"changed files outside of its outputs ['clean/**']: {named}" in (result.reason_for_incompletion or "")
        assert bench.head() == base
        assert bench.staged() == []

    @pytest.mark.parametrize(
        ("theirs", "is_refused"),
        [
            ("data/raw/new.csv", True),
            ("data/clean/theirs.csv", True),
            ("data/notes.txt", False),
            ("top", False),
        ],
    )
    def test_others_conflict_with_what_it_reads_and_with_its_outputs(
        self, bench: Bench, theirs: str, is_refused: bool
    ) -> None:
        bench.commit(BEFORE)
        moments = [(Phase.BODY, "started")]

        def observe(event: Event, /) -> None:
            if (event.phase, event.kind) in moments:
                moments.clear()
                bench.commit({theirs: b"theirs"})

        result = whole_attempt(bench, SPEC, lambda workspace: edit(workspace, {"clean/a.csv": b"A"}), observe)
        assert (result.status != "COMPLETED") == is_refused, result.reason_for_incompletion
        assert bench.files(bench.head())[theirs] == b"theirs"

    def test_more_changes_than_are_named_are_counted(self, bench: Bench) -> None:
        bench.commit(BEFORE)
        result = whole_attempt(bench, SPEC, lambda workspace: edit(workspace, {f"s{n}": b"x" for n in range(30)}))
        assert "and 20 more" in (result.reason_for_incompletion or "")

    def test_an_old_output_may_become_a_directory(self, bench: Bench) -> None:
        bench.commit({"data/raw/a.csv": b"1", "data/clean/a": b"a file", "data/clean/b/c": b"in a directory"})
        result = whole_attempt(bench, SPEC, lambda workspace: edit(workspace, {"clean/a/x": b"X", "clean/b": b"B"}))
        assert result.status == "COMPLETED", result.reason_for_incompletion
        assert bench.files(bench.head()) == {"data/raw/a.csv": b"1", "data/clean/a/x": b"X", "data/clean/b": b"B"}

    def test_an_executable_output_is_another_one(self, bench: Bench) -> None:
        bench.commit(BEFORE)

        def body(workspace: Path) -> None:
            edit(workspace, {"clean/a.csv": b"a", "clean/large": LARGE, "clean/old/b.csv": b"b"})
            (workspace / "clean/a.csv").chmod(0o755)

        base = bench.head()
        assert whole_attempt(bench, SPEC, body).status == "COMPLETED"
        assert bench.head() != base
        listed = bench.store.list_workspace(bench.input(bench.head()), SPEC.made)
        assert {path for path, file in listed.items() if file.executable} == {"clean/a.csv"}

    def test_a_shard_is_in_nobody_s_way(self, bench: Bench) -> None:
        """Two tasks of one map: each reads its file, and makes its own."""
        bench.commit(BEFORE)
        moments, engine = [(Phase.BODY, "started")], MemoryEngine()

        def shard(name: str) -> WorkspaceSpec:
            return WorkspaceSpec(prefix="data", include=[f"raw/{name}.csv"], outputs=[f"made/{name}/**"])

        def observe(event: Event, /) -> None:
            if (event.phase, event.kind) in moments:
                moments.clear()
                other = whole_attempt(bench, shard("b"), lambda made: edit(made, {"made/b/x": b"b"}), engine=engine)
                assert other.status == "COMPLETED", other.reason_for_incompletion

        result = whole_attempt(bench, shard("a"), lambda made: edit(made, {"made/a/x": b"a"}), observe, engine)
        assert result.status == "COMPLETED", result.reason_for_incompletion
        assert bench.files(bench.head()) == {**BEFORE, "data/made/a/x": b"a", "data/made/b/x": b"b"}

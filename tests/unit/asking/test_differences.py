"""In what commits differ: files, rows of tables, params and results."""

from __future__ import annotations

from itertools import islice

import pytest

from perago.asking.differences import Column, RowDifference, differing_files, differing_rows, facts_of, rows_of
from perago.ports import StoredFile
from perago.values.models import Changes
from tests.unit.index.made_history import entry, stamp


class Files:
    """A repository of two commits, `a` and `b`."""

    def __init__(self, before: dict[str, bytes], after: dict[str, bytes]) -> None:
        self.commits = {"a": before, "b": after}
        self.asked: list[str] = []
        self.read: list[str] = []

    def changes(self, before, after):
        old, new = self.commits[before], self.commits[after]
        both = old.keys() & new.keys()
        modified = tuple(path for path in both if old[path] != new[path])
        return Changes(tuple(new.keys() - both), modified, tuple(old.keys() - both))

    def find_files(self, ref, paths):
        for path in paths:
            self.asked.append(f"{ref}:{path}")
            yield self._found(ref, path)

    def _found(self, ref, path):
        content = self.commits[ref].get(path)

        def read():
            self.read.append(path)
            return content

        return None if content is None else StoredFile(len(content), read)


def test_files_are_named_with_their_sizes():
    files = Files({"x/a": b"1", "x/b": b"22", "c": b""}, {"x/a": b"1", "x/b": b"333", "d": b"4"})
    found = list(differing_files(files, "a", "b"))
    assert [(each.path, each.kind, each.before, each.after) for each in found] == [
        ("c", "deleted", 0, None),
        ("d", "added", None, 1),
        ("x/b", "modified", 2, 3),
    ]
    assert [each.path for each in differing_files(files, "a", "b", paths=["x/"])] == ["x/b"]
    assert files.read == []


def test_only_commits_that_have_a_file_are_asked_for_it():
    files = Files({"c": b"", "x/b": b"22"}, {"x/b": b"333", "d": b"4"})
    list(differing_files(files, "a", "b"))
    assert sorted(files.asked) == ["a:c", "a:x/b", "b:d", "b:x/b"]


def test_no_more_files_are_asked_for_than_are_taken():
    files = Files({}, dict.fromkeys(map(str, range(100)), b"1"))
    assert len(list(islice(differing_files(files, "a", "b"), 3))) == 3
    assert len(files.asked) == 3


def test_only_tables_that_are_not_too_large_are_read(monkeypatch):
    monkeypatch.setattr("perago.asking.differences.MAX_TABLE_BYTES", 10)
    files = Files(
        {"a.csv": b"n\n1\n", "b.csv": b"n\n1\n", "c.bin": b"n"}, {"a.csv": b"n\n2\n", "b.csv": b"n" * 11, "c.bin": b"m"}
    )
    rows = {each.path: each.rows for each in differing_files(files, "a", "b")}
    assert rows["a.csv"] == RowDifference(key=None, added=0, removed=0, changed=1)
    assert rows["b.csv"] is rows["c.bin"] is None
    assert {*files.read} == {"a.csv"}


TABLE = b"id,name\n1,a\n2,b\n3,c\n"


@pytest.mark.parametrize(
    ("after", "key", "expected"),
    [
        (TABLE, None, {}),
        (b"id,name\n1,a\n2,B\n3,c\n4,d\n", None, {"changed": 1, "added": 1}),
        (b"id,name\n2,b\n3,c\n", None, {"changed": 2, "removed": 1}),
        (b"id,name\n2,b\n3,c\n", "id", {"key": "id", "removed": 1}),
        (b"name,id\nb,2\nc,3\na,1\n", "id", {"key": "id"}),
        (b"id,name,more\n1,a,x\n2,b,x\n3,c,x\n", "id", {"key": "id", "columns_added": ("more",)}),
        (b"id\n1\n2\n3\n", "id", {"key": "id", "columns_removed": ("name",)}),
        (b"id,name\n1,a\n1,a\n2,b\n3,c\n", "id", {"key": "id", "added": 1}),
        (b"id,name\n1\n2,b\n3,c\n", "nothing", {"changed": 1}),
        (b"\xef\xbb\xbfid,name\r\n1,a\r\n2,b\r\n3,c\r\n", "id", {"key": "id"}),
    ],
)
def test_rows_are_matched_by_a_column_or_by_their_position(after, key, expected):
    filled = {"key": None, "added": 0, "removed": 0, "changed": 0, **expected}
    assert differing_rows(TABLE, after, ",", key) == RowDifference(**filled)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b'a\n"' + b"x" * 200_000 + b'"'])
def test_what_is_no_table_has_no_rows(content):
    assert differing_rows(TABLE, content, ",", None) is None


def test_what_is_known_of_commits_is_laid_side_by_side():
    one = entry("one", stamp=stamp(params={"model": {"depth": 3}, "seed": 1}, result={"rows": 3}))
    other = entry("other", stamp=stamp(params={"model": {"depth": 4}, "seed": 1}, result={"rows": 3, "more": [1]}))
    rows = rows_of([Column(name, it.id, "train", it.time, facts_of(it)) for name, it in (("a", one), ("b", other))])
    differing = {name: values for name, values, differ in rows if differ}
    assert differing == {"params.model.depth": [3, 4], "result.more": [None, [1]]}
    assert ("params.seed", [1, 1], False) in rows


def test_of_a_person_s_commit_its_author_and_subject_are_known():
    assert facts_of(entry("one", author="Ada")) == {"author": "Ada", "subject": "commit one"}

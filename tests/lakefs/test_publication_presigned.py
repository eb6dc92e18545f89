"""Publications on a lakeFS whose block store is S3: large content goes there by presigned URLs, all else is alike."""

import os

from perago.values.history import Merge, Publish

LARGE = 9 * 1024 * 1024
"""Bytes; from 8 MiB on a file goes to the block store itself."""


def test_a_publication_of_large_files_and_what_replaces_it(make_bench, lakefs_on_s3):
    bench = make_bench(lakefs_on_s3)
    large, other = os.urandom(LARGE), os.urandom(LARGE)
    base = bench.commit({"a": b"1", "large": large})
    first = bench.publish(base, {"large": other, "more": large, "a": None})
    assert bench.files(first) == {"large": other, "more": large}
    second = bench.publish_on(first, base, {"b": b"2"}, (first,))
    assert bench.files(second) == {"a": b"1", "large": large, "b": b"2"}
    assert bench.line() == [second, first, base]
    assert bench.staged() == []


def test_what_abandoned_commits_did_is_undone_beside_foreign_ones(make_bench, lakefs_on_s3):
    bench = make_bench(lakefs_on_s3)
    base = bench.commit({"a": b"1", "b": b"1"})
    abandoned = bench.publish(base, {"a": b"wrong", "b": None})
    foreign = bench.commit({"theirs": b"2"})
    ref = bench.publish(base, {"mine": b"3"}, Merge(foreign, (foreign,), (abandoned,)))
    assert bench.files(ref) == {"a": b"1", "b": b"1", "theirs": b"2", "mine": b"3"}
    again = bench.publish(ref, {"a": b"4"}, Publish(ref))
    assert bench.line() == [again, ref, foreign, abandoned, base]

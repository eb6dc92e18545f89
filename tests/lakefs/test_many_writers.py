"""Sixteen processes publish to one branch of a lakeFS repository, in the queue of their host."""

from benchmarks.writers.part import LOST_ON_ONE_HOST, ONE_HOST, Case, in_repository, race


def test_sixteen_writers_all_publish_and_lose_few_swaps(lakefs_server, lakefs_repository, tmp_path):
    place = in_repository(lakefs_server, lakefs_repository)
    measured = race(place, Case("", 16, 1, 2048), ONE_HOST, tmp_path)
    written = {name for name in lakefs_repository.files("main") if name.endswith("/a")}
    assert written == {f"writer-{number}/a" for number in range(16)}
    assert len(lakefs_repository.line("main")) == len(written) + 2
    assert measured.lost <= LOST_ON_ONE_HOST

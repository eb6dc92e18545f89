"""Sixteen processes publish to one branch of a lakeFS repository, in the queue of their host."""

from benchmarks.writers.part import LOST_ON_ONE_HOST, ONE_HOST, Case, in_repository, run_race, writers_of


def test_sixteen_writers_all_publish_and_lose_few_swaps(lakefs_server, lakefs_repository, tmp_path):
    place = in_repository(lakefs_server, lakefs_repository)
    with writers_of(place, 16, tmp_path) as writers:
        race = run_race(place, writers, Case("", 16, 1, 2048), ONE_HOST, tmp_path)
    written = {name for name in lakefs_repository.files(race.branch) if name.endswith("/a")}
    assert written == {f"writer-{number}/a" for number in range(16)}
    assert len(lakefs_repository.line(race.branch)) == len(written) + 2
    assert race.lost <= LOST_ON_ONE_HOST

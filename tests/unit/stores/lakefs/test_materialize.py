"""How many threads lay out cached files."""

import pytest

from perago.stores.lakefs.materialize import CACHE_THREADS, cache_threads


@pytest.mark.parametrize(
    ("load", "processors", "threads"),
    [(0.0, 2, CACHE_THREADS), (1.9, 2, CACHE_THREADS), (2.0, 2, 1), (9.0, 2, 1), (9.0, 64, CACHE_THREADS), (0.3, 1, 2)],
)
def test_one_thread_lays_out_cached_files_if_no_processor_is_idle(load, processors, threads):
    assert cache_threads(load, processors) == threads

"""Hundreds of pools in one worker: none hangs, and none says a word that it would not say in a program."""

from __future__ import annotations

import os

import pytest

from library_support import ListenedWorker, needs_libraries

pytestmark = [needs_libraries, pytest.mark.usefixtures("nothing_shared_is_left")]

RUNS = int(os.environ.get("PERAGO_TEST_POOL_RUNS", "10"))


@pytest.mark.timeout(60 + 20 * RUNS)
def test_pools_neither_hang_nor_say_a_word(body_start, module_path, expected, tmp_path):
    wanted = expected("pool_rows:use_every_pool")
    with ListenedWorker(tmp_path, body_start, ["pool_rows"]) as worker:
        for _ in range(RUNS):
            seen = worker.run("pool_rows:use_every_pool")
            assert seen == wanted
            assert seen.stderr == wanted.stderr

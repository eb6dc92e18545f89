"""A process that fills, reads and so evicts from a cache until it is killed.

usage: program_cache.py CACHE MAX_BYTES DIRECTORY SEED
Prints a line for each round; ends with an error as soon as content comes back wrong.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

from cache_support import content_of, keep_file, md5
from perago.workspace.cache import ObjectCache

KEYS = 60
SIZES = (0, 700, 5_000, 60_000, 400_000)


def main() -> None:
    directory, max_bytes, scratch, seed = sys.argv[1:]
    cache = ObjectCache(Path(directory), int(max_bytes))
    chance = random.Random(int(seed))
    target = Path(scratch) / f"target-{os.getpid()}"
    source = Path(scratch) / f"source-{os.getpid()}"
    hits = 0
    for rounds in range(1_000_000):
        number = chance.randrange(KEYS)
        size = SIZES[number % len(SIZES)]
        content = content_of(number, size)
        if cache.lay_out(f"key {number}", size, str(target)) is not None:
            assert target.read_bytes() == content, f"key {number} came back wrong"
            target.unlink()
            hits += 1
        elif chance.random() < 0.5:
            cache.add(f"key {number}", content, md5(content))
        else:
            source.write_bytes(content)
            keep_file(cache, f"key {number}", source, size, md5(content))
        print(rounds, hits, flush=True)


main()

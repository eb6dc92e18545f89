"""A process that refreshes an index again and again, each time with more commits of one long line.

It prints the number of commits of each refresh that has ended.

usage: program_refresh.py INDEX COMMITS STEP [hold]

hold: stop in the middle of the first refresh, which has begun to write, and print `writing`; go on after a line.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from perago.index.history import HistoryIndex
from perago.ports import CommitEntry
from tests.unit.index.made_history import line, since

path, count, step = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
holds = sys.argv[4:] == ["hold"]
commits = line(count)


def held(known: Callable[[str], bool]) -> Iterator[CommitEntry]:
    listed = since(commits)(known)
    yield next(listed)
    yield next(listed)
    print("writing", flush=True)
    sys.stdin.readline()
    yield from listed


for end in range(step, count + 1, step):
    with HistoryIndex(path) as index:
        print(index.refresh(held if holds else since(commits[:end])), flush=True)

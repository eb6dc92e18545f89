"""`python -m benchmarks`: measure, and write RESULTS.md with its plots."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.machine import describe
from benchmarks.parts import PARTS, CannotMeasureError, load
from benchmarks.results import Results, section

HERE = Path(__file__).parent


def main(arguments: Sequence[str]) -> int:
    """Measure each part and write what came of it, one after the other; returns how many could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}  [default: all of them]")
    parser.add_argument("--directory", type=Path, help="where to work; on the file system to be measured")
    parser.add_argument("--output", type=Path, default=HERE, help="where RESULTS.md and the plots go")
    parser.add_argument("--tiny", action="store_true", help="see that it runs, on next to nothing")
    given = parser.parse_args(arguments)
    unknown = set(given.parts) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    directory: Path = given.directory or HERE.parent / "build"
    directory.mkdir(parents=True, exist_ok=True)
    results = Results(given.output)
    return sum(not _measure(name, directory, results, tiny=given.tiny) for name in given.parts or PARTS)


def _measure(name: str, directory: Path, results: Results, *, tiny: bool) -> bool:
    """Whether it could be measured."""
    try:
        measured = load(name)(directory, tiny)
    except CannotMeasureError as exc:
        print(f"{name}: {exc}; what RESULTS.md says of it is left as it was", file=sys.stderr)
        return False
    command = f"python -m benchmarks {name} --tiny" if tiny else f"make bench BENCH_ONLY={name}"
    path = results.put(name, section(measured, describe(directory), datetime.now(UTC), command), measured.plots)
    print(f"Written: what {path} says of {name}")
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

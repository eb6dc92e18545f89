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
    """Measure the parts one after the other and write their results; returns the number of parts that failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one of {', '.join(PARTS)}  [default: all]")
    parser.add_argument("--directory", type=Path, help="working directory, on the file system to measure")
    parser.add_argument("--output", type=Path, default=HERE, help="directory of RESULTS.md and the plots")
    parser.add_argument("--tiny", action="store_true", help="check that it runs, on tiny inputs")
    given = parser.parse_args(arguments)
    unknown = set(given.parts) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    directory: Path = given.directory or HERE.parent / "build"
    directory.mkdir(parents=True, exist_ok=True)
    results = Results(given.output)
    return sum(not _measure(name, directory, results, tiny=given.tiny) for name in given.parts or PARTS)


def _measure(name: str, directory: Path, results: Results, *, tiny: bool) -> bool:
    """Measure one part; returns whether it succeeded."""
    try:
        measured = load(name)(directory, tiny)
    except CannotMeasureError as exc:
        print(f"{name}: {exc}; its section of RESULTS.md is unchanged", file=sys.stderr)
        return False
    command = f"python -m benchmarks {name} --tiny" if tiny else f"make bench BENCH_ONLY={name}"
    path = results.put(name, section(measured, describe(directory), datetime.now(UTC), command), measured.plots)
    print(f"Wrote the section {name} of {path}")
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`python -m benchmarks`: measure, and write RESULTS.md with its plots."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.cases import TINY, Measuring, Plan
from benchmarks.machine import describe
from benchmarks.report import plots, report

HERE = Path(__file__).parent


def main(arguments: Sequence[str]) -> None:
    """Measure, and write what came of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--directory", type=Path, help="where to work; on the file system to be measured")
    parser.add_argument("--output", type=Path, default=HERE, help="where RESULTS.md and the plots go")
    parser.add_argument("--tiny", action="store_true", help="see that it runs, on next to nothing")
    given = parser.parse_args(arguments)
    directory: Path = given.directory or HERE.parent / "build"
    directory.mkdir(parents=True, exist_ok=True)
    results = Measuring(TINY if given.tiny else Plan(), directory).run()
    output: Path = given.output
    for name, text in plots(results).items():
        (output / name).write_text(text, encoding="utf-8")
    command = "python -m benchmarks --tiny" if given.tiny else "make bench"
    text = report(results, describe(directory), datetime.now(UTC), command)
    (output / "RESULTS.md").write_text(text, encoding="utf-8")
    print(f"Written: {output / 'RESULTS.md'}")


if __name__ == "__main__":
    main(sys.argv[1:])

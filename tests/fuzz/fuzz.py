"""Hunts with one of the targets, guided by coverage, until it finds something or the time is over.

usage: python tests/fuzz/fuzz.py TARGET [--seconds N]   (its name, or a part of several; without one they are listed)

Needs atheris (`pip install atheris`). The targets are the tests of this directory; what is found is printed as they
print it, and belongs into them as an `@example`.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
Target = Callable[[bytes], object]


def targets() -> dict[str, Target]:
    """Every test of this directory that hypothesis drives, by its name."""
    found: dict[str, Target] = {}
    for path in sorted(HERE.glob("test_*.py")):
        for name, value in vars(importlib.import_module(f"tests.fuzz.{path.stem}")).items():
            if hasattr(value, "hypothesis") and not hasattr(value, "pytestmark"):
                found[name] = value.hypothesis.fuzz_one_input
    return found


def hunt(name: str, seconds: int) -> None:
    import atheris

    with atheris.instrument_imports(include=["perago"], enable_loader_override=False):
        target = targets()[name]
    found = f"-artifact_prefix={tempfile.gettempdir()}/perago-fuzz-{name}-"
    atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", found], target)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description="Hunt for inputs that break a parser.")
    parser.add_argument("target", nargs="?", default="")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--one", action="store_true", help="the target's name is whole")
    arguments = parser.parse_args()
    if arguments.one:
        hunt(arguments.target, arguments.seconds)
        return
    names = [name for name in targets() if arguments.target in name]
    if not arguments.target:
        print("\n".join(names))
        return
    program = [sys.executable, "-m", "tests.fuzz.fuzz", "--one", "--seconds", str(arguments.seconds)]
    sys.exit(max((subprocess.run([*program, name], check=False).returncode for name in names), default=2))


if __name__ == "__main__":
    main()

"""The reference, perago 0.6.1 from PyPI, in an environment of its own that is made once and kept."""

from __future__ import annotations

from benchmarks.environments import NotInstalledError as NoReferenceError
from benchmarks.environments import PackageEnvironment

__all__ = ["ENVIRONMENT", "VERSION", "NoReferenceError", "is_made", "make", "python", "versions"]

VERSION = "0.6.1"
ENVIRONMENT = PackageEnvironment("perago", VERSION, beside=("lakefs", "lakefs-sdk"))
"""With what it moves data with."""

is_made, make, versions = ENVIRONMENT.is_made, ENVIRONMENT.make, ENVIRONMENT.versions


def python() -> str:
    """The environment's Python, whether it is there or not."""
    return str(ENVIRONMENT.python)

"""The reference, perago 0.6.1 from PyPI, in its own environment, which is created once and kept."""

from __future__ import annotations

from benchmarks.environments import NotInstalledError as NoReferenceError
from benchmarks.environments import PackageEnvironment

__all__ = ["ENVIRONMENT", "VERSION", "NoReferenceError", "is_made", "make", "python", "versions"]

VERSION = "0.6.1"
ENVIRONMENT = PackageEnvironment("perago", VERSION, beside=("lakefs", "lakefs-sdk"))
"""The package with the libraries that it uses to transfer data."""

is_made, make, versions = ENVIRONMENT.is_made, ENVIRONMENT.make, ENVIRONMENT.versions


def python() -> str:
    """The environment's Python. It need not exist."""
    return str(ENVIRONMENT.python)

"""The command line.

Starting it loads click and nothing else; each command loads what it needs when it runs.
"""

from perago.cli.app import main

__all__ = ["main"]

"""The command line: the entry, what all commands share, and rooms for the commands, for `run` and for repositories.

Starting it loads click and nothing else; each command loads what it needs when it runs. May import everything below.
"""

from perago.cli.app import main

__all__ = ["main"]

"""The command line: its entry point, the code that commands share, and folders for commands and `run`.

Startup imports only click; each command imports what it needs when it runs. May import everything below.
"""

from perago.cli.app import main

__all__ = ["main"]

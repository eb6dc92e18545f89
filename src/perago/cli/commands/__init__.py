"""The commands: one file each, with its options and its help.

Larger ones continue in `perago.cli.run` and `cli/start.py`. A command imports what it needs when it runs.
"""

"""One file for each command: its options and its help.

What is more than a file lies in `perago.cli.run` and `cli/start.py`. A command loads what it needs when it runs.
"""

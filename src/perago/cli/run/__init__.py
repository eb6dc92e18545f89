"""`perago run`: its arguments, the display, the result, dry run and replay.

Imports `running`, which runs tasks and workflows, and the shared files of the cli; no command.
"""

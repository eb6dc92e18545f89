"""`perago run`: request, tries, dry run and replay.

Imports the attempt core, the local engine, `worker.body` and the shared files of the cli; no command.
"""

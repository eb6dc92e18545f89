"""`perago run`: the request, its tries, a rehearsal, a replay.

Imports the attempt core, the local engine, `worker.body` and the cli's shared files; no command.
"""

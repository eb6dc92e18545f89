"""Runs of tasks and workflows without a server, as `perago run` and `perago.run` start them.

Imports the attempt core, the local engine, `worker.body` and the stores; no command line.
"""

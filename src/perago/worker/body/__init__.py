"""The process of a task's body, and the caller's side of it.

Imports the attempt core, the tasks and `process`; `perago run` uses it without a worker.
"""

"""The process of a task's body, and its caller's side.

Imports the attempt core, the tasks and `process`. `perago run` uses it without a worker.
"""

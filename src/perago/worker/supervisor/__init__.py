"""The supervisor of a worker: polling, slots, leases, reports, shutdown, health.

It runs no task: it imports `attempts`, the messages of `executor`, and what is below the tasks, and loads neither a
store nor a task module.
"""

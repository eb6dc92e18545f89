"""The supervisor of a worker: polling, slots, leases, reports, shutdown, health.

It runs no task: it imports `attempts` and the ports, and loads neither a store nor a task module.
"""

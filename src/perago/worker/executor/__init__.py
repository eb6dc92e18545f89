"""An executor's process: it loads the tasks once and runs complete attempts, one at a time.

Imports the attempt core, the stores, `body` and `process`; knows nothing of slots, leases or the engine's client.
"""

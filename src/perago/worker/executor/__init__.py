"""An executor's process: it loads the tasks once and runs complete attempts, one at a time.

Imports the attempt core, the stores' `provider` and `table`, the tasks and what is below them, `body` and `process`;
never slots, leases, settings or an engine's client.
"""

"""An executor's process: it loads the tasks once and runs complete attempts, one at a time.

Imports the attempt core, the stores with their insides, the tasks and what is below them, `engines.limits`, `body` and
`process`; never slots, leases, settings or an engine's client.
"""

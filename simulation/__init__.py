"""Seeded simulation: workers, an engine, a store, people and faults under a virtual clock, in the code of production.

A seed is a schedule: same seed, same schedule, same trace. `python -m simulation SEEDS` runs many,
`--seed N` shows one of them step by step. See docs/adr/0024.
"""

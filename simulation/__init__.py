"""Seeded simulation: production code of workers, with engine, store, people and faults under a virtual clock.

A seed determines the schedule and the trace. `python -m simulation SEEDS` runs many seeds, `--seed N` shows one step by
step. See docs/adr/0024.
"""

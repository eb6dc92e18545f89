"""Workflows: declared in Python or read as Conductor's JSON, checked, and decided step by step.

`graph` has the values, `decide` says what follows. May import `tasks` and what is below them, and no store or engine.
"""

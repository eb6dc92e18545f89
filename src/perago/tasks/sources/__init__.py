"""The code that a task's results depend on, for the key of its cache: `parts` puts it together.

`modules` finds what is imported, `syntax` reads one file, `held_values` describes what a function holds. Nothing here
imports a module of the task.
"""

"""A user's project: six stages over many files, run by Perago (`tasks`) or by DVC (`python -m pipeline.stages`).

The benchmark copies it into a directory of its own, so that a task's key covers this package and nothing else.
"""

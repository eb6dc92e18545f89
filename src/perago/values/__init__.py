"""Values that every layer shares, and plain functions of them.

No I/O; imports `perago.errors` and nothing else of ours.
"""

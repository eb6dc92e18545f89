"""One attempt, from input to result.

Calls store and engine only through callables that are passed in; touches only the attempt's own directory itself.
"""

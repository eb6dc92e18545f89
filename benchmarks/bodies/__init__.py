"""The cost of a separate process for a body."""

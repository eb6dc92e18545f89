"""Attempts on the lakeFS store, compared with alternatives."""

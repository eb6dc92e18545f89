"""Attempts on the lakeFS store, beside what people would use otherwise."""

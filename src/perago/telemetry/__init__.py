"""Sinks of the observer's events."""

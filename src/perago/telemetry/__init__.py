"""Sinks for the observer's events."""

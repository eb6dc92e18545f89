"""Putting things together for processes that run task bodies."""

"""Lets the tests import their tasks."""
